"""The policy table and the rules that it holds."""

import pytest

from jagpt.wikitext import WikitextConverter, WikitextOptions, to_text
from jagpt.wikitext.templates import TemplateTable, compile_format, countries, normal_name, table


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
        ("{{生年月日と年齢|1950|4|3}}", "1950年4月3日"),
        ("{{死亡年月日と没年齢|1901|5|3|1980|4|5}}", "1980年4月5日（78歳没）"),
        ("{{dts|2021|Feb}}", "2021年2月"),
        ("{{和暦|2019}}と{{和暦|1964}}", "令和元年と昭和39年"),
        ("{{flag|Japan}}、{{USA}}、{{flagicon|JPN}} 甲", "日本、アメリカ合衆国、甲"),
        ("{{Harvtxt|Cox|Li|2014}}", "Cox & Li (2014)"),
        ("{{frac|1|2|3}}と{{frac|2|3}}", "1 2/3と2/3"),
        ("数{{abs|x}}と{{Mabs|y}}", "数|x|と|y|"),
        ("{{hlist|甲|乙}}", "甲・乙"),
        ("{{ubl|甲|乙}}", "甲\n乙"),
        ("{{Quotation|引用文|作者}}", "引用文\n作者"),
        ("{{Quote|山は高い。|山田|山の本}}", "山は高い。\n山田、山の本"),
        ("{{Quote|text=甲|source=本}}", "甲\n本"),
        ("{{Verse translation|lang1=en|\nRoses\n|\n薔薇\n|attr1=詩}}", "Roses\n薔薇\n詩"),
        ("{{傍点|強調}}と{{傍点|文章=絶対に}}と{{圏点|丸}}", "強調と絶対にと丸"),
        ("{{resize|150%|大}}{{size|80%|小}}{{Colors|red|blue|赤}}{{color|red|赤}}", "大小赤赤"),
        ("{{linktext|漢|字}}と{{Hover title|説明|文字}}", "漢字と文字"),
        ("Hawai{{okina}}iとO{{'}}NeilとB{{music|flat}}", "HawaiʻiとO'NeilとB♭"),
        ("{{IAST|kṛṣṇa}}、{{polytonic|ἀρχή}}、{{unicode|ā}}", "kṛṣṇa、ἀρχή、ā"),
        ("誤字{{sic}}と{{ママ}}", "誤字[sic]と〔ママ〕"),
        ("{{sortname|太郎|山田}}と{{Sortname|John|Smith}}", "山田太郎とJohn Smith"),
        ("4枚使いの{{牌画|七萬s}}と{{牌画|東|南}}待ち", "4枚使いの七萬と東南待ち"),
        ("{{audio|a.ogg|Norge|help=no}}と[a]{{Audio|b.ogg|発音}}", "Norgeと[a]"),
        (
            "「{{PDFlink|[https://x.y/a.pdf 生活圏]}}」と{{PDFlink|http://x/a|資料}}",
            "「生活圏」と資料",
        ),
        ("{{PDFlink|[http://x/a.pdf 資料]|1MB}}", "資料"),
        ("「し{{高線|るし}}」と{{下げ核|○}}○", "「しるし」と○○"),
        (
            "{{link-en|小屋|Hut}}と{{日本語版にない記事リンク|峠|en|P}}と{{link-de|甲|A|乙}}",
            "小屋と峠と乙",
        ),
        ("{{w|山田}}首相は{{w|大阪市|大阪}}で", "山田首相は大阪で"),
        (
            "{{おくりがな2|青|あお|い|あおい}}と{{おくりがな3|食|た|べ|物|もの||たべもの}}",
            "青いと食べ物",
        ),
        (
            "*[[{{af}}]]: [[skool]]\n* {{en}}: word\n甲{{en}}。",
            "アフリカーンス語: skool\n英語: word\n甲。",
        ),
        ("{{year-definition|600}}", "600年（600 ねん）は、西暦（ユリウス暦）による、閏年。"),
        (
            "{{year-definition|1999}}",
            "1999年（1999 ねん）は、西暦（グレゴリオ暦）による、金曜日から始まる平年。",
        ),
        ("{{年数|1990|1|2|2000|1|1}}年と{{満年齢|1950|1|1|2000|1|1}}歳", "9年と50歳"),
        ("{{没年齢|1901|2|3|1980|4|5}}", "79歳没"),
        ("{{Death date and age|1980|4|5|1901|2|3}}", "1901年2月3日"),
        ("{{tl|lang}}と{{tag|ref}}と{{!}}と{{(}}", "{{lang}}と<ref>と|と["),
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


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("{{Col|\n* 甲\n* 乙\n|\n* 丙\n|\n* 丁\n}}", "甲 乙 丙 丁"),
        ("{{columns-list|2|\n* 甲\n* 乙\n}}", "甲 乙"),
        ("{{Columns-list|3;30em|* 甲|* 乙}}", "甲 乙"),
        ("{{columns-list|colwidth=20em|\n* 甲\n* 乙\n}}", "甲 乙"),
        ("{{Columns|width=200px|col1=\n* 甲|col2=\n* 乙}}", "甲 乙"),
        ("{{表2列|甲|乙}}{{表3列|丙|丁|戊}}", "甲 乙 丙 丁 戊"),
        ("{{段組|2|\n* 甲\n* 乙\n}}", "甲 乙"),
        ("{{div col|2}}\n* 甲\n* 乙\n{{div col end}}", "甲 乙"),
        ("{{Multicol}}\n* 甲\n{{no col break|\n; 工芸\n* 筆\n}}\n{{Multicol-end}}", "甲 工芸 筆"),
        ("{{ul\n| 甲{{col-list|20em|\n* 乙\n}}\n| 丙{{ul |丁|戊}}\n}}", "甲 乙 丙 丁 戊"),
        ("{{ol|甲|乙}}{{Unordered list|丙}}{{flatlist|\n* 丁\n* 戊}}", "甲 乙 丙 丁 戊"),
        ("{{Dl2|語|説明|別の説明}}{{dl|term1=甲|defn1=乙}}", "語 説明 別の説明 甲 乙"),
        ("{{Plainlist|* 甲\n* 乙}}", "甲 乙"),
        ("{{知らない|\n* 甲\n* 乙\n}}{{謎|2|* 丙}}", "甲 乙 丙"),
        (
            "{{Col|" + "|".join(str(n) for n in range(12000)) + "}}",
            " ".join(map(str, range(1, 12000))),
        ),
    ],
)
def test_lists_within_templates_stay(wikitext: str, expected: str) -> None:
    converted = to_text(wikitext)
    assert converted.text.split("\n") == expected.split(" ")
    assert not converted.unknown_templates


@pytest.mark.parametrize(
    "name",
    [
        "要出典範囲",
        "誰範囲2",
        "誰2範囲",
        "いつ範囲",
        "疑問点範囲",
        "言葉を濁さない範囲",
        "検証範囲",
        "Citation needed span",
    ],
)
def test_marked_passages_stay(name: str) -> None:
    assert to_text(f"迎え{{{{{name}|date=2013年|、古典で}}}}ある。").text == "迎え、古典である。"
    assert to_text(f"迎え{{{{{name}|1=、a=b|date=x}}}}。").text == "迎え、a=b。"


@pytest.mark.parametrize(
    ("code", "name"),
    [
        *(
            ("JPN", "日本"),
            ("JPN1947", "日本"),
            ("USA1912", "アメリカ合衆国"),
            ("DEU1935", "ドイツ"),
        ),
        *(
            ("NLD1581", "オランダ"),
            ("ROC", "中華民国"),
            ("ROC-TW", "中華民国"),
            ("TWN", "中華民国"),
        ),
        *(
            ("PRC", "中華人民共和国"),
            ("GRE", "ギリシャ"),
            ("GRC", "ギリシャ"),
            ("ROM", "ルーマニア"),
        ),
        *(
            ("SADR", "サハラ・アラブ民主共和国"),
            ("URS1923", "ソビエト連邦"),
            ("DUB", "ドバイ首長国"),
        ),
        *(
            ("USA-CA", "カリフォルニア州"),
            ("JP-13", "東京都"),
            ("BRAw", "ブラジル"),
            ("UK", "イギリス"),
        ),
        *(
            ("NIU", "ニウエ"),
            ("MON", "モナコ"),
            ("ANT", "アンティグア・バーブーダ"),
            ("KOS", "コソボ"),
        ),
    ],
)
def test_codes_of_countries(code: str, name: str) -> None:
    assert to_text(f"{{{{{code}}}}}の人").text == f"{name}の人"
    if not code.endswith("w"):
        assert to_text(f"{{{{flag|{code}}}}}の人").text == f"{name}の人"


def test_every_country_of_iso_3166_and_every_code_has_one_name() -> None:
    names = countries()
    assert len([code for code in names if len(code) == 2 and code.isupper()]) > 240
    assert {"AFG", "ZWE", "ESP", "SUI", "KSA", "RSA"} <= names.keys()


@pytest.mark.parametrize(
    "page",
    [
        "前。\n{{謎の一覧}}\n後。",
        "前。\n{{謎の箱\n| 名 = [[甲]]\n| 図 = a.png\n| 年 = 1999\n}}\n後。",
        "前。\n{{A一覧}}{{B一覧}}\n後。",
    ],
)
def test_boxes_and_navigation_are_no_loss(page: str) -> None:
    converted = to_text(page)
    assert converted.text == "前。\n後。"
    assert not converted.unknown_templates


def test_what_a_template_shows_does_not_part_the_arguments_around_it() -> None:
    assert to_text("{{lang|en|a{{!}}b}}").text == "a|b"
    table = "{{#if:x|\n{|\n|甲||a=b\n|}\n}}\n乙"
    assert to_text(table, options=WikitextOptions(tables=True)).text == "甲\ta=b\n乙"
    options = WikitextOptions(tables=True, markup="markdown")
    assert to_text(table, options=options).text == "| 甲 | a=b |\n| --- | --- |\n\n乙"


def test_unknown_templates_are_counted_by_name_with_the_characters_lost() -> None:
    converted = to_text("甲{{謎の|abc}}乙{{謎の}}{{another_one|{{謎の}}}}")
    assert converted.text == "甲乙"
    assert converted.unknown_templates == {
        "謎の": len("{{謎の|abc}}") + len("{{謎の}}"),
        "Another one": len("{{another_one|{{謎の}}}}"),
    }


def test_a_page_shown_within_a_page_is_no_colon() -> None:
    converted = to_text("甲{{:東京|a}}と{{:}}と{{Colon}}")
    assert converted.text == "甲と:と:"
    assert converted.unknown_templates == {":東京": len("{{:東京|a}}")}


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
