"""Citations: items of a list are text, references are not."""

import pytest

from jagpt.wikitext import WikitextOptions, to_text

BOOK = "{{Cite book|和書|author=山田|title=山の本|publisher=乙社|year=2001|isbn=4-06-121057-2}}"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("book|和書|author=山田|title=本|publisher=社|year=2001", "山田『本』社、2001年。"),
        ("book|和書|last=楠田|first=枝里子|year=1984b|title=本", "楠田, 枝里子『本』1984b。"),
        ("book|和書|author=甲|author2=乙|title=本|series=叢書|publisher=社|date=2001-02-03|pages=10-20",
         "甲、乙『本』社〈叢書〉、2001年2月3日、10-20頁。"),
        ("book|和書|author=甲|title=本|volume=下|edition=3|translator=丙|publisher=社|year=2001|month=5",
         "甲『本』 下、丙訳、第3版、社、2001年5月。"),
        ("book|和書|editor=村上|title=本|publisher=社|location=京都", "村上編『本』社、京都。"),
        ("book|和書|author=甲|chapter=章|title=本", "甲「章」『本』。"),
        ("journal|和書|author=甲|title=論文|journal=雑誌|volume=3|issue=2|year=2001|pages=1-10",
         "甲「論文」『雑誌』第3巻第2号、2001年、1-10頁。"),
        ("book|last=Smith|first=John|title=Book|publisher=Pub|location=London|year=2001|page=3",
         "Smith, John (2001). Book. London: Pub. pp. 3."),
        ("web|url=http://x|title=題|website=站|publisher=社|date=2001-2-3|accessdate=2010-1-1",
         "“題”. 站. 社 (2001年2月3日)."),
        ("journal|last1=A|last2=B|title=T|journal=J|volume=5|issue=2", "A; B. “T”. J 5 (2)."),
        ("book|和書|publisher=社", ""),
    ],
)  # fmt: skip
def test_forms(arguments: str, expected: str) -> None:
    assert to_text(f"* {{{{Cite {arguments}}}}}").text == expected


@pytest.mark.parametrize("start", ["* ", "# ", "*# ", ": ", "; ", "", "* 共著：", "* 写真集: "])
def test_a_citation_that_begins_a_line_is_text(start: str) -> None:
    shown = f"前。\n{start.lstrip('*#:; ')}山田『山の本』乙社、2001年。"
    assert to_text(f"前。\n{start}{BOOK}").text == shown


@pytest.mark.parametrize(
    "page",
    [
        f"文である。{BOOK}",
        f"文である。<ref>{BOOK}</ref>",
        f"* 文である。{BOOK}",
        f"文である。{{{{efn|{BOOK}}}}}",
    ],
)
def test_a_citation_behind_a_sentence_is_a_reference(page: str) -> None:
    assert to_text(page).text == "文である。"


def test_works_are_left_out_by_option_and_with_a_closing_section() -> None:
    page = f"本文。\n== 著書 ==\n* {BOOK}\n== 参考文献 ==\n* {BOOK}"
    assert to_text(page).text == "本文。\n\n著書\n山田『山の本』乙社、2001年。"
    assert to_text(page, options=WikitextOptions(citations=False)).text == "本文。"
    everything = WikitextOptions(closing_sections=True)
    assert to_text(page, options=everything).text.endswith("参考文献\n山田『山の本』乙社、2001年。")


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("{{Harvnb|山田|2001}}によれば正しい。", "山田 2001によれば正しい。"),
        ("詳細は{{harvnb|甲|乙|1999|p=3}}を参照。", "詳細は甲 & 乙 1999を参照。"),
        ("正しい{{Harvnb|山田|2001}}。（{{Harvnb|山田|2001}}）", "正しい。"),
        ("{{Harv|山田|2001}}の説。正しい {{Harv|山田|2001}}。", "山田 (2001)の説。正しい。"),
    ],
)
def test_a_short_citation_shows_as_a_word_of_the_sentence(page: str, expected: str) -> None:
    assert to_text(page).text == expected
