"""CirrusSearch content dumps."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from jagpt.compressed import Reader
from jagpt.corpus.cirrus import read_documents
from jagpt.corpus.documents import SourceDocument
from jagpt.errors import DataError


def pair(number: int, **page: Any) -> list[dict[str, Any]]:
    """A page as the dumps since 2013 have it; newer ones state `page_id` too."""
    page = {"namespace": 0, "title": f"題{number}", "text": f"文{number}。", "version": 5, **page}
    return [{"index": {"_type": "page", "_id": str(number)}}, page]


def read(tmp_path: Path, lines: list[dict[str, Any]]) -> list[SourceDocument]:
    path = tmp_path / "jawiki-20240101-cirrussearch-content.json.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return list(read_documents(Reader(path)))


def test_pages_become_documents(tmp_path: Path) -> None:
    lines = [
        *pair(1),
        *pair(2, page_id=22, source_text="'''題2'''", version=None),
        *pair(3, text=None),
    ]
    assert read(tmp_path, lines) == [
        SourceDocument("1", "題1", "文1。", revision=5),
        SourceDocument("22", "題2", "文2。"),
        SourceDocument("3", "題3", "", revision=5, problem="no text"),
    ]


@pytest.mark.parametrize(
    ("wiki", "url"),
    [
        ("jawiki", "https://ja.wikipedia.org/wiki/C%2B%2B_%E9%A1%8C"),
        ("zh_min_nanwiki", "https://zh-min-nan.wikipedia.org/wiki/C%2B%2B_%E9%A1%8C"),
        ("commonswiki", None),
        ("jawikibooks", None),
        ("../wiki", None),
        (7, None),
    ],
)
def test_a_wikipedia_that_is_named_gives_addresses(
    tmp_path: Path, wiki: object, url: str | None
) -> None:
    (document,) = read(tmp_path, pair(1, title="C++ 題", wiki=wiki))
    assert document.url == url


def test_other_namespaces_are_only_counted(tmp_path: Path) -> None:
    first, second = read(tmp_path, [*pair(1, namespace=4), *pair(2)])
    assert (first.other_namespace, first.text, second.other_namespace) == (True, "", False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (pair(1)[1:], "line 1: expected .*, as in a CirrusSearch dump"),
        ([*pair(1), pair(2)[1]], "line 3: expected"),
        ([*pair(1), pair(2)[0]], "cut short: it ends at line 3, before page 2"),
        (pair(1, namespace="0"), "line 2: `namespace` is '0'"),
        (pair(1, text=["文"]), "line 2: column 'text' is list"),
        (pair(1, version="x"), "line 2: column 'version' is str 'x'"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, lines: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=r"content\.json\.gz: " + message):
        read(tmp_path, lines)
