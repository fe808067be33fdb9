"""What shows of a page, and what does not."""

import pytest

from jagpt.wikitext import Namespaces, WikitextOptions, to_text


def text(wikitext: str, **options: object) -> str:
    return to_text(wikitext, options=WikitextOptions(**options)).text  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("'''太字'''と''斜体''と'''''両方'''''", "太字と斜体と両方"),
        ("L''''amour'''", "L'amour"),
        ("'''''''七'''''''", "''七''"),
        ("l'''a'' b", "l'a b"),
        ("'''太字だけ", "太字だけ"),
        ("it's '''b''' and ''i''", "it's b and i"),
        ("全角　空白", "全角　空白"),
        ("100&nbsp;km &amp; &lt;b&gt; &#12354;", "100 km & <b> あ"),
        ("〜と～は別の字", "〜と～は別の字"),
        ("言<!-- 注 -->葉", "言葉"),
        ("前<!-- 閉じない", "前"),
        ("<nowiki>[[角括弧]]と{{波括弧}}</nowiki>は'''文字'''", "[[角括弧]]と{{波括弧}}は文字"),
        ("<nowiki>* 点</nowiki>", "* 点"),
        ("-{甲}-と-{zh-hans:简;zh-hant:繁}-", "甲と简"),
        ("（-{甲}-）と-{A|乙}-、A-{zh-cn: 丙 ;zh-tw:丁}-B", "（甲）と乙、A丙B"),
        *[
            (name, name)
            for name in (
                "N-{4-[(2-アミノ-4-オキソ)メチルアミノ]ベンゾイル}-L-グルタミン酸",
                "2-{4-[(2R)-x]フェニル}-1-オール",
                "ビス-{3,4-ジメチルフェニル}-メタン",
            )
        ],
        ("<ruby>漢字<rp>（</rp><rt>かんじ</rt><rp>）</rp></ruby>", "漢字（かんじ）"),
        ("<ruby>拿<rt>だ</rt></ruby>捕", "拿（だ）捕"),
        ("<ruby><rb>東京</rb><rt>とうきょう</ruby>", "東京（とうきょう）"),
        ("<ruby>東京<rt><small>とうきょう</small></rt></ruby>", "東京（とうきょう）"),
        ("<ruby>京<rp><b>(</b></rp><rt lang=ja>''きょう''</rt><rp>)</rp></ruby>", "京（きょう）"),
        ("H<sub>2</sub>O、10<sup>3</sup>", "H₂O、10³"),
        ('<span style="color:red">赤</span>い<small>字</small>', "赤い字"),
        ("一行目<br />二行目<BR>三行目", "一行目\n二行目\n三行目"),
        ("'''ABC'''<br />は、社名である。", "ABCは、社名である。"),
        ("社名（略称<br />）である。", "社名（略称）である。"),
        ("<div>甲</div><div>乙</div>", "甲\n乙"),
        ("<poem>\n山路を登りながら、\nこう考えた。\n</poem>", "山路を登りながら、\nこう考えた。"),
        ("である、\nまた続く\n。", "である、また続く。"),
        ("a < b、c > d", "a < b、c > d"),
        ("__NOTOC__本文__目次__ __notoc__", "本文"),
        ("__FILE__と__LINE__と__NAME__", "__FILE__と__LINE__と__NAME__"),
        ("<code>__index__</code>は特殊メソッド。__INDEX__", "__index__は特殊メソッド。"),
        ("A&notes、X&REGZA、&ampersand", "A&notes、X&REGZA、&ampersand"),
        ("&copy;&nosuch;&#x3042;&#12354;&amp;lt;", "©&nosuch;ああ&lt;"),
        ("本文 ~~~~", "本文"),
        ("上\n----\n下", "上\n下"),
        ("第一段落。\n\n第二段落。\n", "第一段落。\n第二段落。"),
    ],
)
def test_inline_markup(wikitext: str, expected: str) -> None:
    assert text(wikitext) == expected


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("[[日本]]と[[東京都|東京]]", "日本と東京"),
        ("[[bus]]es", "buses"),
        ("[[日本|'''日本''']]", "日本"),
        ("[[Re:ゼロから始める異世界生活|リゼロ]]と[[Re:ゼロ]]", "リゼロとRe:ゼロ"),
        ("[[:en:Foo|フー]]と[[:Category:日本]]", "フーとCategory:日本"),
        ("本文[[en:Text]]。", "本文。"),
        ("[[wikt:語|語]]", "語"),
        ("[[甲|{{lang|en|A|B}}の乙]]", "Aの乙"),
        ("[[ファイル:a.jpg|thumb|[[京都]]の{{lang|en|view}}]]本文", "本文"),
        ("[[Image:a.jpg]]本文[[画像:b.png|20px]]", "本文"),
        ("[https://example.org/ 公式サイト]を見る", "公式サイトを見る"),
        ("出典は[https://example.org/]。", "出典は。"),
        ("公式は https://example.org/a?b=c にある", "公式は にある"),
        ("[[閉じない", "閉じない"),
        ("閉じすぎ]]た}}", "閉じすぎた"),
        ("[[甲\n乙]]", "甲\n乙"),
        ("[[東京 (小説)|]]を参照", "東京 (小説)を参照"),
        ("[[Media:a.ogg|音声]]と[[メディア:a.ogg|音]]", "音声と音"),
        ("[[=LOVE]]と[[E=mc2|E=mc²]]", "=LOVEとE=mc²"),
        ("[http://x.y/ [PDF] 文書]", "[PDF 文書]"),
        ("[http://x.y 「甲」[1]]と[ftps://x 乙]", "「甲」[1]と乙"),
        ("[mailto:a@b.c メール]", "メール"),
        ("[ftp://x 「甲」[1]]と乙", "「甲」[1]と乙"),
    ],
)
def test_links(wikitext: str, expected: str) -> None:
    assert text(wikitext) == expected


def test_captions_are_kept_on_request() -> None:
    page = (
        "[[ファイル:a.jpg|thumb|200px|alt=絵|[[京都]]の{{lang|en|view}}]]本文[[File:b.jpg|右|20px]]"
    )
    assert text(page, captions=True) == "京都のview\n本文"
    assert text("[[ファイル:a.jpg|thumb|*印は首都]]", captions=True) == "*印は首都"


@pytest.mark.parametrize(
    ("parameters", "caption"),
    [
        ("thumb|甲|200px", "甲"),
        ("甲|alt=x", "甲"),
        ("甲|none|upright|下端", "甲"),
        ("left|甲|200px|link=", "甲"),
        ("甲|thumb|乙|右上 1.2|upright=0.8", "乙"),
        ("thumb|右上から時計回りに甲、乙", "右上から時計回りに甲、乙"),
        ("thumb|uprightの甲", "uprightの甲"),
        ("20px|link=", ""),
        ("thumb|", ""),
    ],
)
def test_a_caption_is_the_last_that_is_not_an_option(parameters: str, caption: str) -> None:
    shown = text(f"文中の[[ファイル:a.svg|{parameters}]]記号。", captions=True)
    assert shown == (f"文中の\n{caption}\n記号。" if caption else "文中の記号。")


def test_categories_are_told_apart_from_the_text() -> None:
    page = (
        "本文\n[[Category:日本の都市|とうきよう]]\n[[カテゴリ: 首都 ]][[category:{{PAGENAME}}|*]]"
    )
    converted = to_text(page, title="東京")
    assert converted.text == "本文"
    assert converted.categories == ("日本の都市", "首都", "東京")
    assert to_text(page, title="A=B").categories[-1] == "A=B"


def test_lists_become_lines() -> None:
    page = "* 一\n** 二\n# 三\n#: 四\n; 用語: 説明\n:: 字下げ"
    assert text(page) == "一\n二\n三\n四\n用語\n説明\n字下げ"


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("について、\n:|''z''| < 1\nが成り立つ。", "について、\n|z| < 1\nが成り立つ。"),
        ("*|a|は絶対値\n* 乙", "|a|は絶対値\n乙"),
        ("甲。\n{{Mabs|x}}は正である。\n乙。", "甲。\n|x|は正である。\n乙。"),
        ("甲<br />|乙|は正。丙。", "甲\n|乙|は正。丙。"),
        ("<code>*p</code>は間接参照", "*pは間接参照"),
        ("<code>#define</code>は定義", "#defineは定義"),
        ("<code>|</code>と<code>;</code>", "|と;"),
        ("<code>;</code>: 終わり", ";: 終わり"),
        ("*<code>#ifdef</code>", "#ifdef"),
        ("<code>----</code>は線", "----は線"),
        ("'''*'''と''#''", "*と#"),
        ("[[*-環|*環]]は環", "*環は環"),
        ("[[#歴史]]を参照", "#歴史を参照"),
        ("[[甲||乙|]]は", "|乙|は"),
        ("[https://x #1]は", "#1は"),
        ("{{lang|en|*}}は記号", "*は記号"),
        ("{{nowrap|{{lang|en|#}}1}}は", "#1は"),
        ("<ruby>星<rt>\n* ほし</rt></ruby>", "星（ほし）"),
    ],
)
def test_only_what_begins_a_line_of_the_page_is_markup_of_lines(
    wikitext: str, expected: str
) -> None:
    assert text(wikitext) == expected
    assert text(wikitext, tables=True) == expected


@pytest.mark.parametrize(
    "page",
    [
        "* 甲\n*: 乙",
        "{{nowrap|\n* 甲\n* 乙\n}}",
        "{{#if:x|* 甲}}\n# 乙",
        "__NOTOC__* 甲\n;; 乙",
        "<noinclude>* 甲\n</noinclude>* 乙",
        "<div>\n* 甲\n----\n</div>\n: 乙",
    ],
)
def test_lists_in_what_leaves_no_trace_are_lists(page: str) -> None:
    assert text(page) == "甲\n乙"


def test_footnotes_and_galleries_are_left_out() -> None:
    page = (
        '文<ref name="a">{{Cite web|url=x}} [[甲]]</ref>。次<ref name="a" />。\n'
        "<gallery>\nファイル:a.jpg|説明\n</gallery>\n<REF>大文字</REF>終"
    )
    assert text(page) == "文。次。\n終"


def test_the_first_angle_bracket_ends_a_tag_as_in_mediawiki() -> None:
    assert (
        text('人口は<ref name="<東京>">出典</ref>百万<ref name="a>b">注</ref>。') == "人口は百万。"
    )


@pytest.mark.parametrize("form", ['enclose="none"', "enclose=none", "inline", 'inline="1"'])
def test_code_within_a_sentence_stays(form: str) -> None:
    page = f'<source lang="c" {form}>f(x)</source>と<syntaxhighlight {form}>g</syntaxhighlight>'
    assert text(page) == "f(x)とg"
    assert text('<source lang="c">\nf(x)\n</source>終') == "終"


def test_an_unclosed_footnote_loses_its_tag_only() -> None:
    assert text("甲<ref>乙") == "甲乙"


def test_formulas_become_latex() -> None:
    page = "式<math>\\frac{{a}}{b}</math>と<math> f''(x) </math>と<ce>H2O</ce>"
    assert text(page) == "式$\\frac{ {a} }{b}$と$f^{\\prime\\prime}(x)$と$\\ce{H2O}$"
    assert text("式（<math>x</math>、y）", math=False) == "式（y）"


def test_headings_and_empty_sections() -> None:
    page = "序。\n== 歴史 ==\n=== 古代 ===\n話。\n== 空 ==\n{|\n| 表\n|}\n== 後 ==\n末。"
    assert text(page) == "序。\n\n歴史\n\n古代\n話。\n\n後\n末。"
    assert text(page, headings=False) == "序。\n\n話。\n\n末。"


@pytest.mark.parametrize(
    "title",
    [
        "脚注",
        "出典",
        "脚注・出典",
        "参考文献・外部リンク",
        "[[関連項目]]",
        "注釈と出典",
        "'''脚 注'''",
        "{{Anchors|ref|notes}}出典{{要出典|date=2020年1月}}",
        "参考文献{{謎|date=2020年1月}}と{{R|甲}}脚注",
    ],
)
def test_closing_sections_are_left_out_with_their_subsections(title: str) -> None:
    page = f"本文。\n== {title} ==\n甲\n=== 小見出し ===\n乙\n== 余談 ==\n続き。"
    assert text(page) == "本文。\n\n余談\n続き。"
    assert "乙" in text(page, closing_sections=True)


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("出典の歴史", "出典の歴史"),
        ("文献学", "文献学"),
        ("リンクス", "リンクス"),
        ("{{仮リンク|甲|en|x}}と注釈", "甲と注釈"),
        ("{{ruby|史料|しりょう}}と参考文献", "史料（しりょう）と参考文献"),
        ("{{謎|甲}}と出典", "と出典"),
    ],
)
def test_like_named_sections_stay(title: str, expected: str) -> None:
    assert text(f"== {title} ==\n甲") == f"{expected}\n甲"


TABLE = (
    '本文\n{| class="wikitable"\n|+ 題\n! 名 !! 年\n|-\n| [[甲|乙]] || style="x" | 1900\n'
    "{|\n| 内\n|}\n|}\n後"
)


def test_tables_are_left_out() -> None:
    assert text(TABLE) == "本文\n後"
    assert text("前<table><tr><td>甲</td></tr></table>後") == "前\n後"


def test_tables_as_lines_on_request() -> None:
    lines = text(TABLE, tables=True).split("\n")
    assert lines[:3] == ["本文", "題", "名\t年"]
    assert lines[3].startswith("乙\t1900")
    assert lines[-1] == "後"


@pytest.mark.parametrize(
    "page",
    [
        '前。\n{{成績表開始}}\n|-\n!colspan="2"|通算\n|10||20\n|}\n後。',
        "前。\n{{表開始}}\n! 名 !! 年\n|-\n| 甲 || 1\n|}\n後。",
        "前。\n{{成績表}}\n|-\n|甲||乙\n{{成績表終}}\n後。",
        "前。\n{| class=x\n|-\n|甲\n{{end}}\n後。",
        "前。\n{| class=x\n! 甲\n| 乙\n\n後。",
        "前。\n{|\n|甲\n|}\n|}\n後。",
        "前。\n|}\n後。",
        "前。\n<table><tr><td>甲</td></tr>\n\n後。",
    ],
)
def test_tables_that_a_template_opens_or_closes_are_left_out(page: str) -> None:
    assert text(page) == "前。\n後。"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("{|\n|甲\n||乙\n||丙\n|}", "甲\t乙\t丙"),
        ("{|\n| nowrap | 甲 || style=x | 乙\n|}", "甲\t乙"),
        ("{|\n!scope=row|甲!!乙\n|-\n|甲<br/>乙\n* 丙\n* 丁\n|戊\n|}", "甲\t乙\n甲 乙 丙 丁\t戊"),
        ("{|\n|[[File:a.png|thumb|図]]甲||乙\n|}", "図 甲\t乙"),
        ("{|\n|+ style=x | 題\n|甲\n|}", "題\n甲"),
        ("{|\n|甲{{!!}}乙\n{{!}}丙\n|}", "甲\t乙\t丙"),
        ("{|\n!#!!名\n|-\n|*1||:乙\n|-\n|\n* 甲\n* 乙\n|}", "#\t名\n*1\t:乙\n甲 乙"),
        ("{|\n| {{lang|en|a{{!}}b}}\n|}", "a|b"),
        ("{{表開始}}\n|-\n|甲||乙\n|}", "甲\t乙"),
        ("<table><caption>題</caption><tr><th>甲<td>乙</td></tr></table>", "題\n甲\t乙"),
    ],
)
def test_cells_as_mediawiki_reads_them(table: str, expected: str) -> None:
    assert text(table, tables=True, captions=True) == expected


def test_an_unclosed_table_does_not_swallow_the_page() -> None:
    assert text("前\n{| class=x\n| 甲\n\n== 節 ==\n本文。") == "前\n\n節\n本文。"


def test_a_redirect_has_no_text() -> None:
    assert text("#転送 [[東京]]") == ""
    assert text("#REDIRECT [[東京]]") == ""


@pytest.mark.parametrize(
    "name", ["aimai", "Aimai", "曖昧さ回避", "人名の曖昧さ回避", " 地名の曖昧さ回避"]
)
def test_disambiguation_pages_are_recognised(name: str) -> None:
    converted = to_text(f"'''甲'''\n* 乙\n{{{{{name}}}}}")
    assert converted.disambiguation
    assert not converted.unknown_templates


def test_pages_that_are_lists_are_told() -> None:
    items = "".join(f"* 項目{i}\n" for i in range(30))
    assert to_text(f"甲の一覧である。\n== 一 ==\n{items}").list_only
    assert not to_text(f"甲の一覧である。\n== 一 ==\n{items}" + "文である。\n\n" * 9).list_only
    assert not to_text("* 一つ").list_only


def test_namespaces_follow_the_wiki() -> None:
    german = Namespaces(
        file=frozenset({"Datei"}),
        category=frozenset({"Kategorie"}),
        interlanguage=frozenset({"ja"}),
    )
    page = "Text[[Datei:a.jpg|mini]][[ja:本文]].[[Kategorie:Stadt]][[File:x|y]]"
    converted = to_text(page, namespaces=german)
    assert converted.text == "Text.y"
    assert converted.categories == ("Stadt",)


def test_headings_may_be_templates_as_on_wiktionary() -> None:
    page = "=={{ja}}==\n==={{noun}}===\n# 青い色。\n=={{L|en}}==\n語\n=={{jpn}}: 甲==\n乙"
    assert text(page) == "日本語\n\n名詞\n青い色。\n\n英語\n語\n\n日本語: 甲\n乙"
    page = "=={{L|en|sort=A}}==\n==={{noun|ja}}===\n甲\n==={{name|sort=B}}===\n乙"
    assert text(page) == "英語\n\n名詞\n甲\n\n固有名詞\n乙"


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("{{lang|en|Yesterday}}", "Yesterday"),
        ("{{Lang|fr|Le Monde}}の歴史", "Le Mondeの歴史"),
        ("{{lang|ja|甲}}と{{lang|en|B}}", "甲とB"),
        ("[[#x|{{lang|de|Das Kapital}}]]", "Das Kapital"),
        ("{{en|Foo}}", "Foo"),
        ("{{漢字|甲}}字", "甲字"),
        ("{{name|甲}}", ""),
    ],
)
def test_a_heading_shows_the_text_of_its_templates(title: str, expected: str) -> None:
    assert text(f"序。\n== {title} ==\n文。").split("\n\n")[1] == f"{expected}\n文。".strip()


def test_an_ordinary_page_is_no_disambiguation() -> None:
    assert not to_text("{{Otheruses|甲|乙 (曖昧さ回避)}}甲").disambiguation
