"""What is counted of unknown templates has an end, and the largest stay."""

from __future__ import annotations

import pytest

from jagpt.corpus import parts
from jagpt.corpus.parts import Counts, largest_losses


def test_of_too_many_names_those_to_which_most_was_lost_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(parts, "MOST_TEMPLATES", 100)
    total = Counts()
    for part in range(20):
        counts = Counts()
        for number in range(1_000):
            counts.lose(f"{part}-{number}", 1 + number % 7)
            counts.lose("often", 9)
        assert len(counts.unknown_templates) <= 201
        total.add(counts)
    assert len(total.unknown_templates) <= 201
    first, *_ = largest_losses(total, 10)
    assert (first.name, first.characters, first.articles) == ("often", 9 * 20_000, 20_000)
