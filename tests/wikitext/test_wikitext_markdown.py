"""Markdown: what GitHub reads as headings, lists, tables, formulas and code."""

import pytest

from jagpt.wikitext import WikitextOptions, to_text


def markdown(wikitext: str, **options: object) -> str:
    chosen = WikitextOptions(markup="markdown", **{"tables": True, **options})  # type: ignore[arg-type]
    return to_text(wikitext, options=chosen).text


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("序文。\n二行目。\n\n段落。<br>行。", "序文。\n二行目。\n\n段落。\n行。"),
        ("前。\n== 節 ==\n文。\n=== 小節 ===\n文。", "前。\n\n## 節\n\n文。\n\n### 小節\n\n文。"),
        ("* 甲\n** 乙\n*# 丙\n# 丁\n#* 戊", "- 甲\n  - 乙\n  1. 丙\n1. 丁\n   - 戊"),
        ("文。\n* 甲\n\n* 乙\n文。", "文。\n\n- 甲\n- 乙\n\n文。"),
        ("* 甲\n*: 続き\n: 字下げ\n:: もっと", "- 甲\n  続き\n\n字下げ\n\nもっと"),
        ("; 用語 : 説明\n; 語\n: 別の説明", "**用語**\n\n説明\n\n**語**\n\n別の説明"),
        ("* {{謎}}：甲\n*\n* 乙", "- 甲\n- 乙"),
        ("*<code>#if</code>\n'''*'''\n;<code>;</code>: 甲", "- `#if`\n\n*\n\n**`;`**\n\n甲"),
        ("<ruby>星<rt>\n* ほし</rt></ruby>", "星（ほし）"),
        ("{{Col|\n* 一\n|\n* 二\n}}", "- 一\n- 二"),
        (
            "文中の<math>x</math>は\n:<math>E=mc^2</math>\nである。",
            "文中の$x$は\n\n$$E=mc^2$$\n\nである。",
        ),
        ('甲<math display="block">x</math>乙', "甲\n\n$$x$$\n\n乙"),
        ("<code>f()</code>と<source inline>g()</source>", "`f()`と`g()`"),
        (
            '<syntaxhighlight lang="python">\ndef f(x):\n    x\n\nf(1)\n</syntaxhighlight>後。',
            "```python\ndef f(x):\n    x\n\nf(1)\n```\n\n後。",
        ),
        ("<pre>\na  b\n* c\n</pre>", "```\na  b\n* c\n```"),
        ("<pre>\n```\n</pre>", "~~~\n```\n~~~"),
        ("<poem>\n山路を\n登る\n</poem>", "山路を\n登る"),
        ("== 空 ==\n== 節 ==\n文。", "## 節\n\n文。"),
    ],
)
def test_blocks(wikitext: str, expected: str) -> None:
    assert markdown(wikitext) == expected


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("{|\n! 名 !! 年\n|-\n| 甲 || 1\n|}", "| 名 | 年 |\n| --- | --- |\n| 甲 | 1 |"),
        (
            '{|\n|+ 題\n! 名 !! colspan="2" | 年\n|-\n| rowspan=2 | 甲 || 1 || 2\n|-\n| 3 || 4\n|}',
            "題\n\n| 名 | 年 | 年 |\n| --- | --- | --- |\n| 甲 | 1 | 2 |\n| 甲 | 3 | 4 |",
        ),
        (
            "{|\n| 甲 || rowspan=3 | 乙\n|-\n| 丙\n|-\n| rowspan=1 colspan='1' | 丁\n|}",
            "| 甲 | 乙 |\n| --- | --- |\n| 丙 | 乙 |\n| 丁 | 乙 |",
        ),
        ("{|\n| 甲 ||\n|-\n| || 乙\n|}", "| 甲 |  |\n| --- | --- |\n|  | 乙 |"),
        ("{|\n| 甲<br>乙\n* 丙\n| {{lang|en|a{{!}}b}}\n|}", "| 甲 乙 丙 | a\\|b |\n| --- | --- |"),
        ("{|\n| {{自治体人口/甲|乙}}人 || 1\n|}", "|  | 1 |\n| --- | --- |"),
        ("{|\n|外\n{|\n|内\n|子\n|}\n|右\n|}", "| 外 内 子 | 右 |\n| --- | --- |"),
        (
            "<table><tr><th>A<th colspan=2>B</tr><tr><td>1<td>2<td>3|4</table>",
            "| A | B | B |\n| --- | --- | --- |\n| 1 | 2 | 3\\|4 |",
        ),
        ("{|\n|甲\n|}\n{|\n|乙\n|}", "| 甲 |\n| --- |\n\n| 乙 |\n| --- |"),
        ("* 甲\n{|\n|乙\n|}\n* 丙", "- 甲\n\n| 乙 |\n| --- |\n\n- 丙"),
        ("{{表開始}}\n! 名\n|-\n| 甲\n|}", "| 名 |\n| --- |\n| 甲 |"),
    ],
)
def test_tables(table: str, expected: str) -> None:
    assert markdown(table) == expected


def test_tables_and_lists_are_told_as_in_plain_text() -> None:
    items = "".join(f"* 項目{i}\n" for i in range(30))
    options = WikitextOptions(markup="markdown")
    assert to_text(f"甲の一覧である。\n== 一 ==\n{items}", options=options).list_only
    prose = "文である。\n\n" * 9
    assert not to_text(f"甲。\n== 一 ==\n{items}{prose}", options=options).list_only
    assert markdown("前。\n{|\n|甲\n|}", tables=False) == "前。"


def test_merged_cells_are_spelled_out_within_bounds() -> None:
    cell = "|-\n| rowspan=100 colspan=100 | " + "長" * 1_000 + "\n"
    shown = markdown("{|\n" + cell * 200 + "|}")
    assert shown.count("長") < 3 * 200 * 1_000 + 20_000
    ragged = markdown("{|\n" + "|-\n|a\n" * 3_000 + "|" + "||" * 3_000 + "b\n|}")
    assert len(ragged) < 60_000
