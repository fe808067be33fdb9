"""Values that are not in the dump, and what hangs on them."""

import pytest

from jagpt.wikitext import to_text

N = "{{自治体人口/北海道|甲市}}"


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        # brackets
        (f"中核市は甲市（{N}人）・乙市（{N}人）。", "中核市は甲市・乙市。"),
        (f"甲市（こうし、人口{N}人）は市。", "甲市（こうし）は市。"),
        (f"甲市（2010年10月1日現在、{N}人）は市。", "甲市は市。"),
        (f"甲市（乙（{N}人））は市。", "甲市（乙）は市。"),
        (f"甲市 ({N}) は市。", "甲市 は市。"),
        # sentences
        (f"前文。県の面積は{N}平方キロメートルである。県庁は甲市。", "前文。県庁は甲市。"),
        (f"三つの市が属し、推計人口は{N}人である。次の文。", "次の文。"),
        (f"人口密度は{{{{formatnum:{{{{#expr:{N}/747.66 round 2}}}}}}}}人となる。", ""),
        (f"人口は{N}人、面積は{N}km<sup>2</sup>。甲。", "甲。"),
        # clauses
        (f"{{{{CURRENTYEAR}}}}年現在、会員は{5}人である。", "会員は5人である。"),
        (f"甲市は、人口{N}人を擁する、北海道の市である。", "甲市は、北海道の市である。"),
        (f"面積は{N}km²で、人口は5人である。", "人口は5人である。"),
        # lists
        (f"* 甲市：{N}人\n* 乙市 - {N}人\n* 丙市　{N}人\n* 丁市 約{N}人", "甲市\n乙市\n丙市\n丁市"),
        (f"* 人口：{N}人\n* 面積 {N}km²\n* 甲", "甲"),
        (f"* 甲、{N}人、乙", "甲、乙"),
        # what is decided by a value that is not known
        (f"甲{{{{#ifexpr:{N}>5|大|小}}}}である。乙。", "乙。"),
        (f"甲{{{{#switch:{N}|1=大|小}}}}である。乙。", "乙。"),
        (f"{{{{#if:{N}|有|無}}}}である。", "有である。"),
        (f"甲{{{{#iferror:{{{{#expr:{N}/0}}}}|誤|正}}}}である。乙。", "乙。"),
        (f"甲{{{{#iferror:{{{{#expr:{N}/2}}}}|同|同}}}}である。", "甲同である。"),
        ("{{#if:{{謎}}|甲|丙}}である。乙。", "乙。"),
        (f"長さは{{{{convert|{N}|m|ft}}}}である。乙。", "乙。"),
        ("値は{{Wikidata|property|P1082}}人である。{{#property:P1}}は甲。乙。", "乙。"),
        ("山田（{{年齢|1990|1|1}}歳）は人。", "山田は人。"),
        ("創業から{{年数|2000|1|1}}年が経つ。乙。", "乙。"),
        ("満{{満年齢|1950|1|1}}歳の甲。乙。", "乙。"),
        ("山田（{{没年齢|1950|1|1}}）は人。", "山田は人。"),
        ("山田（1901年 - 1980年、{{没年齢|1901|||1980}}）は人。", "山田（1901年 - 1980年）は人。"),
    ],
)
def test_what_hangs_on_a_missing_value_goes(wikitext: str, expected: str) -> None:
    assert to_text(wikitext).text == expected


def test_what_went_is_counted() -> None:
    cut = to_text(f"甲市（{N}人）は市。人口は{N}人。乙。").cut
    assert (cut.places, cut.characters) == (2, len("（■人）") + len("人口は■人。"))
    assert to_text("甲（{{謎}}）。").cut.places == 0


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("{{謎}}は人である。甲。", "甲。"),
        ("「{{謎}}」は、謎である。甲。", "甲。"),
        ("面積は{{謎}}平方キロメートルである。甲。", "甲。"),
        ("甲、{{謎}}が見つかった。乙。", "乙。"),
        ("甲{{謎}}は人である。", "甲は人である。"),
        ("甲である{{謎}}。", "甲である。"),
        ("{{謎}}東京は都。", "東京は都。"),
    ],
)
def test_an_unknown_template_takes_along_a_sentence_that_needs_a_word_there(
    wikitext: str, expected: str
) -> None:
    assert to_text(wikitext).text == expected


def test_headings_and_cells_lose_the_value_alone() -> None:
    from jagpt.wikitext import WikitextOptions

    page = f"== 人口{N} ==\n{{|\n|甲||{N}人||乙\n|}}"
    assert to_text(page, options=WikitextOptions(tables=True)).text == "人口\n甲\t乙"
