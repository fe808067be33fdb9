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
