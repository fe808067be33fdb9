"""Small MediaWiki exports for tests."""

from __future__ import annotations

import bz2
import json
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from jagpt import recipe
from jagpt.corpus.documents import SPLITS, Document
from jagpt.corpus.shards import iter_documents
from jagpt.corpus.stage import CORPUS
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

NAMESPACES = {-2: "メディア", 0: "", 4: "Wikipedia", 6: "ファイル", 14: "Category"}


def header(version: str = "0.11", dbname: str | None = "jawiki", extra: str = "") -> str:
    names = "".join(
        f'<namespace key="{key}">{name}</namespace>' if name else f'<namespace key="{key}" />'
        for key, name in NAMESPACES.items()
    )
    database = f"<dbname>{dbname}</dbname>" if dbname else ""
    return (
        f'{extra}<mediawiki xmlns="http://www.mediawiki.org/xml/export-{version}/" '
        f'version="{version}" xml:lang="ja">\n  <siteinfo><sitename>Wikipedia</sitename>{database}'
        "<base>https://ja.wikipedia.org/wiki/%E3%83%A1%E3%82%A4%E3%83%B3</base>"
        f"<namespaces>{names}</namespaces></siteinfo>\n"
    )


FOOTER = "</mediawiki>\n"


def page(
    number: int,
    text: str | None = None,
    *,
    title: str | None = None,
    ns: int | None = 0,
    redirect: str = "",
    revision: str = "",
) -> str:
    title = f"項目{number}" if title is None else title
    body = article_text(number) if text is None else text
    namespace = "" if ns is None else f"<ns>{ns}</ns>"
    target = f'<redirect title="{redirect}" />' if redirect else ""
    return (
        f"  <page>\n    <title>{escape(title)}</title>{namespace}<id>{number}</id>{target}"
        f"<revision><id>{number + 1000}</id>{revision}<contributor><username>名</username>"
        f'<id>7</id></contributor><text xml:space="preserve">{escape(body)}</text></revision>\n'
        "  </page>\n"
    )


def article_text(number: int, sentences: int = 6) -> str:
    """Wikitext of its own for each number, longer than the filters ask."""
    return "".join(
        f"'''項目{number}'''は[[日本]]の例{number * 31 + k}であり、{k}番目の文で説明される。\n"
        for k in range(sentences)
    )


def export(pages: Sequence[str], **options: str) -> bytes:
    return (header(**options) + "".join(pages) + FOOTER).encode()


def multistream(pages: Sequence[str], a_stream: int = 3) -> bytes:
    """The same bytes in Wikimedia's form: header, groups of pages and footer, a stream each."""
    return b"".join(streams(pages, a_stream))


def streams(pages: Sequence[str], a_stream: int = 3) -> list[bytes]:
    groups = ["".join(pages[k : k + a_stream]) for k in range(0, len(pages), a_stream)]
    return [bz2.compress(piece.encode()) for piece in [header(), *groups, FOOTER]]


def index(pages: Sequence[str], a_stream: int = 3) -> bytes:
    """The index of `multistream`, not compressed."""
    lines, offset = [], 0
    for number, stream in enumerate(streams(pages, a_stream)):
        if number > 0:
            group = pages[(number - 1) * a_stream : number * a_stream]
            ids = [page.split("<id>")[1].split("<")[0] for page in group]
            lines += [f"{offset}:{number}:題:名\n" for number in ids]
        offset += len(stream)
    return "".join(lines).encode()


def make_recipe(*sources: dict[str, object], workers: int = 1, **corpus: object) -> Recipe:
    """A recipe with these sources; a third of the documents for valid and test each by default."""
    lines = ['name = "t"', "[train]", "max_steps = 1", "[execution]", f"workers = {workers}"]
    lines += ["[corpus]"]
    settings = {"valid_share": 0.33, "test_share": 0.33, **corpus}
    lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    for number, source in enumerate(sources):
        lines += ["[[corpus.source]]"]
        settings = {"name": f"source{number}", **source}
        lines += [
            f"{key} = {json.dumps(str(value), ensure_ascii=False)}"
            for key, value in settings.items()
        ]
    return recipe.parse("\n".join(lines))


def make_corpus(root: Path, made: Recipe) -> Path:
    """Run the stage below `root`; its directory."""
    run = RunDirectory(root)
    CORPUS.run(made, run, QUIET)
    return run.corpus


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below `directory` by its relative name."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def all_documents(directory: Path) -> dict[str, Document]:
    """Documents by id."""
    return {d.id: d for split in SPLITS for d in iter_documents(directory, split)}


def dropped(directory: Path) -> dict[str, str]:
    """Reason by title."""
    rows = map(json.loads, (directory / "dropped.jsonl").read_text("utf-8").splitlines())
    return {row["title"]: row["reason"] for row in rows}
