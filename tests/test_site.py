"""The documentation's site: its navigation, its two languages, its search."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BUILDER = runpy.run_path(str(ROOT / "tools" / "build_site.py"))
LISTED = [page for section in BUILDER["navigation"]() for page in section["pages"]]


def test_the_navigation_has_every_page_once() -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert sorted(LISTED) == sorted(pages)


def test_what_is_translated_has_an_english_page() -> None:
    for path in (ROOT / "docs" / "ja").glob("*.md"):
        assert (ROOT / "docs" / path.name).exists(), path.name


def test_a_page_without_translation_stands_in_english_with_a_note(tmp_path: Path) -> None:
    BUILDER["stage"](tmp_path / "ja", "ja")
    text = (tmp_path / "ja" / "corpus.md").read_text("utf-8")
    assert text.index("# ") < text.index("まだ日本語に訳されていません") < text.index("\n## ")
    assert "訳されていません" not in (tmp_path / "ja" / "index.md").read_text("utf-8")


def test_llms_txt_names_every_page() -> None:
    listed = BUILDER["llms"]()
    for page in LISTED:
        assert f"]({page}.md)" in listed


def test_the_search_finds_a_word_within_a_run_of_japanese() -> None:
    pytest.importorskip("sphinx")
    search = runpy.run_path(str(ROOT / "docs" / "conf.py"))["Pairs"]({})
    terms = search.split("統計的推定を使う bits_per_character")
    assert {"推定", "推", "bits_per_character"} <= set(terms)
    assert "統計的推定を使う" not in terms
