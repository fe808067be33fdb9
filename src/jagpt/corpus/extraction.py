"""Documents alone: what `jagpt extract` makes of a dump or of pages of wikitext, without splits.

The folder holds `documents.jsonl`, `documents.txt` or `documents-NNNNN.parquet`, and `stats.json`,
which is written last. While the work is under way, `parts/` keeps what is converted already.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Protocol, Self

from jagpt import __version__, files
from jagpt.corpus import parts
from jagpt.corpus.convert import convert
from jagpt.corpus.documents import COLUMNS, Article, Document
from jagpt.corpus.filters import Filters
from jagpt.corpus.parts import Counts, ExtractedSource, PartName
from jagpt.corpus.shards import SplitCounts, SplitWriter
from jagpt.corpus.sources import source_files
from jagpt.errors import DataError, UsageError
from jagpt.progress import Progress
from jagpt.recipe import SAMPLE, Corpus, Source

Kind = Literal["dump", "wikitext"]
Format = Literal["parquet", "jsonl", "txt"]

STATS = "stats.json"
PARTS = "parts"
NAME = "documents"
WRITE_BYTES = 1024 * 1024
LISTED_PAGES = 1_000
LISTED_TEMPLATES = 100
_OURS = (f"{NAME}.jsonl", f"{NAME}.txt", f"{NAME}-[0-9]*.parquet")
_OPTIONS = ("headings", "closing_sections", "tables", "captions", "math", "skip_damaged")
_KEYS = tuple(name for name in COLUMNS if name != "source")
"""What a JSON line tells of a document."""
_UNFILTERED = {
    "min_characters": 0,
    "min_japanese_share": 0.0,
    "drop_disambiguation": False,
    "drop_list_pages": False,
    "drop_duplicates": False,
}


@dataclass(frozen=True)
class Request:
    """What to extract and how; `corpus` has one source."""

    corpus: Corpus
    format: Format
    filters: bool

    @property
    def source(self) -> Source:
        return self.corpus.source[0]

    def summary(self) -> dict[str, Any]:
        """All that decides the result beside the input itself, as plain JSON values."""
        kept = {name: getattr(self.corpus, name) for name in _OPTIONS}
        head = {"jagpt": __version__, "from": self.source.kind, "format": self.format}
        return {**head, "filters": self.filters, **kept}


def request(
    path: str, kind: Kind, form: Format, *, filters: bool = False, **options: bool
) -> Request:
    """A request for the file (or files, by a glob pattern) at `path`.

    `options` are `headings`, `closing_sections`, `tables`, `captions`, `math` and `skip_damaged`,
    as in a recipe's `[corpus]`. With `filters` its defaults leave documents out; without them
    nothing is left out but what cannot be read.
    """
    # near duplicates and overlaps are looked for between splits and sources, which are not here
    settings: dict[str, Any] = {"drop_near_duplicates": 0.0, "drop_overlap": 0.0, **options}
    if not filters:
        settings |= _UNFILTERED
    source = Source.model_validate({"name": kind, "kind": kind, "path": path})
    return Request(Corpus.model_validate({"source": (source,), **settings}), form, filters)


def extract_documents(
    wanted: Request, output: Path, workers: int, progress: Progress, *, force: bool = False
) -> dict[str, Any]:
    """Make the documents below `output`, or go on with them; what `stats.json` then says.

    A finished extraction of the same input and options is left as it is; another one is replaced
    only with `force`. Raises `UsageError` where something else stands at `output`, `DataError`
    where an input is missing, damaged or without articles.
    """
    paths = _inputs(wanted.source)
    _refuse_foreign(output)
    with files.locked(output):
        files.remove_leftovers(output)
        done = _finished(wanted, paths, output, force)
        if done is None:
            _begin(wanted, output, force)
            done = _make(wanted, output, workers, progress)
            files.write_json(output / STATS, done)
        files.remove(output / PARTS)
        files.remove(output / files.IN_PROGRESS)
    return done


def _inputs(source: Source) -> list[Path]:
    """The source's files; messages speak of the command line, not of a recipe."""
    path = str(source.path)
    if path != SAMPLE and Path(path).is_dir():
        raise DataError(f"{path}: a folder; name the files in it by a pattern, in quotes")
    try:
        return source_files(source)
    except DataError:
        raise DataError(f"{path}: no such file, and no file matches it as a pattern") from None


# --- the folder -----------------------------------------------------------------------------------


def _refuse_foreign(output: Path) -> None:
    """Nothing is written into a folder that holds something else."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: a folder is wanted, and something else stands there")
    files.check_tree(output)
    names = [path.name for path in output.iterdir()] if output.is_dir() else []
    there = {name for name in names if not name.startswith(files.STAGING_PREFIX)}
    ours = {files.IN_PROGRESS, STATS}
    known = [name for name in ours & there if "extraction" in files.read_json(output / name)]
    if there - {".lock", ".owner.json"} and not known:
        raise UsageError(
            f"--output {output}: this folder is not empty and holds no extraction; name another"
        )


def _finished(
    wanted: Request, paths: list[Path], output: Path, force: bool
) -> dict[str, Any] | None:
    """The statistics of what stands there, if it is what is wanted; None where it is to be made."""
    if force or not (output / STATS).exists():
        return None
    done = files.read_json(output / STATS)
    if done.get("extraction") == wanted.summary() and _are_those(paths, done.get("files", [])):
        return done
    raise UsageError(
        f"--output {output}: holds an extraction of another input or with other options; name "
        "another folder, or replace it with --force"
    )


def _are_those(paths: list[Path], known: list[dict[str, Any]]) -> bool:
    """Whether the files have these sizes and hashes; nothing is hashed if a size differs."""
    if [path.stat().st_size for path in paths] != [file["size"] for file in known]:
        return False
    return [files.sha256(path) for path in paths] == [file["sha256"] for file in known]


def _begin(wanted: Request, output: Path, force: bool) -> None:
    """Mark the folder as ours, and keep the parts of an attempt that wanted the same."""
    mark = output / files.IN_PROGRESS
    before = files.read_json(mark).get("extraction") if mark.exists() else None
    if before not in (None, wanted.summary()) and not force:
        raise UsageError(
            f"--output {output}: holds an unfinished extraction with other options; give the same "
            "to go on, name another folder, or replace it with --force"
        )
    files.write_json(mark, {"extraction": wanted.summary()})
    files.remove(output / STATS)
    for pattern in _OURS:
        for path in output.glob(pattern):
            files.remove(path)
    if before != wanted.summary():
        files.remove(output / PARTS)
    files.make_directory(output / PARTS)
    files.remove(output / PARTS / parts.INDEX)  # the input is read again: it may have changed


# --- writing --------------------------------------------------------------------------------------


class Writer(Protocol):
    """Takes documents in order and counts them."""

    counts: SplitCounts

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def add(self, document: Document) -> None: ...


class LineWriter:
    """One text file, which appears under its name when the block ends well."""

    def __init__(self, path: Path, form: Callable[[Document], str]) -> None:
        self.counts = SplitCounts()
        self._form = form
        self._staging: AbstractContextManager[Path] = files.staged_file(path)
        self._file: IO[bytes]

    def __enter__(self) -> Self:
        self._file = self._staging.__enter__().open("wb", WRITE_BYTES)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._staging.__exit__(kind, error, traceback)

    def add(self, document: Document) -> None:
        self.counts.documents += 1
        self.counts.characters += len(document.text)
        self.counts.bytes += len(document.text.encode("utf-8"))
        self._file.write(self._form(document).encode("utf-8"))


def json_line(document: Document) -> str:
    """A document as a JSON line."""
    row = {name: getattr(document, name) for name in _KEYS}
    return json.dumps(row, ensure_ascii=False) + "\n"


def text_block(document: Document) -> str:
    """A document as a text source with `layout = "block"` reads it: title, lines, a blank line."""
    lines = [line for line in document.text.split("\n") if line.strip()]
    return "\n".join([document.title, *lines]) + "\n\n"


def _writer(form: Format, output: Path) -> Writer:
    if form == "parquet":
        return SplitWriter(output, NAME)
    line = json_line if form == "jsonl" else text_block
    return LineWriter(output / f"{NAME}.{form}", line)


@dataclass
class _LeftOut:
    """Articles without a document: how many by reason, and the first of them."""

    reasons: Counter[str] = field(default_factory=Counter)
    pages: list[dict[str, str]] = field(default_factory=list)

    def add(self, article: Article, reason: str) -> None:
        self.reasons[reason] += 1
        if len(self.pages) < LISTED_PAGES:
            self.pages.append({"id": article.id, "title": article.title, "reason": reason})


def _make(wanted: Request, output: Path, workers: int, progress: Progress) -> dict[str, Any]:
    """Extract, and write the documents of each part as soon as its turn has come."""
    directory = output / PARTS
    with _writer(wanted.format, output) as writer:
        state = _Writing(wanted, directory, writer)
        convert(wanted.corpus, directory, workers, progress, ready=state.take)
        (extracted,) = parts.read_index(directory) or [ExtractedSource(None, ())]
        state.take_rest(list(parts.part_names(0, extracted)), progress)
    return state.stats(extracted)


@dataclass
class _Writing:
    """The state of the pass that writes the documents of all parts, in order."""

    wanted: Request
    directory: Path
    writer: Writer
    counts: Counts = field(default_factory=Counts)
    left_out: _LeftOut = field(default_factory=_LeftOut)
    taken: int = 0
    """Parts written so far."""

    def __post_init__(self) -> None:
        self._judge = _judge(self.wanted)

    def take(self, name: PartName) -> None:
        """Write the documents of the next part."""
        self.taken += 1
        self.counts.add(parts.read_counts(self.directory, name))
        for article in parts.read_articles(self.directory, name):
            reason = self._judge(article)
            if reason is None:
                self.writer.add(_document(self.wanted.source.name, article))
            else:
                self.left_out.add(article, reason)

    def take_rest(self, names: list[PartName], progress: Progress) -> None:
        """Write what was not taken while the parts were made."""
        rest = names[self.taken :]
        if not rest:
            return
        with progress.bar("extract: write", len(rest), "parts") as bar:
            for name in rest:
                self.take(name)
                bar.advance()

    def stats(self, extracted: ExtractedSource) -> dict[str, Any]:
        """What `stats.json` says when all is written."""
        return {
            "extraction": self.wanted.summary(),
            "files": [file.stats() for file in extracted.files],
            "wiki": extracted.wiki,
            "pages": self.counts.pages,
            "redirects": self.counts.redirects,
            "other_namespaces": self.counts.other_namespaces,
            "articles": self.counts.articles,
            **asdict(self.writer.counts),
            "left_out": dict(sorted(self.left_out.reasons.items())),
            "left_out_pages": self.left_out.pages,
            "unknown_templates": parts.largest_losses(self.counts, LISTED_TEMPLATES),
        }


def _judge(wanted: Request) -> Callable[[Article], str | None]:
    """Why an article gives no document. Unfiltered, one without text gives an empty one."""
    if not wanted.filters:
        return lambda article: article.problem
    filters = Filters(wanted.corpus, {})

    def reason(article: Article) -> str | None:
        found = filters.reason(wanted.source.name, article)
        return None if found is None else str(found)

    return reason


def _document(source: str, article: Article) -> Document:
    return Document(article.id, source, article.title, article.url, article.revision, article.text)
