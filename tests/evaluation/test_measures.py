from __future__ import annotations

import math

import numpy as np
import pytest

from jagpt.evaluation.measures import DocumentNats, perplexity, wilson


def documents(count: int = 40) -> DocumentNats:
    random = np.random.default_rng(1)
    tokens = random.integers(5, 500, count)
    nats = tokens * random.normal(3.0, 0.2, count)
    return DocumentNats(nats, tokens, tokens * 2, tokens * 6, blind=math.log(100))


def test_nats_are_summed_first_and_the_mean_is_taken_last() -> None:
    found = DocumentNats(
        np.array([10.0, 200.0]), np.array([10, 100]), np.array([5, 50]), np.array([15, 150]), 4.0
    ).figures()
    assert found.loss == 210 / 110
    assert found.perplexity == math.exp(210 / 110)
    assert found.bits_per_character == 214 / math.log(2) / 55
    assert found.bits_per_byte == 214 / math.log(2) / 165


def test_the_interval_holds_the_figure_and_repeats() -> None:
    found = documents().figures()
    assert found.interval == documents().figures().interval
    for key in ("loss", "perplexity", "bits_per_character", "bits_per_byte"):
        low, high = getattr(found.interval, key)
        assert low < getattr(found, key) < high


def test_the_interval_is_that_of_the_mean_of_documents() -> None:
    """Against the standard error of a ratio of means, for many documents of one length."""
    random = np.random.default_rng(2)
    nats = random.normal(300.0, 30.0, 400)
    ones = np.full(400, 100)
    interval = DocumentNats(nats, ones, ones, ones, blind=0.0).figures().interval
    assert interval is not None
    error = 1.96 * nats.std() / math.sqrt(400) / 100
    assert interval.loss == pytest.approx(
        [nats.mean() / 100 - error, nats.mean() / 100 + error], rel=2e-3
    )


def test_one_document_has_no_interval() -> None:
    assert documents(1).figures().interval is None


def test_a_perplexity_beyond_a_float_is_infinite() -> None:
    assert perplexity(1000.0) == math.inf


@pytest.mark.parametrize(
    ("right", "count", "bounds"),
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (5, 10, (0.2366, 0.7634))],
)
def test_wilson_intervals(right: int, count: int, bounds: tuple[float, float]) -> None:
    assert wilson(right, count) == pytest.approx(bounds, abs=1e-4)
