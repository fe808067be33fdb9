"""Punctuation around what was left out, and nowhere else."""

import pytest

from jagpt.wikitext import to_text


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("甲（{{謎}}、乙）は", "甲（乙）は"),
        ("甲（乙、{{謎}}）は", "甲（乙）は"),
        ("甲（{{謎}}）は", "甲は"),
        ("甲（ {{謎}}、&nbsp;{{謎}} ）は", "甲は"),
        ("甲（「{{謎}}」）は", "甲は"),
        ("甲 ({{謎}}; 1900) は", "甲 (1900) は"),
        ("甲、{{謎}}、乙", "甲、乙"),
        ("甲、{{謎}}。", "甲。"),
        ("甲。{{謎}}。", "甲。"),
        ("{{謎}}、甲", "甲"),
        ("* {{謎}}：甲", "甲"),
        ("a {{謎}} b", "a b"),
        ("甲（英: {{謎}}、乙）", "甲（英、乙）"),
        ("甲<ref>注</ref>、乙（<ref>注</ref>）", "甲、乙"),
        ("甲（[[ファイル:a.ogg]]、乙）", "甲（乙）"),
        ("『{{謎}}』『』", "『』"),
    ],
)
def test_wounds_are_mended(wikitext: str, expected: str) -> None:
    assert to_text(wikitext).text == expected


@pytest.mark.parametrize(
    "page", ["「『』」", "（）", "（、）", "甲、、乙", "甲。。", "( ) と (,)", "（、甲）{}", "、甲"]
)
def test_what_an_author_wrote_stays(page: str) -> None:
    assert to_text(page).text == page
    assert to_text(f"{page}\n乙{{{{謎}}}}丙").text == f"{page}\n乙丙"
