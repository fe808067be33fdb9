"""How many steps a run takes, which of them are validated and kept, and whether it may go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from jagpt.recipe import Model, Train
from jagpt.training.schedules import decay_end, learning_rate

LENGTH_KEYS = frozenset({"max_steps", "max_epochs"})
"""Keys of `[train]` that say how long to train, and not how."""


@dataclass(frozen=True)
class Plan:
    """A run's steps: 1 … `total_steps`, of `tokens_per_step` tokens each."""

    train: Train
    block_size: int
    total_steps: int

    @property
    def sequences_per_step(self) -> int:
        """Sequences an optimizer step, over all micro-batches."""
        return self.train.batch_size * self.train.grad_accum_steps

    @property
    def tokens_per_step(self) -> int:
        """Tokens an optimizer step."""
        return self.sequences_per_step * self.block_size

    def learning_rate(self, step: int) -> float:
        """The rate of step `step`, counted from 1."""
        return learning_rate(self.train, step, self.total_steps)

    @property
    def average_start(self) -> int | None:
        """The first step whose weights enter the average; None where nothing is averaged."""
        if self.train.average == "none":
            return None
        return self.total_steps - math.ceil(self.train.average_share * self.total_steps) + 1

    def validates(self, step: int) -> bool:
        """Whether the valid split is measured after `step`."""
        return step == self.total_steps or (step > 0 and step % self.train.validate_every == 0)

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is due after `step`, whatever its loss."""
        return step == self.total_steps or (step > 0 and step % self.train.checkpoint_every == 0)

    def kept(self, step: int) -> set[int]:
        """The last `keep_checkpoints` steps up to `step` after which a checkpoint was due."""
        every, count = self.train.checkpoint_every, self.train.keep_checkpoints
        due = list(range(step - step % every, 0, -every)[:count])
        if step == self.total_steps and step not in due:
            due.insert(0, step)
        return set(due[:count])


def make_plan(model: Model, train: Train, train_tokens: int) -> Plan:
    """The plan of a run over a train split of `train_tokens` tokens.

    `max_steps` or `max_epochs`, whichever ends first; of epochs, whole steps and at least one.
    """
    block_size = train.block_size or model.n_positions
    limits = [train.max_steps] if train.max_steps is not None else []
    if train.max_epochs is not None:
        tokens_per_step = train.batch_size * train.grad_accum_steps * block_size
        limits.append(max(1, int(train.max_epochs * train_tokens / tokens_per_step)))
    return Plan(train, block_size, min(limits))


def continues(
    old_section: Mapping[str, Any],
    new_section: Mapping[str, Any],
    steps_done: int,
    train_tokens: int,
) -> bool:
    """Whether a run under `new_section` may go on from step `steps_done` of one under the old.

    So it may if the steps already done would have been the same: all of `{"model": …, "train": …}`
    (as `Section.semantic` gives them) is equal but `max_steps` and `max_epochs`, the new length
    includes the steps done, each of these had the same learning rate, and none entered an average
    that now begins elsewhere. `train_tokens` is the size of the train split, which `max_epochs`
    refers to.
    """
    if _without_length(old_section) != _without_length(new_section):
        return False
    try:
        old, new = (_plan_of(section, train_tokens) for section in (old_section, new_section))
    except (ValidationError, KeyError):
        return False
    if steps_done > new.total_steps or not _same_average(old, new, steps_done):
        return False
    if decay_end(old.train, old.total_steps) == decay_end(new.train, new.total_steps):
        return True
    steps = range(1, steps_done + 1)
    return all(old.learning_rate(step) == new.learning_rate(step) for step in steps)


def _same_average(old: Plan, new: Plan, steps_done: int) -> bool:
    starts = (old.average_start, new.average_start)
    return starts[0] == starts[1] or all(start is None or start > steps_done for start in starts)


def _without_length(section: Mapping[str, Any]) -> dict[str, Any]:
    train = section.get("train", {})
    rest = {key: value for key, value in train.items() if key not in LENGTH_KEYS}
    return {**section, "train": rest}


def _plan_of(section: Mapping[str, Any], train_tokens: int) -> Plan:
    model = Model.model_validate(section["model"])
    return make_plan(model, Train.model_validate(section["train"]), train_tokens)
