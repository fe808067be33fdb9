"""MediaWiki exports: pages found, pages read, damage told."""

from __future__ import annotations

import bz2
import time
from pathlib import Path

import pytest
from dumps import FOOTER, article_text, export, header, multistream, page

from jagpt.compressed import Reader
from jagpt.corpus import dump
from jagpt.corpus.dump import Dump, Page, RawPage, is_redirect, parse_page
from jagpt.errors import DataError

PAGES = [page(n) for n in range(1, 8)]


def read(tmp_path: Path, data: bytes, suffix: str = ".xml") -> list[Page]:
    path = tmp_path / f"dump{suffix}"
    path.write_bytes(data)
    opened = Dump(Reader(path))
    return [parse_page(raw, opened.header) for raw in opened]


def refused(tmp_path: Path, data: bytes, suffix: str = ".xml") -> str:
    with pytest.raises(DataError) as caught:
        read(tmp_path, data, suffix)
    assert f"dump{suffix}" in str(caught.value)
    return str(caught.value)


# --- reading --------------------------------------------------------------------------------------


def test_pages_come_in_order_with_their_fields(tmp_path: Path) -> None:
    pages = read(tmp_path, export(PAGES))
    assert [p.id for p in pages] == [str(n) for n in range(1, 8)]
    assert pages[2] == Page("3", "項目3", 0, False, 1003, article_text(3))


def test_plain_and_multistream_bzip2_give_the_same_pages(tmp_path: Path) -> None:
    plain = read(tmp_path, bz2.compress(export(PAGES)), ".xml.bz2")
    assert read(tmp_path, multistream(PAGES), ".xml.bz2") == plain == read(tmp_path, export(PAGES))


def test_a_page_tag_may_have_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(tmp_path, export(PAGES))
    tags = ['<page id="a">', "<page\n>", '<page xml:space="preserve" >']
    pages = [xml.replace("<page>", tag) for xml, tag in zip(PAGES, tags * 3, strict=False)]
    assert read(tmp_path, export(pages)) == expected
    assert read(tmp_path, multistream(pages), ".xml.bz2") == expected
    monkeypatch.setattr("jagpt.compressed.READ_BYTES", 1)
    assert read(tmp_path, export(pages)) == expected


def test_block_bounds_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(tmp_path, export(PAGES))
    for size in (1, 2, 7, 13):
        monkeypatch.setattr("jagpt.compressed.READ_BYTES", size)
        assert read(tmp_path, export(PAGES)) == expected


@pytest.mark.parametrize("version", ["0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.10"])
def test_older_formats_are_read(tmp_path: Path, version: str) -> None:
    assert len(read(tmp_path, export(PAGES, version=version))) == 7


def test_namespace_comes_from_the_title_where_the_format_has_none(tmp_path: Path) -> None:
    titles = ["Wikipedia:方針", "wikipedia:方針", "項目", "2001年:宇宙の旅", "ファイル:a.png"]
    data = export([page(n, title=t, ns=None) for n, t in enumerate(titles, 1)], version="0.3")
    assert [p.namespace for p in read(tmp_path, data)] == [4, 4, 0, 0, 6]


def test_redirects_are_told_by_element_and_by_text(tmp_path: Path) -> None:
    texts = ["#REDIRECT [[甲]]", "#転送 [[甲]]", "  #redirect: [[甲]]", "# [[甲]]は一番", "甲"]
    pages = [page(n, text, ns=None) for n, text in enumerate(texts, 1)]
    old = export([*pages, page(9, redirect="甲")], version="0.3")
    assert [p.redirect for p in read(tmp_path, old)] == [True, True, True, False, False, True]


def test_a_redirect_without_a_target_is_told_in_time_that_grows_with_it() -> None:
    before = time.process_time()
    assert not is_redirect("#redirect" + " " * 100_000)
    assert time.process_time() - before < 5  # it was over 20


def test_what_the_dump_marks_as_no_redirect_is_an_article_without_text(tmp_path: Path) -> None:
    pages = [page(1, "#REDIRECT [[甲]]"), page(2, "#転送 [[甲]]", redirect="甲")]
    found = [(p.redirect, p.wikitext) for p in read(tmp_path, export(pages))]
    assert found == [(False, ""), (True, "")]


def test_of_several_revisions_the_last_one_counts(tmp_path: Path) -> None:
    xml = page(5, "前の版").replace(
        "</revision>",
        "</revision><revision><id>2</id><text>今の版</text></revision>",
    )
    (read_page,) = read(tmp_path, export([xml]))
    assert (read_page.wikitext, read_page.revision) == ("今の版", 2)


def test_other_slots_and_models_are_no_wikitext(tmp_path: Path) -> None:
    slots = page(1, "本文").replace(
        "<contributor>", "<content><role>a</role><text>別の枠</text></content><contributor>"
    )
    script = page(2, "return {}", revision="<model>Scribunto</model>")
    deleted = page(3).replace('<text xml:space="preserve">', '<text deleted="deleted">')
    pages = read(tmp_path, export([slots, script, deleted]))
    assert pages[0].wikitext == "本文"
    assert [p.problem for p in pages] == [None, "not wikitext", "no text"]


def test_escaped_markup_in_a_text_is_no_page_boundary(tmp_path: Path) -> None:
    text = "例：<page>と</page>と</mediawiki>、&amp;も。"
    assert [p.wikitext for p in read(tmp_path, export([page(1, text)]))] == [text]


def test_urls_are_those_of_the_wiki(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    path.write_bytes(export(PAGES))
    url = Dump(Reader(path)).header.url
    assert url("AC/DC 日本") == "https://ja.wikipedia.org/wiki/AC/DC_%E6%97%A5%E6%9C%AC"
    assert dump.Header("0.11", None, None).url("甲") is None
    assert dump.Header("0.11", None, "javascript:alert(1)").url("甲") is None
    assert dump.Header("0.11", None, "http://h/index.php/M").url("A") == "http://h/index.php/A"


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"  \n ", "it is empty"),
        (b"hello", "not XML"),
        (bytes(3_000_000), "not XML"),
        (b"<html><body/></html>", "begins with <html>"),
        (header(version="0.2").encode() + FOOTER.encode(), "format 0.2"),
        (b"<mediawiki>" + FOOTER.encode(), "without a version"),
        (header(extra="<!DOCTYPE x [<!ENTITY a 'b'>]>").encode(), "document type"),
        (header().encode(), "cut short after page 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_export_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    assert message in refused(tmp_path, data)


def test_a_bomb_of_white_space_before_the_pages_is_refused(tmp_path: Path) -> None:
    data = header().encode() + b" " * (64 * 2**20)
    assert "no <page> in the first" in refused(tmp_path, bz2.compress(data), ".xml.bz2")


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.999])
def test_a_cut_is_told_with_page_and_offset(tmp_path: Path, kept: float) -> None:
    data = export(PAGES)
    data = data[: int(len(data) * kept)]
    whole = data.count(b"</page>")
    message = refused(tmp_path, data)
    assert f"cut short after page {whole}" in message
    assert f"ends at byte {len(data)}" in message


def test_every_cut_of_a_multistream_dump_is_told(tmp_path: Path) -> None:
    data = multistream(PAGES)
    for kept in (*range(0, len(data) - 1, 97), len(data) - 1):
        refused(tmp_path, data[:kept], ".xml.bz2")


def test_a_cut_at_a_stream_boundary_is_told(tmp_path: Path) -> None:
    data = multistream(PAGES)
    for boundary in [n for n in range(1, len(data)) if data[n:].startswith(b"BZh")]:
        assert "cut short after page" in refused(tmp_path, data[:boundary], ".xml.bz2")


def test_damage_is_told_with_the_pages_before_it(tmp_path: Path) -> None:
    data = bytearray(multistream(PAGES))
    third = [n for n in range(len(data)) if data[n:].startswith(b"BZh")][2]
    data[third + 40] ^= 0xFF
    message = refused(tmp_path, bytes(data), ".xml.bz2")
    assert f"stream 3, which begins at byte {third}" in message
    assert "after page 3" in message


def test_what_is_lost_between_pages_is_told(tmp_path: Path) -> None:
    data = export(PAGES).replace(b"  <page>", b"  <pa#e>", 3).replace(b"<pa#e>", b"<page>", 2)
    assert "damaged after page 2" in refused(tmp_path, data)


def test_nothing_may_follow_the_end(tmp_path: Path) -> None:
    assert "continues after </mediawiki>" in refused(tmp_path, export(PAGES) * 2)
    assert len(read(tmp_path, export(PAGES) + b"\n \n")) == 7


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("日本", "\x01", "not well-formed (invalid token)"),
        ("日本", "&bomb;", "undefined entity"),
        ("<revision>", "", "mismatched tag"),
        ("<id>1</id>", "", "no page id"),
        ("<id>1</id>", "<id>一</id>", "no page id"),
        ("項目1</title>", "</title>", "no title"),
    ],
)
def test_a_malformed_page_is_told_and_the_others_read(
    tmp_path: Path, old: str, new: str, problem: str
) -> None:
    bad = page(1).replace(old, new)
    pages = read(tmp_path, export([bad, page(2)]))
    assert [p.problem for p in pages] == [f"malformed ({problem})", None]
    assert pages[1].id == "2"


@pytest.mark.parametrize("depth", [40, 100_000])
def test_deep_elements_are_told_in_time_that_grows_with_them(tmp_path: Path, depth: int) -> None:
    deep = page(1).replace("<revision>", "<a>" * depth + "</a>" * depth + "<revision>")
    before = time.process_time()
    bad, good = read(tmp_path, export([deep, page(2)]))
    assert time.process_time() - before < 5  # it was over 100
    assert bad.problem == "malformed (elements nested deeper than 32 levels)"
    assert (bad.id, bad.title, good.problem) == ("1", "項目1", None)


def test_deep_elements_before_the_first_page_are_told_with_the_place(tmp_path: Path) -> None:
    path = tmp_path / "dump.xml"
    deep = "<a>" * 100_000 + "</a>" * 100_000
    path.write_bytes(export([page(1)]).replace(b"</siteinfo>", b"</siteinfo>" + deep.encode()))
    with pytest.raises(DataError, match=r"dump.xml: line \d+, column \d+: elements nested deeper"):
        Dump(Reader(path))


def test_many_namespaces_are_read_in_no_time(tmp_path: Path) -> None:
    names = "".join(f'<namespace key="{n % 90}">N{n}</namespace>' for n in range(16_000))
    data = export([page(n) for n in range(200)])
    before = time.process_time()
    pages = read(tmp_path, data.replace(b"</namespaces>", names.encode() + b"</namespaces>"))
    assert len(pages) == 200
    assert time.process_time() - before < 5  # it had no end in 150


def test_a_title_over_the_limit_is_told(tmp_path: Path) -> None:
    bad, good = read(tmp_path, export([page(1).replace("項目1", "題" * 1_025), page(2)]))
    assert bad.problem == "malformed (title longer than 1024 characters)"
    assert len(bad.title) <= 1_000
    assert good.problem is None


def test_a_malformed_page_has_its_title_as_a_reader_sees_it(tmp_path: Path) -> None:
    title = "&quot;A&#039;s&quot; &amp; &lt;B&gt; &amp;amp;"
    xml = page(1, "&bomb;").replace("&amp;bomb;", "&bomb;").replace("項目1", title)
    bad, good = read(tmp_path, export([xml, xml.replace("&bomb;", "日本")]))
    assert bad.problem == "malformed (undefined entity)"
    assert bad.title == good.title == '"A\'s" & <B> &amp;'


def test_bad_utf8_is_told_and_the_page_named(tmp_path: Path) -> None:
    data = export([page(1), page(2)]).replace("日本".encode(), b"\xe6\x97\xff", 1)
    bad, good = read(tmp_path, data)
    assert (bad.problem, bad.title, bad.id) == ("malformed (not well-formed (invalid token))",
                                                "項目1", "1")  # fmt: skip
    assert good.problem is None


def test_a_page_over_the_limit_is_named_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dump, "PAGE_BYTES", 100_000)
    monkeypatch.setattr(dump, "HEAD_BYTES", 1_000)
    for length in (99_000, 300_000, 3_000_000):
        path = tmp_path / "dump.xml"
        path.write_bytes(export([page(1), page(2, "あ" * (length // 3)), page(3)]))
        opened = Dump(Reader(path))
        raw = list(opened)
        assert len(raw[1].xml) <= 100_000
        assert raw[1].size > length
        pages = [parse_page(item, opened.header) for item in raw]
        assert [p.title for p in pages] == ["項目1", "項目2", "項目3"]
        assert pages[1].problem == (None if length < 100_000 else "too large")


def test_raw_page_knows_whether_it_is_whole() -> None:
    assert RawPage(b"abc", 3).whole
    assert not RawPage(b"abc", 4).whole
