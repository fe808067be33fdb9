"""How many steps a run takes, which of them are validated and kept, and whether it may continue."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from jagpt.recipe import Model, Train
from jagpt.training.schedules import decay_end, learning_rate

LENGTH = frozenset({"max_steps", "max_epochs"})
SCHEDULE = frozenset(
    {"schedule", "warmup_steps", "decay_steps", "decay_share", "min_learning_rate_share"}
)
AVERAGE = frozenset({"average", "average_share", "average_decay"})
UPKEEP = frozenset(
    {"validate_every", "validate_tokens", "checkpoint_every", "keep_checkpoints", "patience"}
)
RETURN = frozenset({"validate_every", "validate_tokens", "checkpoint_every"})
"""Of these, the keys that decide where a bad step returns to."""
BAD_STEPS = frozenset({"on_bad_step", "max_bad_steps"})
"""Keys of `[train]` that may leave the steps already done unchanged."""
MOST_TOKENS = 65_536
"""Most tokens in a micro-batch that the machine chooses: more would make no GPU faster."""
PLAIN_TOKENS = 8192
"""Tokens if nothing is measured: on a CPU, and with sharded weights."""


@dataclass(frozen=True)
class Plan:
    """A run's steps: 1 … `total_steps`, of `tokens_per_step` tokens each.

    `sizes` are the possible micro-batch sizes, the largest first, if the recipe leaves that to the
    machine.
    """

    train: Train
    block_size: int
    total_steps: int
    sizes: tuple[int, ...] = ()

    @property
    def sequences_per_step(self) -> int:
        """Sequences per optimizer step, over all micro-batches."""
        return self.train.sequences

    def in_batches_of(self, most: int) -> Plan | None:
        """The plan with the largest of `sizes` up to `most`; None if there is none."""
        fitting = [size for size in self.sizes if size <= most]
        return replace(self, train=self.train.in_batches_of(fitting[0])) if fitting else None

    @property
    def tokens_per_step(self) -> int:
        """Tokens per optimizer step."""
        return self.sequences_per_step * self.block_size

    def learning_rate(self, step: int) -> float:
        """The rate of step `step`, counted from 1."""
        return learning_rate(self.train, step, self.total_steps)

    @property
    def average_start(self) -> int | None:
        """The first step whose weights enter the average; None if nothing is averaged."""
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
        tokens_per_step = train.sequences * block_size
        limits.append(max(1, int(train.max_epochs * train_tokens / tokens_per_step)))
    return Plan(train, block_size, min(limits))


def micro_batches(plan: Plan, ranks: int) -> tuple[int, ...]:
    """The sizes that divide each rank's share of a step, the largest first, the last of them 1."""
    share, most = plan.sequences_per_step // ranks, max(1, MOST_TOKENS // plan.block_size)
    return tuple(size for size in range(min(share, most), 0, -1) if share % size == 0)


def continues(
    old_section: Mapping[str, Any],
    new_section: Mapping[str, Any],
    steps_done: int,
    train_tokens: int,
    *,
    bad_steps: bool = False,
) -> bool:
    """Whether a run under `new_section` may continue from step `steps_done` of one under the old.

    It may if the steps already done would have been the same: the new length includes them, each
    had the same learning rate, none entered an average that is different now, none of them was
    bad (`bad_steps`) if that is judged differently now or returns elsewhere, and any other
    difference in `{"model": …, "train": …}` (as given by `Section.semantic`) only says when to
    validate, save and end. `train_tokens` is the size of the train split, which `max_epochs` refers
    to.
    """
    taught = bool(new_section.get("train", {}).get("own_teachers"))
    upkeep = _upkeep(new_section, returned=bad_steps or taught)
    free = LENGTH | SCHEDULE | AVERAGE | upkeep | (frozenset() if bad_steps else BAD_STEPS)
    if taught:  # they would be different
        free = upkeep
    if _without(old_section, free) != _without(new_section, free):
        return False
    try:
        old, new = (_plan_of(section, train_tokens) for section in (old_section, new_section))
    except (ValidationError, KeyError):
        return False
    if steps_done > new.total_steps or not _same_average(old, new, steps_done):
        return False
    steps = range(1, steps_done + 1)
    return _schedule(old) == _schedule(new) or all(
        old.learning_rate(step) == new.learning_rate(step) for step in steps
    )


def same_steps(old_section: Mapping[str, Any], new_section: Mapping[str, Any]) -> bool:
    """Whether two sections differ at most in when to validate, save and end, which does not change
    the steps even if some were bad.
    """
    free = _upkeep(new_section, returned=True)
    return _without(old_section, free) == _without(new_section, free)


def _upkeep(section: Mapping[str, Any], *, returned: bool) -> frozenset[str]:
    """The keys that leave the steps as they are, if bad steps may have `returned` the run."""
    rewinds = section.get("train", {}).get("on_bad_step") == "rewind"
    return UPKEEP - RETURN if rewinds and returned else UPKEEP


def _schedule(plan: Plan) -> list[Any]:
    """Everything that the learning rates depend on."""
    values = [getattr(plan.train, key) for key in sorted(SCHEDULE)]
    return [*values, decay_end(plan.train, plan.total_steps)]


def _same_average(old: Plan, new: Plan, steps_done: int) -> bool:
    kinds = [(p.train.average, p.train.average_decay, p.average_start) for p in (old, new)]
    return kinds[0] == kinds[1] or all(start is None or start > steps_done for *_, start in kinds)


def _without(section: Mapping[str, Any], keys: Set[str]) -> dict[str, Any]:
    train = section.get("train", {})
    if not isinstance(train, Mapping):
        return dict(section)
    rest = {key: value for key, value in train.items() if key not in keys}
    return {**section, "train": rest}


def _plan_of(section: Mapping[str, Any], train_tokens: int) -> Plan:
    model = Model.model_validate(section["model"])
    return make_plan(model, Train.model_validate(section["train"]), train_tokens)
