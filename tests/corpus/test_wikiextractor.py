"""WikiExtractor's output, and the original's shell pipeline over it."""

from __future__ import annotations

import bz2
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dumps import make_corpus, make_recipe

from jagpt.compressed import Reader
from jagpt.corpus.documents import SPLITS, SourceDocument
from jagpt.corpus.shards import iter_documents
from jagpt.corpus.sources import source_files
from jagpt.corpus.wikiextractor import read_documents
from jagpt.errors import DataError
from jagpt.recipe import Source

Article = tuple[int, str, str]
ARTICLES: list[Article] = [
    (1, "甲", "甲は例である。次の文。\n\n節。\n二行目。句点なし"),
    (2, '"乙" doc', "題に doc がある項目。"),
    (3, "丙", ""),
    (4, "丁", "docの行。\n残る行。\r\n\u3000\n&lt;doc&gt;\n</doc >\u2028同じ行\x85。。"),
    (5, "戊", "戊\nとだけ。"),
    *((n, f"項目{n}", f"{n}番目の文。続き{n}。\n最後{n}") for n in range(6, 40)),
]


def as_text(article: Article) -> str:
    """As WikiExtractor 3.1.0 writes an article (`Extractor.extract`)."""
    number, title, text = article
    url = f"https://ja.wikipedia.org/wiki?curid={number}"
    return f'<doc id="{number}" url="{url}" title="{title}">\n{title}\n\n{text}\n\n</doc>\n'


def as_json(article: Article, *, titled: bool = False) -> str:
    """As with `--json`; `titled` as versions before 3 did."""
    number, title, text = article
    body = f"{title}\n\n{text}" if titled else text
    row = {"id": str(number), "revid": "9", "url": f"https://ja.wikipedia.org/wiki?curid={number}"}
    return json.dumps({**row, "title": title, "text": body}) + "\n"


def as_older_json(article: Article) -> str:
    return as_json(article, titled=True)


def write(folder: Path, form: Callable[[Article], str], suffix: str = "") -> Path:
    """The articles in files AA/wiki_00, AA/wiki_01, … with 8 in each and 2 files in a folder."""
    for number, start in enumerate(range(0, len(ARTICLES), 8)):
        path = folder / f"A{'ABCDE'[number // 2]}" / f"wiki_{number % 2:02d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = "".join(map(form, ARTICLES[start : start + 8])).encode()
        path.write_bytes(bz2.compress(data) if suffix else data)
    return folder


def read(path: Path) -> list[SourceDocument]:
    return list(read_documents(Reader(path)))


def test_a_document_is_what_stands_between_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "wiki_00"
    path.write_bytes("".join(map(as_text, ARTICLES[:4])).encode())
    documents = read(path)
    assert [(d.id, d.title) for d in documents] == [(str(n), title) for n, title, _ in ARTICLES[:4]]
    assert documents[0].url == "https://ja.wikipedia.org/wiki?curid=1"
    assert documents[0].text == "甲\n\n甲は例である。次の文。\n\n節。\n二行目。句点なし"
    assert documents[2].text == "丙"
    assert "\r\n\u3000\n" in documents[3].text


def test_the_heads_of_all_versions_are_read(tmp_path: Path) -> None:
    path = tmp_path / "wiki_00"
    heads = ['id="1" revid="7" url="u" title="題"', 'id="2" url="u" title="a" b">c"',
             'id="3" url="u" title="題" language="ja" revision="8"']  # fmt: skip
    path.write_text("".join(f"<doc {head}>\n題\n\n文\n\n</doc>\n" for head in heads), "utf-8")
    assert [(d.title, d.revision) for d in read(path)] == [
        ("題", 7), ('a" b">c', None), ("題", 8),
    ]  # fmt: skip


def test_the_folder_means_its_files_in_order(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", as_text)
    (folder / "notes.txt").touch()
    source = Source.model_validate({"name": "s", "kind": "wikiextractor", "path": str(folder)})
    found = [path.relative_to(folder).as_posix() for path in source_files(source)]
    assert found == ["AA/wiki_00", "AA/wiki_01", "AB/wiki_00", "AB/wiki_01", "AC/wiki_00"]
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(DataError, match="no WikiExtractor output"):
        source_files(source)


@pytest.mark.parametrize("form", [as_json, as_older_json])
def test_json_gives_the_same_texts(tmp_path: Path, form: Callable[[Article], str]) -> None:
    (tmp_path / "text").write_bytes("".join(map(as_text, ARTICLES)).encode())
    (tmp_path / "json").write_text("".join(map(form, ARTICLES)), "utf-8")
    expected = [(d.id, d.title, d.url, d.text) for d in read(tmp_path / "text")]
    assert [(d.id, d.title, d.url, d.text) for d in read(tmp_path / "json")] == expected


PIPELINE = r"""
set -e
cat {files} | grep -v doc | perl -pe 's/。/。\n/g' | perl -ne 'print unless /^$/' > all.txt
head -n 20 all.txt > valid.txt
head -n 40 all.txt | tail -n +21 > test.txt
tail -n +41 all.txt > train.txt
"""
"""The original's, but for the number of lines."""


@pytest.mark.parametrize(
    ("form", "suffix", "workers"),
    [(as_text, "", 1), (as_text, ".bz2", 3), (as_json, "", 1), (as_older_json, "", 1)],
)
def test_first_lines_gives_what_the_shell_pipeline_gives(
    tmp_path: Path, form: Callable[[Article], str], suffix: str, workers: int
) -> None:
    write(tmp_path / "plain", as_text)
    subprocess.run(["bash", "-c", PIPELINE.format(files="plain/*/wiki_*")], check=True,
                   cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"})  # fmt: skip
    folder = write(tmp_path / "out", form, suffix)
    recipe = make_recipe(
        {"path": folder, "kind": "wikiextractor"}, workers=workers,
        split="first-lines", valid_lines=20, test_lines=20, **UNFILTERED,
    )  # fmt: skip
    directory = make_corpus(tmp_path / "run", recipe)
    for split in SPLITS:
        ours = "".join(f"{document.text}\n" for document in iter_documents(directory, split))
        assert ours.encode() == (tmp_path / f"{split}.txt").read_bytes()


UNFILTERED = {"min_characters": 0, "drop_disambiguation": False, "drop_duplicates": False,
              "drop_near_duplicates": 0.0, "drop_overlap": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("本文\n", "line 1: expected <doc .*, as WikiExtractor writes it; found '本文'"),
        (as_text(ARTICLES[0]) + "本文\n", "line 10: expected <doc .*"),
        (as_text(ARTICLES[0])[:-8], "cut short: it ends within the document of line 1"),
        (as_text(ARTICLES[0])[:-8] + as_text(ARTICLES[2]),
         "line 8: a document begins before </doc> has ended that of line 1"),
        (as_json(ARTICLES[0]) + "{", "line 2: not JSON"),
        ('{"id": "1", "title": "a"}', "line 1: no text in column 'text'"),
    ],
)  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, data: str, message: str) -> None:
    path = tmp_path / "wiki_00"
    path.write_text(data, "utf-8")
    with pytest.raises(DataError, match="wiki_00: " + message):
        read(path)
