"""Filters: which articles are left out, and with which reason."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from dumps import all_documents, article_text, dropped, export, make_corpus, make_recipe, page
from rich.console import Console

from jagpt.corpus.documents import Article
from jagpt.corpus.filters import (
    Duplicates,
    Exclusions,
    Filters,
    Reason,
    is_bare_list,
    japanese_share,
    reason_to_drop,
    text_digest,
)
from jagpt.corpus.stage import CORPUS
from jagpt.progress import Progress
from jagpt.recipe import Corpus, Exclude
from jagpt.rundir import RunDirectory

TEXT = "日本の例。" * 20


def made(article: dict[str, Any]) -> Article:
    fields = {"id": "1", "title": "題", "url": None, "revision": None, "text": TEXT, **article}
    return Article(**fields)


def reason(article: dict[str, Any], **corpus: Any) -> str | None:
    return reason_to_drop(made(article), Corpus.model_validate(corpus))


@pytest.mark.parametrize(
    ("article", "corpus", "expected"),
    [
        ({}, {}, None),
        ({"text": ""}, {"min_characters": 0}, "empty"),
        ({"text": "短い"}, {}, "short"),
        ({"text": "あ" * 49}, {"min_characters": 50}, "short"),
        ({"text": "あ" * 50}, {"min_characters": 50}, None),
        ({"disambiguation": True}, {}, "disambiguation"),
        ({"disambiguation": True}, {"drop_disambiguation": False}, None),
        ({"list_only": True}, {"drop_list_pages": True}, "list"),
        ({"list_only": True}, {}, None),
        ({"japanese_share": 0.4}, {"min_japanese_share": 0.5}, "few Japanese letters"),
        ({"japanese_share": 0.5}, {"min_japanese_share": 0.5}, None),
        ({"text": "", "problem": "too large"}, {}, "too large"),
    ],
)
def test_the_reason_is_named(
    article: dict[str, Any], corpus: dict[str, Any], expected: str | None
) -> None:
    assert reason(article, **corpus) == expected


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("123 _!?。、", 0.0),
        ("カタカナ、ひらがな。漢字ー々", 1.0),
        ("ﾊﾝｶｸ", 1.0),
        ("日本 ab", 0.5),
        ("𠮟る", 1.0),
        ("한국어 Русский", 0.0),
        ("１２３日本", 1.0),
    ],
)
def test_the_japanese_share_counts_letters_only(text: str, share: float) -> None:
    assert japanese_share(text) == pytest.approx(share)


def test_a_digest_is_met_once() -> None:
    duplicates = Duplicates()
    seen = [duplicates.seen(text_digest(text)) for text in ("甲", "乙", "甲", "甲 ")]
    assert seen == [False, False, True, False]


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("甲の一覧（こうのいちらん）は、甲の一覧である。\n\n乙\n丙\n丁", True),
        ("甲は人物である。\n\n人物\n資格を持っている。\n趣味は音楽。", False),
        ("甲は人物である（要出典。）\n乙と言った。」\n丙", False),
    ],
)
def test_an_article_told_in_list_items_is_no_list(text: str, bare: bool) -> None:
    assert is_bare_list(text) is bare


# --- order ----------------------------------------------------------------------------------------


def test_the_first_reason_of_the_documented_order_counts() -> None:
    """Each article has all the faults but those before its own."""
    corpus = Corpus.model_validate(
        {"drop_list_pages": True, "min_japanese_share": 0.5, "exclude": {"titles": ["題"]}}
    )
    faults: list[dict[str, Any]] = [
        {"title": "題"},
        {"problem": "too large"},
        {"text": "短い"},
        {"disambiguation": True},
        {"list_only": True},
        {"japanese_share": 0.1},
        {"digest": b"seen"},
    ]
    filters = Filters(corpus)
    clean = {"title": "他", "japanese_share": 1.0, "digest": b"new"}
    assert filters.reason("s", made({**clean, "digest": b"seen"})) is None
    found = []
    for start in range(len(faults)):
        article = dict(clean)
        for fault in reversed(faults[start:]):
            article |= fault
        found.append(str(filters.reason("s", made(article))))
    assert found == [
        "excluded by title",
        "too large",
        "short",
        "disambiguation",
        "list",
        "few Japanese letters",
        "duplicate",
    ]


# --- exclusions -----------------------------------------------------------------------------------


def excluded(article: dict[str, Any], **exclude: Any) -> Reason | None:
    return Exclusions(Exclude.model_validate(exclude)).reason("wiki", made(article))


DECOMPOSED = unicodedata.normalize("NFD", "ガリレオ")


@pytest.mark.parametrize(
    ("article", "exclude", "expected"),
    [
        ({"title": "ガリレオ"}, {"titles": [DECOMPOSED]}, "excluded by title"),
        ({"title": DECOMPOSED}, {"titles": ["ガリレオ"]}, "excluded by title"),
        ({"title": "ガリレオ"}, {"titles": ["ガリレ", "ガリレオ・ガリレイ"]}, None),
        ({"id": "12"}, {"ids": [12]}, "excluded by id"),
        ({"id": "12"}, {"ids": ["1", 2, "012"]}, None),
        ({"id": "12"}, {"ids": ["wiki:12"]}, "excluded by id"),
        ({"id": "12"}, {"ids": ["other:12"]}, None),
        ({"categories": ["人物", "存命"]}, {"categories": ["存命"]}, "excluded by category 存命"),
        ({"categories": ["人物"]}, {"categories": ["Category:人物"]}, None),
        ({"categories": ["題"]}, {"titles": ["他"], "ids": ["題"]}, None),
    ],
)
def test_exclusions_match_exactly(
    article: dict[str, Any], exclude: dict[str, Any], expected: str | None
) -> None:
    found = excluded(article, **exclude)
    assert (found if found is None else str(found)) == expected


def test_entries_without_an_article_are_told(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    body = article_text(3) + "[[Category:人物|こう]]\n[[カテゴリ:例]]\n"
    pages = [page(n) for n in range(1, 20) if n != 3]
    path.write_bytes(export([*pages, page(30, body, title="甲"), page(31, "短", title="乙")]))
    exclude = {
        "exclude.ids": [1, "source0:2", "other:4", 99],
        "exclude.titles": ["乙", "丙", "項目1"],
        "exclude.categories": ["人物", "ない"],
    }
    run = RunDirectory(tmp_path / "run")
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        console = Console(file=log, width=200)
        CORPUS.run(make_recipe({"path": path}, **exclude), run, Progress("auto", console))
    assert dropped(run.corpus) == {
        "項目1": "excluded by title",
        "項目2": "excluded by id",
        "甲": "excluded by category 人物",
        "乙": "excluded by title",
    }
    stats = json.loads((run.corpus / "stats.json").read_text("utf-8"))
    assert stats["dropped"] == {
        "excluded by category": 1,
        "excluded by id": 1,
        "excluded by title": 2,
    }
    assert stats["exclude_unmatched"] == {
        "ids": ["other:4", "99"],
        "titles": ["丙"],
        "categories": ["ない"],
    }
    told = (tmp_path / "log").read_text("utf-8")
    assert "corpus.exclude.ids: no article matched other:4, 99\n" in told
    assert "corpus.exclude.titles: no article matched 丙\n" in told
    assert "corpus.exclude.categories: no article matched ない\n" in told


def test_a_filter_that_takes_most_of_a_source_is_named(tmp_path: Path) -> None:
    lines, dump = tmp_path / "lines.txt", tmp_path / "dump.xml"
    lines.write_text("".join(f"短い行{n}。\n" for n in range(90)) + ("長い行。" * 20), "utf-8")
    dump.write_bytes(export([*(page(n) for n in range(1, 20)), page(30, "短")]))
    run = RunDirectory(tmp_path / "run")
    sources = ({"path": dump}, {"path": lines, "kind": "text", "layout": "line"})
    with (tmp_path / "log").open("w", encoding="utf-8") as log:
        CORPUS.run(make_recipe(*sources), run, Progress("auto", Console(file=log, width=200)))
    told = (tmp_path / "log").read_text("utf-8")
    assert "source1: 90 of 91 left out: short; min_characters = 50\n" in told
    assert "source0:" not in told


def test_list_pages_are_left_out_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    listed = "甲の一覧は、甲の一覧である。\n" + "".join(f"* 項目その{n}\n" for n in range(20))
    told = "乙は人物である。\n" + "".join(f"* {n}年に転居した。\n" for n in range(20))
    pages = [page(50, listed, title="甲"), page(51, told, title="乙")]
    path.write_bytes(export([*(page(n) for n in range(1, 20)), *pages]))
    kept = make_corpus(tmp_path / "kept", make_recipe({"path": path}))
    assert {"50", "51"} <= all_documents(kept).keys()
    left = make_corpus(tmp_path / "left", make_recipe({"path": path}, drop_list_pages=True))
    assert dropped(left) == {"甲": "list"}
