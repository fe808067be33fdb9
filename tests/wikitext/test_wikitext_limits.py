"""Hostile pages: limits, linear work, valid text whatever comes in."""

import re
import time
import tracemalloc
from collections.abc import Callable
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jagpt.wikitext import WikitextLimitError, WikitextOptions, scanner, to_text
from jagpt.wikitext.marks import ALL

MARKUP = [
    *(
        "{{",
        "}}",
        "[[",
        "]]",
        "{|",
        "|}",
        "\n{|",
        "\n|}",
        "|",
        "\n|-",
        "=",
        "\n==",
        "==\n",
        "''",
        "'''",
    ),
    *(
        "<!--",
        "-->",
        "<ref>",
        "</ref>",
        "<ref/>",
        "<nowiki>",
        "</nowiki>",
        "<math>",
        "</math>",
        "<br>",
    ),
    *(
        "<ruby>",
        "<rt>",
        "<rp>",
        "<table>",
        "</table>",
        "<pre>",
        "</pre>",
        "<poem>",
        "-{",
        "}-",
        "{{{",
        "}}}",
    ),
    *(
        "[http://a ",
        "http://a",
        "ファイル:a",
        "Category:甲",
        "en:",
        "lang|en|",
        "読み仮名|",
        "謎|",
        "ubl|",
    ),
    *(
        "\n*",
        "\n;",
        ":",
        "、",
        "。",
        "（",
        "）",
        "「",
        "」",
        " ",
        "　",
        "\n",
        "&nbsp;",
        "&#0;",
        "&#xfdd0;",
        "漢字",
    ),
    *(
        "__NOTOC__",
        "#if:",
        "formatnum:",
        "convert|1|m",
        "死亡年月日と没年齢|1|2|3|4|5|6",
        "PAGENAME",
        *(
            "#switch:",
            "#expr:1+",
            "#tag:math|",
            "padleft:",
            "=",
            "自治体人口/甲",
            "Col|2|",
            "val|1|e=",
        ),
        *(
            "Cite book|和書|title=",
            "Harvnb|a|1",
            "en",
            "JPN1947",
            "Wikidata",
            "傍点|",
            "謎\n|a=b\n|c=d\n",
        ),
        *(
            "<sup>2</sup>",
            "<sub>",
            "''''",
            "||",
            "\n!",
            "\n|+",
            "<td>",
            "は",
            "人",
            "&amp",
            "[[a|=]]",
            "]",
            "[",
        ),
        *ALL,
    ),
]
PAGES = st.lists(st.sampled_from(MARKUP) | st.text(max_size=4), max_size=60).map("".join)
MARKDOWN = WikitextOptions(markup="markdown")
EVERYTHING = WikitextOptions(tables=True, captions=True, closing_sections=True)


@settings(max_examples=400, deadline=None)
@given(PAGES, st.sampled_from([WikitextOptions(), EVERYTHING, WikitextOptions(math=False)]))
def test_any_input_gives_valid_text(page: str, options: WikitextOptions) -> None:
    try:
        converted = to_text(page, title=page[:10], options=options)
    except WikitextLimitError:
        return
    converted.text.encode("utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\ufdd0-\ufdef\ufffe\uffff]", converted.text)
    assert converted.text == converted.text.strip()
    assert not any(line != line.rstrip() for line in converted.text.split("\n"))
    assert all(lost > 0 for lost in converted.unknown_templates.values())


@given(st.text(alphabet="ぁあいう漢字ー。、「」（）", min_size=1))
def test_plain_japanese_comes_out_as_it_went_in(page: str) -> None:
    assert to_text(page).text == page


def test_marks_and_controls_in_the_input_are_taken_out() -> None:
    assert to_text(f"甲{ALL}乙\x00丙\x07\ud800丁\r\n戊\u200b").text == "甲乙丙丁\n戊"


@pytest.mark.parametrize("reference", ["&#" + "9" * 5000 + ";", "&#x" + "f" * 5000, "&#xD800;"])
def test_impossible_character_references_do_no_harm(reference: str) -> None:
    to_text(f"甲{reference}<nowiki>{reference}</nowiki>乙").text.encode("utf-8")


def test_a_page_over_its_length_is_refused_with_a_reason() -> None:
    with pytest.raises(WikitextLimitError, match="longer than 10 characters") as refused:
        to_text("あ" * 11, options=WikitextOptions(max_characters=10))
    assert refused.value.reason == "longer than 10 characters"


@pytest.mark.parametrize(
    ("opener", "closer"),
    [("{{a|", ""), ("{{a|", "}}"), ("{{lang|en|", ""), ("[[", "]]"), ("[[File:a|", "]]")],
)
def test_a_page_over_its_depth_is_refused_with_a_reason(opener: str, closer: str) -> None:
    with pytest.raises(WikitextLimitError, match="nested deeper than 100 levels"):
        to_text(opener * 101 + closer * 101)
    to_text(opener * 100 + closer * 100)


@pytest.mark.parametrize("item", ["* [[甲\n", "* [[File:a\n甲\n"])
def test_links_that_are_not_closed_are_not_nested(item: str) -> None:
    assert to_text(item * 200 + "[[乙]]は[[丙|{{lang|en|B}}]]。").text == "甲\n" * 200 + "乙はB。"


def _steps(page: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many brackets the scanner looks at while it converts `page`."""
    looked = 0

    class Counted(list[str]):
        def __getitem__(self, index):  # type: ignore[no-untyped-def]
            nonlocal looked
            looked += 1
            return super().__getitem__(index)

    original: Callable[..., None] = scanner._Scan.__init__

    def counting(self, tokens, *rest):  # type: ignore[no-untyped-def]
        original(self, Counted(tokens), *rest)

    with monkeypatch.context() as patch:
        patch.setattr(scanner._Scan, "__init__", counting)
        to_text(page, options=WikitextOptions(max_depth=10**9))
    return looked


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "{{a|",
            "{{lang|en|",
            "[[",
            "[[a|",
            "[[File:a|",
            "{{a}}",
            "{{lang|en|x}}",
            "[[File:a]]",
            "}}",
            "]]",
        ),
        *(
            "\n{|",
            "\n|}",
            "\n{|\n|a",
            "\n{|{{a|",
            "{{a|\n{|",
            "[[File:a|{{a|",
            "{{lang|en|[[a|",
            "<table>",
        ),
    ],
)
def test_work_doubles_with_the_page(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = (_steps(unit * n, monkeypatch) for n in (500, 1000))
    assert large <= 2.1 * small + 10


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("{{#switch:x" + "".join(f"|a{i}=b" for i in range(10_000)) + "|終}}", "終"),
        ("{{#expr:1+" * 99 + "1" + "}}" * 99, "100"),
        ("{{#expr:" + "(" * 900 + "1" + ")" * 900 + "}}", "1"),
        ("{{#ifeq:a|a|" * 99 + "核" + "}}" * 99, "核"),
        ("甲は{{自治体人口/甲|乙}}人、" * 5_000 + "である。終", "終"),
        ("（" * 5_000 + "{{自治体人口/甲|乙}}", ""),
        ("'''a''b" * 20_000, "ab" * 20_000),
        ("{{#replace:" * 90 + "aa" + "|a|aa}}" * 90, "a" * 1024),
        ("[http://a " * 20_000, "[" * 20_000),
        ("[//a" * 50_000 + "\n終]]", "[//a" * 50_000 + "\n終"),
        ("[//" + "a" * 200_000 + "\n終]]", "[//" + "a" * 200_000 + "\n終"),
        ("//" + "[mailto:a " * 50_000, "//" + "[mailto:a " * 49_999 + "[mailto:a"),
        ("=={{" + "a" * 200_000 + "==\n文", "a" * 200_000 + "\n文"),
        ("{{X|" + " " * 100_000 + "}}", ""),
        ("|-\n|甲\n" * 20_000, ""),
        ("<sup>" * 20_000 + "2" + "</sup>" * 20_000, "²"),
        ("-{" * 20_000 + "甲", "-{" * 20_000 + "甲"),
    ],
)
def test_long_inputs_take_time_in_proportion(page: str, expected: str) -> None:
    assert to_text(page).text == expected


def _seconds(page: str, options: WikitextOptions) -> float:
    """CPU time of a conversion, the least of two."""
    times = []
    for _ in range(2):
        begun = time.process_time()
        to_text(page, options=options)
        times.append(time.process_time() - begun)
    return min(times)


@pytest.mark.parametrize(
    "unit",
    [
        "人口は{{自治体人口/甲}}人である、",
        "甲（{{自治体人口/甲}}人、",
        "<ref name=a",
        "{{#switch:a|b=c|a=d}}",
        "{{#expr:1+2*3}}",
        "\n{|\n|甲||乙\n|}",
        "\n|-\n|甲||rowspan=3|乙",
        "{{謎|乙}}は",
        "'''",
    ],
)
@pytest.mark.parametrize("markup", ["plain", "markdown"])
def test_four_times_the_page_takes_some_four_times_as_long(
    unit: str, markup: Literal["plain", "markdown"]
) -> None:
    options = WikitextOptions(markup=markup, tables=True)
    small, large = (_seconds(unit * count + "。", options) for count in (1_500, 6_000))
    assert large < 9 * small + 0.02


def test_a_table_of_a_megabyte_on_one_line_is_one_row() -> None:
    row = "|" + "甲||" * 300_000 + "乙"
    shown = to_text(f"{{|\n{row}\n|}}", options=WikitextOptions(tables=True)).text
    assert shown == "甲\t" * 300_000 + "乙"
    cell = "|甲" + "\n乙" * 100_000
    shown = to_text(f"{{|\n{cell}\n|}}", options=WikitextOptions(tables=True)).text
    assert shown == "甲" + " 乙" * 100_000


@pytest.mark.parametrize(
    "page",
    [
        "{{PAGENAME}}" * 5_000,
        "{{padleft:1|500|xy}}" * 5_000,
        "{{urlencode:" + "あ" * 40_000 + "}}",
        "{{#replace:aaaaaaaaaa|a|bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb}}" * 600,
    ],
)
def test_what_templates_show_is_bounded_by_the_pages_limit(page: str) -> None:
    options = WikitextOptions(max_characters=200_000)
    with pytest.raises(WikitextLimitError, match="expand to more than 200000 characters"):
        to_text(page, title="長" * 250, options=options)


def test_deep_nesting_needs_no_recursion() -> None:
    page = "{{lang|en|" * 5000 + "核" + "}}" * 5000
    assert to_text(page, options=WikitextOptions(max_depth=10_000)).text == "核"


def test_what_is_remembered_of_pages_has_an_end() -> None:
    """Headings, names of templates, and markers of lists, each as long as a page."""
    long = "見" * 20_000
    templates = "".join(f"{{{{Sfn{n}{long}|1}}}}" for n in range(10))
    pages = [f"== {long}{n} ==\n文。\n{'*' * 20_000}{'#' * n} 項\n{templates}" for n in range(20)]
    first, *others = pages
    for options in (MARKDOWN, WikitextOptions()):
        to_text(first, options=options)
    tracemalloc.start()
    try:
        for page in others:
            to_text(page, options=MARKDOWN)
            to_text(page)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 300_000
