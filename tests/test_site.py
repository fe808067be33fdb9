"""The documentation's site: its navigation, its two languages, its search."""

from __future__ import annotations

import re
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


@pytest.fixture
def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Japanese pages of a site whose `apart.md` has no translation."""
    docs = tmp_path / "docs"
    pages = {
        "index.md": "# Index\n",
        "apart.md": "# Apart\n\nSee [resuming](both.md#how-to-resume).\n\n## Here\n",
        "both.md": "# Both\n\n## What it is\n\n## How to resume\n",
        "ja/index.md": "# 目次\n\n[再開](../both.md#how-to-resume)、[他](../apart.md#here)\n",
        "ja/both.md": "# 両方\n\n![図](../images/a.png)\n\n## 何か\n\n## 再開の方法\n\n"
        "[何か](both.md#何か)\n",
    }
    for name, text in pages.items():
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(text, "utf-8")
    (docs / "nav.toml").write_text("section = []", "utf-8")
    monkeypatch.setitem(BUILDER["stage"].__globals__, "DOCS", docs)
    BUILDER["stage"](tmp_path / "ja", "ja")
    return tmp_path / "ja"


def test_a_page_without_translation_stands_in_english_with_a_note(staged: Path) -> None:
    text = (staged / "apart.md").read_text("utf-8")
    assert text.index("# ") < text.index("まだ日本語に訳されていません") < text.index("\n## ")
    assert "訳されていません" not in (staged / "index.md").read_text("utf-8")


def test_a_link_to_an_english_heading_leads_to_its_translation(staged: Path) -> None:
    assert "](both.md#再開の方法)" in (staged / "apart.md").read_text("utf-8")
    index = (staged / "index.md").read_text("utf-8")
    assert "](both.md#再開の方法)、[他](apart.md#here)" in index
    assert "](both.md#何か)" in (staged / "both.md").read_text("utf-8")


def test_a_translated_page_shows_the_images_beside_it(staged: Path) -> None:
    assert "![図](images/a.png)" in (staged / "both.md").read_text("utf-8")


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "ja").glob("*.md")), ids=lambda p: p.name)
def test_a_translated_page_has_the_headings_of_the_english_one(page: Path) -> None:
    def levels(page: Path) -> list[str]:
        prose = re.sub(r"^ *```.*?^ *```$", "", page.read_text("utf-8"), flags=re.M | re.S)
        return re.findall(r"^#+(?= )", prose, re.MULTILINE)

    assert levels(page) == levels(ROOT / "docs" / page.name)


@pytest.fixture(scope="module")
def japanese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Japanese site of four pages, one of them in English."""
    pytest.importorskip("sphinx")
    folder = tmp_path_factory.mktemp("site")
    BUILDER["stage"](folder / "ja", "ja")
    kept = {"index", "how-to", "how-to-windows", "report"}
    for page in (folder / "ja").glob("*.md"):
        if page.stem not in kept:
            page.unlink()
    index = folder / "ja" / "index.md"
    entries = [
        line for line in index.read_text("utf-8").splitlines() if not _leads_away(line, kept)
    ]
    index.write_text("\n".join(entries), "utf-8")
    (folder / "ja" / "report.md").write_text("# The report\n", "utf-8")
    for page in kept:
        path = folder / "ja" / f"{page}.md"
        path.write_text(re.sub(r"\]\([^)]*\)", "]", path.read_text("utf-8")), "utf-8")
    assert BUILDER["sphinx"](folder / "ja", folder / "site", "ja") == 0
    BUILDER["label"](folder / "site", BUILDER["LABELS"])
    return folder / "site"


def _leads_away(line: str, kept: set[str]) -> bool:
    """Whether a line of a table of contents names a page that is not built."""
    found = re.search(r"<([\w-]+)>$", line)
    return found is not None and found[1] not in kept


def test_what_the_theme_says_is_japanese_on_japanese_pages(japanese: Path) -> None:
    english = re.compile(r"[A-Z]?[a-z]+ [a-z]+|Next|Previous|Home|Menu|Expand|Search|Contents|Note")
    for name in ("how-to-windows", "search", "genindex"):
        html = (japanese / f"{name}.html").read_text("utf-8")
        body = re.sub(r"<article.*?</article>|<script.*?</script>|<style.*?</style>|<!--.*?-->", "",
                      html, flags=re.DOTALL)  # fmt: skip
        said = re.findall(r">([^<]+)<", body) + re.findall(
            r'(?:label|title|holder)="([^"]+)"', body
        )
        assert [text for text in said if english.search(text)] == [], name
    told = (japanese / "_static" / "translations.js").read_text("utf-8")
    assert "${resultCount} ページ見つかりました。" in told


def test_the_next_page_is_named_as_in_the_navigation(japanese: Path) -> None:
    html = (japanese / "how-to-windows.html").read_text("utf-8")
    following = html[html.index('class="next-page"') :]
    assert re.search(r'<div class="title">(.*?)</div>', following)[1] == "レポート"  # type: ignore[index]


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
