"""Selection: which articles `[corpus.include]` takes, and how little is read for a few titles."""

from __future__ import annotations

import bz2
import json
import unicodedata
from collections.abc import Iterable
from html import escape
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from dumps import (
    all_documents,
    article_text,
    dropped,
    export,
    make_corpus,
    make_recipe,
    multistream,
    page,
    streams,
)

from jagpt.corpus import extraction
from jagpt.corpus.selection import Selection, with_subcategories
from jagpt.errors import DataError
from jagpt.progress import QUIET
from jagpt.recipe import Corpus, Include

PARENTS = {
    "古代": ["日本の歴史"],
    "奈良時代": ["古代", "ない"],
    "平城京": ["奈良時代"],
    "輪": ["輪"],
}


@pytest.mark.parametrize(
    ("include", "article", "taken"),
    [
        ({}, ("何でも", []), True),
        ({"titles": ["ガリレオ"]}, (unicodedata.normalize("NFD", "ガリレオ"), []), True),
        ({"titles": ["ガリレオ"]}, ("ガリレ", []), False),
        ({"title_patterns": ["*駅", "日本の[!川]*"]}, ("東京駅", []), True),
        ({"title_patterns": ["*駅", "日本の[!川]*"]}, ("駅伝", []), False),
        ({"title_patterns": ["*駅", "日本の[!川]*"]}, ("日本の川", []), False),
        ({"title_patterns": ["*駅", "日本の[!川]*"]}, ("日本の山", []), True),
        ({"title_patterns": ["(a+)+$"]}, ("a" * 60 + "!", []), False),
        ({"categories": ["日本の歴史"]}, ("題", ["歴史", "日本の歴史"]), True),
        ({"categories": ["日本の歴史"]}, ("題", ["古代"]), False),
        ({"categories": ["日本の歴史"], "depth": 1}, ("題", ["古代"]), True),
        ({"categories": ["日本の歴史"], "depth": 1}, ("題", ["奈良時代"]), False),
        ({"categories": ["日本の歴史"], "depth": 2}, ("題", ["奈良時代"]), True),
        ({"categories": ["日本の歴史"], "depth": 2}, ("題", ["平城京"]), False),
        ({"categories": ["輪"], "depth": 10**9}, ("題", ["平城京"]), False),
        ({"categories": ["jR 駅"]}, ("題", ["JR_駅"]), True),
    ],
)
def test_titles_patterns_and_categories_take_articles(
    include: dict[str, Any], article: tuple[str, list[str]], taken: bool
) -> None:
    wanted = Include.model_validate(include)
    assert Selection(wanted, with_subcategories(wanted, PARENTS)).takes(*article) is taken


def with_categories(number: int, *names: str) -> str:
    links = "".join(f"[[Category:{name}|*]]\n" for name in names)
    return page(number, article_text(number) + links)


PAGES = [
    with_categories(1, "日本の歴史"),
    with_categories(2, "古代"),
    with_categories(3, "奈良時代"),
    page(20, "[[Category:日本の歴史]]", ns=14, title="Category:古代"),
    with_categories(4, "地理"),
    page(21, "[[カテゴリ:古代]]<!-- [[Category:ない]] -->", ns=14, title="Category:奈良時代"),
    with_categories(5, "古代"),
    page(6, title="飛鳥駅"),
]


SHARES = {"test_share": 0.1, "valid_share": 0.2}
"""They give each split some of the documents that are taken."""


def made(tmp_path: Path, include: str) -> dict[str, Any]:
    path = tmp_path / "dump.xml"
    path.write_bytes(export(PAGES))
    source = {"kind": "dump", "path": path}
    recipe = make_recipe(source, drop_near_duplicates=0)
    corpus = recipe.corpus.model_copy(
        update={"include": Include.model_validate(json.loads(include)), **SHARES}
    )
    directory = make_corpus(tmp_path / "run", recipe.model_copy(update={"corpus": corpus}))
    return {
        "titles": {document.title for document in all_documents(directory).values()},
        "dropped": dropped(directory),
        "stats": json.loads((directory / "stats.json").read_text("utf-8")),
    }


def test_subcategories_come_from_the_dumps_own_category_pages(tmp_path: Path) -> None:
    found = made(tmp_path, '{"categories": ["日本の歴史"], "depth": 1, "titles": ["飛鳥駅", "無"]}')
    assert found["titles"] == {"項目1", "項目2", "項目5", "飛鳥駅"}
    assert found["dropped"] == {"項目3": "not included", "項目4": "not included"}
    assert found["stats"]["dropped"] == {"not included": 2}
    assert found["stats"]["include_unmatched"] == ["無"]


def test_a_title_outside_the_list_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jagpt.corpus.articles.WikitextConverter.convert", _only("項目1"))
    with pytest.raises(DataError, match="need a document each"):
        made(tmp_path, '{"titles": ["項目1"]}')


def _only(wanted: str) -> Any:
    from jagpt.wikitext import WikitextConverter

    convert = WikitextConverter.convert

    def checked(self: WikitextConverter, wikitext: str, *, title: str = "") -> Any:
        assert title == wanted
        return convert(self, wikitext, title=title)

    return checked


def test_what_is_not_asked_for_leaves_finished_work_as_it_is() -> None:
    assert "include" not in Corpus().semantic()
    assert "include" in Corpus.model_validate({"include": {"titles": ["甲"]}}).semantic()


# --- a few titles of a multistream dump -----------------------------------------------------------

TITLED = [page(n, title=f'項 & "{n}"') for n in range(1, 10)]


@pytest.fixture
def indexed(tmp_path: Path) -> Path:
    """Nine articles, three a stream, and their index."""
    path = tmp_path / "x-pages-articles-multistream.xml.bz2"
    path.write_bytes(multistream(TITLED))
    lines, offset = [], len(streams(TITLED)[0])
    for number, stream in enumerate(streams(TITLED)[1:-1]):
        ids = range(3 * number + 1, 3 * number + 4)
        lines += [f"{offset}:{n}:項 &amp; &quot;{n}&quot;\n" for n in ids]
        offset += len(stream)
    write_index(path, lines)
    return path


def index_of(path: Path) -> Path:
    return path.with_name("x-pages-articles-multistream-index.txt.bz2")


def write_index(path: Path, lines: Iterable[str]) -> None:
    index_of(path).write_bytes(bz2.compress("".join(lines).encode()))


def titled(path: Path, output: Path, *numbers: int) -> tuple[list[str], dict[str, Any]]:
    titles = [f'項 & "{number}"' for number in numbers]
    wanted = extraction.request(str(path), "dump", "jsonl", titles=titles)
    stats = extraction.extract_documents(wanted, output, 1, QUIET)
    rows = (output / "documents.jsonl").read_text("utf-8").splitlines()
    return [json.loads(row)["id"] for row in rows], stats.as_json()


@pytest.mark.parametrize(("numbers", "pages"), [((4,), 3), ((1, 9), 6), ((9, 8, 7), 3)])
def test_only_the_streams_that_the_index_names_are_read(
    indexed: Path, tmp_path: Path, numbers: tuple[int, ...], pages: int
) -> None:
    ids, stats = titled(indexed, tmp_path / "out", *numbers)
    assert ids == [str(number) for number in sorted(numbers)]
    assert stats["pages"] == pages
    assert stats["extraction"]["titles"] == [f'項 & "{number}"' for number in numbers]
    assert stats["left_out"] == ({"not included": pages - len(ids)} if pages > len(ids) else {})
    assert stats["left_out_pages"] == []


@pytest.mark.parametrize(("written", "requested"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_the_index_is_searched_whatever_form_a_title_has(
    tmp_path: Path, written: Any, requested: Any
) -> None:
    titles = ["水", unicodedata.normalize(written, 'ガス "&"')]
    pages = [page(n, title=title) for n, title in enumerate(titles)]
    path = tmp_path / "x-pages-articles-multistream.xml.bz2"
    path.write_bytes(multistream(pages, 1))
    first, second = accumulate(map(len, streams(pages, 1)[:2]))
    write_index(path, [f"{first}:0:水\n", f"{second}:1:{escape(titles[1])}\n"])
    wanted = unicodedata.normalize(requested, 'ガス "&"')
    request = extraction.request(str(path), "dump", "jsonl", titles=[wanted])
    stats = extraction.extract_documents(request, tmp_path / "out", 1, QUIET)
    assert (stats.documents, stats.as_json()["pages"]) == (1, 1)


def test_damage_elsewhere_in_the_dump_is_not_met(indexed: Path, tmp_path: Path) -> None:
    pieces = streams(TITLED)
    pieces[1] = pieces[1][:20] + bytes(len(pieces[1]) - 20)
    indexed.write_bytes(b"".join(pieces))
    assert titled(indexed, tmp_path / "out", 5)[0] == ["5"]


@pytest.mark.parametrize("spoiled", ["reversed", "shifted", "none"])
def test_without_a_sound_index_the_whole_dump_is_read(
    indexed: Path, tmp_path: Path, spoiled: str
) -> None:
    text = bz2.decompress(index_of(indexed).read_bytes()).decode()
    lines = text.splitlines(keepends=True)
    if spoiled == "reversed":
        write_index(indexed, reversed(lines))
    elif spoiled == "shifted":
        write_index(indexed, (f"1{line}" for line in lines))
    else:
        index_of(indexed).unlink()
    if spoiled == "none":
        ids, stats = titled(indexed, tmp_path / "out", 5)
        assert (ids, stats["pages"]) == (["5"], 9)
    else:
        with pytest.raises(DataError, match="this index does not match"):
            titled(indexed, tmp_path / "out", 5)


def test_titles_that_are_nowhere_are_told(indexed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no page has a requested title"):
        titled(indexed, tmp_path / "out", 12)
    assert titled(indexed, tmp_path / "other", 12, 3)[0] == ["3"]


def test_titles_go_with_a_dump_in_one_stream(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    path.write_bytes(export(TITLED))
    assert titled(path, tmp_path / "out", 2)[0] == ["2"]
