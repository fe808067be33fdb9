from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from tiny_training import train_section
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_schedule_with_warmup,
    get_linear_schedule_with_warmup,
)

from jagpt.training.schedules import decay_end, learning_rate

STEPS = 40


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 7])
def test_rates_are_those_of_transformers(schedule: str, warmup: int) -> None:
    train = train_section(schedule=schedule, warmup_steps=warmup, learning_rate=0.5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    theirs = {
        "constant": lambda: get_constant_schedule_with_warmup(optimizer, warmup),
        "linear": lambda: get_linear_schedule_with_warmup(optimizer, warmup, STEPS),
        "cosine": lambda: get_cosine_schedule_with_warmup(optimizer, warmup, STEPS),
    }[schedule]()
    for step in range(1, STEPS + 1):
        assert learning_rate(train, step, STEPS) == pytest.approx(
            theirs.get_last_lr()[0], abs=1e-12
        )
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_least_share_is_left_from_decay_steps_on(schedule: str) -> None:
    train = train_section(
        schedule=schedule, learning_rate=2.0, decay_steps=10, min_learning_rate_share=0.25
    )
    rates = [learning_rate(train, step, 30) for step in range(1, 31)]
    assert rates[0] == 2.0
    assert all(a > b for a, b in pairwise(rates[:11]))
    assert rates[5] == pytest.approx(2.0 * (0.25 + 0.75 * 0.5))
    assert rates[10:] == [0.5] * 20


def test_warm_up_rises_evenly_from_zero() -> None:
    train = train_section(schedule="constant", warmup_steps=4, learning_rate=1.0)
    assert [learning_rate(train, step, 9) for step in range(1, 7)] == [0, 0.25, 0.5, 0.75, 1, 1]


def test_a_warm_up_as_long_as_the_run_is_possible() -> None:
    train = train_section(schedule="linear", warmup_steps=5, learning_rate=1.0)
    assert [learning_rate(train, step, 5) for step in range(1, 6)] == [0, 0.2, 0.4, 0.6, 0.8]


def test_a_schedule_ends_with_the_run_unless_told_otherwise() -> None:
    assert decay_end(train_section(schedule="constant"), 50) is None
    assert decay_end(train_section(schedule="linear"), 50) == 50
    assert decay_end(train_section(schedule="linear", decay_steps=20), 50) == 20


def test_wsd_rises_stays_and_falls() -> None:
    train = train_section(schedule="wsd", warmup_steps=2, decay_share=0.4, learning_rate=1.0)
    rates = [learning_rate(train, step, 10) for step in range(1, 11)]
    assert rates == pytest.approx([0, 0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_wsd_falls_to_its_least_share_at_decay_steps() -> None:
    train = train_section(
        schedule="wsd", decay_share=0.5, decay_steps=4, min_learning_rate_share=0.2
    )
    rates = [learning_rate(train, step, 8) / train.learning_rate for step in range(1, 9)]
    assert rates == pytest.approx([1, 1, 1, 0.6, 0.2, 0.2, 0.2, 0.2])


def test_a_wsd_decay_never_begins_before_the_warm_up_is_over() -> None:
    train = train_section(schedule="wsd", warmup_steps=5, decay_share=1.0, learning_rate=1.0)
    rates = [learning_rate(train, step, 10) for step in range(1, 11)]
    assert rates == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1, 0.8, 0.6, 0.4, 0.2])
