"""Where a run stands (no torch)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from jagpt.training.plan import Plan


@dataclass(frozen=True)
class Validation:
    """The valid split's loss (nats a token) after `step`, when `tokens` had been trained on."""

    step: int
    tokens: int
    loss: float


@dataclass(frozen=True)
class BadStep:
    """A step whose loss or gradient was bad, and what became of it.

    `sequence` is the first of its `sequences`; `resumed` the step of the checkpoint that the run
    went back to, None where the step's update was left out. A figure that is no number is None.
    """

    step: int
    sequence: int
    sequences: int
    reason: str
    loss: float | None
    gradient_norm: float | None
    resumed: int | None = None


@dataclass(frozen=True)
class State:
    """Where a run stands after `step` optimizer steps.

    `sequences` is the number of the next step's first sequence. `losses` are those of the last good
    steps, where spikes are looked for. `scaler` is fp16's gradient scaler, `machine` what the
    arithmetic of the saving process depended on.
    """

    step: int = 0
    sequences: int = 0
    tokens: int = 0
    validation: tuple[Validation, ...] = ()
    best: Validation | None = None
    bad_steps: tuple[BadStep, ...] = ()
    losses: tuple[float, ...] = ()
    scaler: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)

    def stepped(self, plan: Plan) -> State:
        """The state after one more step of the plan."""
        return replace(
            self,
            step=self.step + 1,
            sequences=self.sequences + plan.sequences_per_step,
            tokens=(self.step + 1) * plan.tokens_per_step,
        )

    def validated(self) -> bool:
        """Whether the valid split was measured after this very step."""
        return bool(self.validation) and self.validation[-1].step == self.step

    def best_so_far(self) -> bool:
        """Whether no validation was better than the one after this very step."""
        return self.best is not None and self.best.step == self.step

    def with_validation(self, loss: float) -> State:
        """The state after the valid split was measured; of equal losses, the first is the best."""
        new = Validation(self.step, self.tokens, loss)
        better = self.best is None or loss < self.best.loss
        best = new if better else self.best
        return replace(self, validation=(*self.validation, new), best=best)

    def exhausted(self, patience: int | None) -> bool:
        """Whether the last `patience` validations brought nothing better."""
        if patience is None or not self.validation:
            return False
        losses = [entry.loss for entry in self.validation]
        return len(losses) - 1 - losses.index(min(losses)) >= patience


def as_json(state: State) -> dict[str, Any]:
    """A state as plain JSON values; `from_json` reads it."""
    value = asdict(state)
    for name in ("bad_steps", "losses", "scaler", "machine"):
        if not value[name]:
            del value[name]
    return value


def from_json(value: Mapping[str, Any]) -> State:
    """The state that `as_json` wrote; KeyError, TypeError or ValueError where it is none."""
    return State(
        step=int(value["step"]),
        sequences=int(value["sequences"]),
        tokens=int(value["tokens"]),
        validation=tuple(_validation(entry) for entry in value["validation"]),
        best=None if value["best"] is None else _validation(value["best"]),
        bad_steps=tuple(BadStep(**entry) for entry in value.get("bad_steps", ())),
        losses=tuple(float(loss) for loss in value.get("losses", ())),
        scaler=dict(value.get("scaler", {})),
        machine=dict(value.get("machine", {})),
    )


def _validation(value: dict[str, Any]) -> Validation:
    return Validation(int(value["step"]), int(value["tokens"]), float(value["loss"]))
