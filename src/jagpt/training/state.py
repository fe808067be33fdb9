"""The state of a run (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any

from pydantic import Field

from jagpt.models.checkpoint_folder import STATE
from jagpt.records import Count, FileName, Sha256, Versioned, optional
from jagpt.training.plan import Plan


@dataclass(frozen=True)
class Validation:
    """The valid split's loss (nats per token) after `step`, when `tokens` had been trained on."""

    step: Count
    tokens: Count
    loss: float


@dataclass(frozen=True)
class BadStep:
    """A step whose loss or gradient was bad, and what was done about it.

    `sequence` is the first of its `sequences`; `resumed` the step of the checkpoint that the run
    returned to, None if the step's update was skipped. A figure that is not finite is None.
    """

    step: Count
    sequence: Count
    sequences: Count
    reason: str
    loss: float | None
    gradient_norm: float | None
    resumed: Count | None = None


@dataclass(frozen=True)
class BatchSize:
    """Sequences per micro-batch, from `step` on."""

    step: Count
    size: Annotated[Count, Field(ge=1)]


@dataclass(frozen=True)
class State:
    """The state of a run after `step` optimizer steps.

    `sequences` is the number of the next step's first sequence. `losses` are those of the last good
    steps, which spikes are compared with. `batch_sizes` are the micro-batches that the machine
    chose, empty if the recipe sets them. `scaler` is fp16's gradient scaler, `machine` what the
    arithmetic of the saving process depended on.
    """

    step: Count = 0
    sequences: Count = 0
    tokens: Count = 0
    validation: tuple[Validation, ...] = ()
    best: Validation | None = None
    bad_steps: tuple[BadStep, ...] = optional(tuple)
    losses: tuple[float, ...] = optional(tuple)
    batch_sizes: tuple[BatchSize, ...] = optional(tuple)
    scaler: dict[str, Any] = optional(dict)
    machine: dict[str, Any] = optional(dict)

    def stepped(self, plan: Plan) -> State:
        """The state after one more step of the plan."""
        return replace(
            self,
            step=self.step + 1,
            sequences=self.sequences + plan.sequences_per_step,
            tokens=(self.step + 1) * plan.tokens_per_step,
        )

    def in_batches_of(self, size: int) -> State:
        """The state whose next step has micro-batches of `size` sequences."""
        if self.batch_sizes and self.batch_sizes[-1].size == size:
            return self
        return replace(self, batch_sizes=(*self.batch_sizes, BatchSize(self.step + 1, size)))

    def validated(self) -> bool:
        """Whether the valid split was measured after this very step."""
        return bool(self.validation) and self.validation[-1].step == self.step

    def best_so_far(self) -> bool:
        """Whether no validation was better than the one after this very step."""
        return self.best is not None and self.best.step == self.step

    def due(self, plan: Plan) -> bool:
        """Whether a checkpoint is due here, which an interruption alone does not make it."""
        return plan.saves(self.step) or (plan.validates(self.step) and self.best_so_far())

    def with_validation(self, loss: float) -> State:
        """The state after the valid split was measured; of equal losses, the first is the best."""
        new = Validation(self.step, self.tokens, loss)
        better = self.best is None or loss < self.best.loss
        best = new if better else self.best
        return replace(self, validation=(*self.validation, new), best=best)

    def exhausted(self, patience: int | None) -> bool:
        """Whether the last `patience` validations brought no improvement."""
        if patience is None or not self.validation:
            return False
        losses = [entry.loss for entry in self.validation]
        return len(losses) - 1 - losses.index(min(losses)) >= patience


@dataclass(frozen=True, kw_only=True)
class SavedState(State, Versioned):
    """A state as stored in `state.json`, with the SHA-256 of the files next to it."""

    FILE = STATE
    KIND = "state of a checkpoint"
    REMEDY = "training continues from the checkpoint before it"
    VERSION = 1

    files: Mapping[FileName, Sha256]

    def state(self) -> State:
        """Only the state."""
        return State(**{one.name: getattr(self, one.name) for one in fields(State)})
