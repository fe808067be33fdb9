"""Parser functions and their arithmetic."""

import pytest

from jagpt.wikitext import to_text
from jagpt.wikitext.expressions import evaluate, shown


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("合計{{#expr:3+4}}個、{{formatnum:{{#expr:1000*2}}}}人", "合計7個、2,000人"),
        ("{{#ifeq:甲|甲|同じ|違う}}と{{#ifeq: 01 | 1 |同じ|違う}}", "同じと同じ"),
        ("{{#ifeq:a|A|同じ|違う}}と{{#ifeq:||空}}", "違うと空"),
        ("{{#if: |有|無}}、{{#if:{{lang|en|x}}|有|無}}、{{#if:x|a=b}}", "無、有、a=b"),
        ("{{#switch:乙|甲=一|乙=二|三}}", "二"),
        ("{{#switch: 春 | 春 | 夏 = 暖 | 秋 | 冬 = 寒 }}", "暖"),
        ("{{#switch:丁|甲=一|#default=他|乙=二}}と{{#switch:丁|甲=一|他}}", "他と他"),
        ("{{#switch:2|02=二|三}}と{{#switch:a|a=x=y}}", "二とx=y"),
        ("{{#ifexpr: 3 > 2 | 大 | 小}}と{{#ifexpr: | 大 | 小}}", "大と小"),
        ("{{#iferror:{{#expr:1}}|誤|正}}と{{#ifexist:頁|同|同}}", "正と同"),
        ("{{#iferror:{{#expr:1/0}}|誤|正}}と{{#iferror:{{#expr:謎}}|誤}}", "誤と誤"),
        ("{{#iferror:{{formatnum:{{#expr:2*{{#expr:1/0}}}}}}|誤|正}}", "誤"),
        ("{{#iferror:{{#ifexpr:1/0|甲|乙}}|誤|正}}と{{#iferror:{{#expr:2}}|誤}}", "誤と2"),
        ("{{#if:{{NAMESPACE}}|他|記事}}の{{#ifeq:{{NAMESPACENUMBER}}|0|記事|他}}", "記事の記事"),
        ("甲{{#if:{{謎}}|有|無}}乙{{#if:{{謎}}|同|同}}{{#if:丙{{謎}}|丁}}", "甲乙同丁"),
        ("{{lcfirst:ABC}}{{ucfirst:abc}}{{lc:ABC}}{{uc:abc}}", "aBCAbcabcABC"),
        ("{{padleft:7|3|0}}と{{padright:7|3|xy}}と{{padleft:7}}", "007と7xyと7"),
        ("{{#tag:ref|注}}文{{#tag:nowiki|甲}}{{#tag:math|x^2}}{{#tag:gallery|a}}", "文甲$x^2$"),
        ("{{#titleparts:甲/乙/丙|1|2}}と{{#len:四文字だ}}と{{#sub:東京都|0|2}}", "乙と4と東京"),
        ("{{formatnum:-10}}、{{formatnum:1234.5}}、{{formatnum:1,234|R}}", "-10、1,234.5、1234"),
        ("{{safesubst:lc:ABC}}{{subst:uc:abc}}{{PAGENAME:甲}}", "abcABC甲"),
        ("{{#replace:甲乙甲|甲|丙}}と{{#language:ja}}", "丙乙丙とja"),
    ],
)
def test_constant_functions_are_computed(wikitext: str, expected: str) -> None:
    assert to_text(wikitext).text == expected


@pytest.mark.parametrize(
    ("wikitext", "title", "expected"),
    [
        ("{{#ifeq:{{PAGENAME}}|東京都|首都|地方}}である。", "東京都", "首都である。"),
        ("{{#switch:{{PAGENAME}}|東京都=首都|地方}}である。", "東京都", "首都である。"),
        ("{{#ifeq:{{PAGENAME}}|A=B|同|異}}", "A=B", "同"),
        (
            "{{#sub:{{PAGENAME}}|0|2}}は都市。式<math>E=mc^2</math>、<nowiki>[[x]]</nowiki>。",
            "東京都",
            "東京は都市。式$E=mc^2$、[[x]]。",
        ),
        ("{{padleft:|1|{{PAGENAME}}}}は頭文字。<math>a</math>", "東京都", "東は頭文字。$a$"),
        ("{{padleft:|2|{{PAGENAME}}}}は頭文字。", "[[甲]]", "[[は頭文字。"),
        ("{{#len:{{PAGENAME}}}}字", "東京都の歴史", "6字"),
        ("{{#titleparts:{{PAGENAME}}|1}}と{{urlencode:{{PAGENAME}}}}", "A&B/c", "A&BとA%26B/c"),
        ("{{#expr:{{PAGENAME}}+1}}年の前の年。", "2001", "2002年の前の年。"),
        ("{{和暦|{{PAGENAME}}}}", "1964年", "昭和39年"),
        ("[http://x.y/{{PAGENAMEE}} 資料]", "東京 (本)", "資料"),
        ("\n{{PAGENAME}}は'''歌'''。", "*'' {{甲}}|=[[乙]]", "*'' {{甲}}|=[[乙]]は歌。"),
        ("[[Category:{{PAGENAME}}の像]]文。", "A=B", "文。"),
        ("{{PAGENAME}}は一行。", "甲\n乙", "甲 乙は一行。"),
    ],
)
def test_the_pages_name_is_text_to_functions_and_never_markup(
    wikitext: str, title: str, expected: str
) -> None:
    assert to_text(wikitext, title=title).text == expected


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("{{#len:<nowiki>[甲]</nowiki>}}字。式<math>a</math>", "3字。式$a$"),
        ("{{#sub:<nowiki>[[甲]]</nowiki>|0|3}}", "[[甲"),
        ("{{#replace:甲1乙<nowiki>*</nowiki>|1|、}}", "甲、乙*"),
        ("{{#tag:nowiki|式<math>a</math>}}", "式$a$"),
        ("{{urlencode:a&amp;b<nowiki>=</nowiki>}}と{{lc:A<math>X</math>}}", "a%26b%3Dとa$X$"),
        ("甲{{padleft:{{自治体人口/甲|乙}}|3}}人である。乙。", "乙。"),
    ],
)
def test_functions_of_characters_see_what_a_reader_sees(wikitext: str, expected: str) -> None:
    assert to_text(wikitext).text == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("2 + 3 * (4 - 1)", "11"),
        ("-2^2", "4"),  # unary binds more than ^ there
        ("10/4 round 1", "2.5"),
        ("2.5 round 0", "3"),
        ("-2.5 round 0", "-3"),
        ("1234 round -2", "1200"),
        ("1.005 round 2", "1.01"),
        ("7 mod 3", "1"),
        ("1e3 + 2e-1", "1000.2"),
        ("1/3", "0.33333333333333"),
        ("not 0 and 3 >= 3", "1"),
        ("1 = 2 or 2 <> 3", "1"),
        ("floor 2.7 + ceil 2.1 + trunc (-2.7) + abs -1", "4"),
        ("2 * pi round 3", "6.283"),
        ("sqrt 16 × 2 ÷ 4 − 1", "1"),
        ("10^20", "1.0E+20"),
        ("10^10^10", "1.0E+100"),
        ("1.5 * 10^30", "1.5E+30"),
    ],
)
def test_expressions(expression: str, expected: str) -> None:
    value = evaluate(expression)
    assert value is not None
    assert shown(value) == expected


@pytest.mark.parametrize(
    "expression",
    [
        *("1/0", "10**10**10", "sqrt (-1)", "ln 0", "(1", "1)", "1 2", "+", "謎", "1 +"),
        *("9" * 3000, "0^(-1)", "exp 10000", "5 mod 0", "1 round 1e300 round"),
    ],
)
def test_what_has_no_value_is_none(expression: str) -> None:
    assert evaluate(expression) is None
    assert to_text(f"値は{{{{#expr:{expression}}}}}である。後。").text == "後。"
