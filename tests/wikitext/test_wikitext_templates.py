"""The policy table and the rules that it holds."""

import pytest

from jagpt.wikitext import WikitextConverter, WikitextOptions, to_text
from jagpt.wikitext.templates import TemplateTable, compile_format, normal_name, table


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("{{読み仮名|'''物理学'''|ぶつりがく}}は", "物理学（ぶつりがく）は"),
        (
            "{{読み仮名_ruby不使用|'''言語'''|げんご|{{lang-en-short|language}}}}は",
            "言語（げんご、英: language）は",
        ),
        ("{{Ruby|漢字|かんじ}}", "漢字（かんじ）"),
        ("{{ルビ|漢字}}", "漢字"),
        ("{{lang|en|word}}", "word"),
        ("{{lang-fr|mot}}と{{Lang-de-short|Wort}}", "フランス語: motと独: Wort"),
        ("{{llang|en|word}}", "英語: word"),
        ("{{仮リンク|地衣|en|Lichen}}と{{ill2|甲|en|A|label=乙}}", "地衣と乙"),
        ("{{en|word}}{{en icon}}", "word"),
        ("{{要出典範囲|疑わしい文|date=2020年}}{{要出典|date=2020年}}。", "疑わしい文。"),
        ("{{interp|……}}", "[……]"),
        ("{{IPA|a}}{{ipa|b}}{{IPA2|c}}", "[a]/b/c"),
        (
            "{{IPA-fr|fʁɑ̃s}}、{{IPA-en|a|pron}}、{{IPA-en|a|}}",
            "フランス語発音: [fʁɑ̃s]、発音: [a]、[a]",
        ),
        ("{{formatnum:1234567.8}}と{{formatnum:1,234|R}}", "1,234,567.8と1234"),
        ("{{convert|5|mi|km}}、{{convert|100|C|F}}", "5マイル (8.0 km)、100 °C (212 °F)"),
        ("{{convert|多数|謎}}", "多数 謎"),
        ("{{生年月日と年齢|1950|4|3}}", "1950年4月3日"),
        ("{{死亡年月日と没年齢|1901|5|3|1980|4|5}}", "1980年4月5日（78歳没）"),
        ("{{dts|2021|Feb}}", "2021年2月"),
        ("{{和暦|2019}}と{{和暦|1964}}", "令和元年と昭和39年"),
        ("{{flag|Japan}}、{{USA}}、{{flagicon|JPN}} 甲", "日本、アメリカ合衆国、甲"),
        ("{{Harvtxt|Cox|Li|2014}}", "Cox & Li (2014)"),
        ("{{frac|1|2|3}}と{{frac|2|3}}", "1 2/3と2/3"),
        ("{{hlist|甲|乙}}", "甲・乙"),
        ("{{ubl|甲|乙}}", "甲\n乙"),
        ("{{Quotation|引用文|作者}}", "引用文\n作者"),
        ("{{行内引用|引用}}", "「引用」"),
        ("{{PAGENAME}}は", "東京は"),
        ("{{#if:x|甲|乙}}{{#if:|甲|乙}}{{lc:ABC}}", "甲乙abc"),
        ("{{color|red|赤}}{{small|小}}{{Nowrap|一行}}", "赤小一行"),
        ("{{DEFAULTSORT:とうきよう}}{{Reflist}}本文", "本文"),
        ("{{Infobox 都市\n| 名前 = [[甲]]{{flag|Japan}}\n| 図 = {{{x|}}}\n}}\n本文", "本文"),
        ("{{lang|en|1=en|2=x=y}}", "x=y"),
        ("{{テンプレート:Lang|en|word}}", "word"),
    ],
)
def test_frequent_templates(wikitext: str, expected: str) -> None:
    assert to_text(wikitext, title="東京").text == expected


def test_what_a_template_shows_does_not_part_the_arguments_around_it() -> None:
    assert to_text("{{lang|en|a{{!}}b}}").text == "a|b"


def test_unknown_templates_are_counted_by_name_with_the_characters_lost() -> None:
    converted = to_text("甲{{謎の|abc}}乙{{謎の}}{{another_one|{{謎の}}}}")
    assert converted.text == "甲乙"
    assert converted.unknown_templates == {
        "謎の": len("{{謎の|abc}}") + len("{{謎の}}"),
        "Another one": len("{{another_one|{{謎の}}}}"),
    }


def test_known_templates_are_not_counted() -> None:
    assert not to_text("{{Reflist}}{{Infobox x|a}}{{lang|en|b}}{{日本-stub}}").unknown_templates


def test_users_rows_come_first() -> None:
    options = WikitextOptions(templates={"謎の": "{1}<（{2}）>", "lang": ""})
    page = "{{謎の|甲|乙}}と{{謎の|甲}}{{lang|en|x}}"
    converted = to_text(page, options=options)
    assert converted.text == "甲（乙）と甲"
    assert not converted.unknown_templates


@pytest.mark.parametrize("form", ["{1", "1}", "<{1}", "{1}>", "<{1}<（{2}>"])
def test_a_format_with_an_open_bracket_is_refused(form: str) -> None:
    with pytest.raises(ValueError, match="no partner"):
        WikitextConverter(WikitextOptions(templates={"甲": form}))


@pytest.mark.parametrize(
    ("form", "arguments", "expected"),
    [
        ("{label|2|1}", {"1": "a", "2": "", "label": ""}, "a"),
        ("{*、}", {"1": "a", "2": "", "3": "c", "x": "y"}, "a、c"),
        ("{1}<（{2*、}）>", {"1": "a", "2": "b", "3": "c"}, "a（b、c）"),
        ("<{1}<-{2}>>", {"2": "b"}, ""),
        ("<{1}<-{2}>>", {"1": "a"}, "a"),
        ("[{1}]", {"1": "a"}, "[a]"),
    ],
)
def test_formats(form: str, arguments: dict[str, str], expected: str) -> None:
    assert compile_format(form)(arguments) == expected


def test_names_compare_as_in_mediawiki() -> None:
    assert normal_name("  lang_x   y ") == normal_name("Lang x y")
    assert normal_name("IPA") != normal_name("ipa")


def test_every_row_of_the_table_compiles() -> None:
    assert TemplateTable({}).find("lang") is not None
    for row in table()["rendered"]:
        assert row.get("names") or row.get("prefixes")
        assert len({"format", "text", "function"} & set(row)) == 1


def test_functions_leave_no_trace_in_the_memory_of_names() -> None:
    templates = TemplateTable({})
    for i in range(100):
        templates.find(f"DEFAULTSORT:{i}")
        templates.find(f"unheard of {i}")
    assert len(templates._seen) == 0
