from __future__ import annotations

import pytest

from jagpt import units


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"), (967, "967 B"), (1000, "1 kB"), (8_857_016, "8.86 MB"),
        (999_499_999, "999 MB"), (999_500_000, "1 GB"), (3_423_423_112, "3.42 GB"),
        (2e15, "2 PB"), (1.5e19, "15,000 PB"),
    ],
)  # fmt: skip
def test_sizes(count: float, text: str) -> None:
    assert units.size(count) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 tries"), (1, "1 try"), (2, "2 tries"), (1001, "1,001 tries")]
)
def test_what_is_counted_agrees_with_its_number(count: int, text: str) -> None:
    assert units.counted(count, "try", "tries") == text
    assert units.counted(count, "step").endswith(" step") is (count == 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 files, 11 files", "1 file, 11 files"),
        ("0.1 tokens, 2,1 tokens", "0.1 tokens, 2,1 tokens"),
        ("step 1 this", "step 1 this"),
    ],
)
def test_a_filled_in_text_agrees_with_its_numbers(text: str, said: str) -> None:
    assert units.agreeing(text) == said


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.6, "1 k"), (2_211_072, "2.21 M"), (15.6e9, "15.6 B")],
)
def test_amounts(value: float, text: str) -> None:
    assert units.amount(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"), (3.14, "3.1 s"), (59.96, "1 min 0 s"), (63, "1 min 3 s"),
        (3599.7, "1 h 0 min"), (7384, "2 h 3 min"), (3_600_000, "1,000 h 0 min"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.1, "2 seconds"), (31, "31 seconds"), (500, "8 minutes"), (94_680, "26.3 hours")],
)
def test_rough_durations(seconds: float, text: str) -> None:
    assert units.rough_duration(seconds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0%"), (1e-9, "0%"), (0.000124, "0.0124%"), (0.0305, "3.05%"), (0.5, "50%"), (1, "100%")],
)
def test_shares(share: float, text: str) -> None:
    assert units.percent(share) == text
