"""The learning rate of a step."""

from __future__ import annotations

import math

from jagpt.recipe import Train


def learning_rate(train: Train, step: int, total_steps: int) -> float:
    """The rate of optimizer step `step` (1 … total_steps).

    Warm-up, linear and cosine are transformers' `get_*_schedule_with_warmup`, whose count starts
    at 0: with a warm-up, the first step has rate 0. `wsd` (warm-up, stable, decay: Hu et al. 2024,
    MiniCPM, arXiv:2404.06395) is flat until the last `decay_share` of the steps, then linear. From
    `decay_end` on, the minimum share stays.
    """
    done = step - 1
    if done < train.warmup_steps:
        return train.learning_rate * done / train.warmup_steps
    return train.learning_rate * _share(train, done, decay_end(train, total_steps))


def decay_end(train: Train, total_steps: int) -> int | None:
    """The step at which the schedule reaches its minimum rate; None if it never does."""
    return None if train.schedule == "constant" else train.decay_steps or total_steps


def decay_start(train: Train, end: int) -> int:
    """Steps done when the rate begins to fall towards its minimum at step `end`."""
    if train.schedule != "wsd":
        return train.warmup_steps
    return max(train.warmup_steps, end - math.ceil(train.decay_share * end))


def _share(train: Train, done: int, end: int | None) -> float:
    """Share of the peak rate after warm-up, once `done` steps are done."""
    if end is None:
        return 1.0
    start = decay_start(train, end)
    progress = (done - start) / max(1, end - start)
    progress = min(1.0, max(0.0, progress))
    left = (1 + math.cos(math.pi * progress)) / 2 if train.schedule == "cosine" else 1 - progress
    least = train.min_learning_rate_share
    return least + (1 - least) * left
