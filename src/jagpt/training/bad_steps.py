"""Steps that must not be taken: a NaN or infinite loss or gradient, or a spike (no torch)."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from jagpt.errors import JagptError
from jagpt.recipe import Train
from jagpt.training.plan import Plan
from jagpt.training.state import BadStep, State

NOT_FINITE = "its loss or gradient is not finite"

ONCE_LONGER = 10
"""How many times longer the plan may have been when a step was bad: runs are shortened too."""


class Unbearable(Exception):  # noqa: N818
    """Step `step` is bad, and the run cannot continue; the message is the reason."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step


def watched(train: Train) -> bool:
    """Whether each step is judged before it is taken; a GPU then waits once per step."""
    return train.on_bad_step != "stop" or train.spike_factor is not None


def reason_against(train: Train, state: State, loss: float, norm: float) -> str | None:
    """Why a step with this loss and gradient norm is bad; None for a good one.

    fp16's scaler skips infinite gradients by itself: there only the loss counts.
    """
    if not math.isfinite(loss):
        return "its loss is not finite"
    if not math.isfinite(norm) and train.precision != "fp16":
        return "its gradient is not finite"
    if train.spike_factor is None or len(state.losses) < train.spike_window:
        return None
    usual = fmean(state.losses)
    if loss > train.spike_factor * usual:
        return f"its loss {loss:.3f} is above {train.spike_factor:g} × {usual:.3f}"
    return None


def remembered(train: Train, state: State, loss: float) -> State:
    """The state with a good step's loss added to those that spikes are compared with."""
    if train.spike_factor is None:
        return state
    return replace(state, losses=(*state.losses, loss)[-train.spike_window :])


def judged(
    plan: Plan, state: State, due: State | None, loss: float, norm: float
) -> tuple[State, BadStep | None]:
    """The state with what was seen of the step that follows it, and that step if it was bad.

    `due` is the last state with a checkpoint that was due: that of an interruption does not count.
    `Unbearable` where the recipe says stop, there were too many, or there is nowhere to go back to.
    """
    train, step = plan.train, state.step + 1
    reason = reason_against(train, state, loss, norm)
    if reason is None:
        return remembered(train, state, loss), None
    if train.on_bad_step == "stop":
        raise Unbearable(step, reason)
    if len(state.bad_steps) >= train.max_bad_steps:
        count = len(state.bad_steps)
        raise Unbearable(
            step,
            f"{reason}, and {count} before it were bad too (train.max_bad_steps = "
            f"{train.max_bad_steps})",
        )
    back = train.on_bad_step == "rewind"
    if back and due is None:
        raise Unbearable(step, f"{reason}, and there is no checkpoint to return to yet")
    resumed = due.step if back and due else None
    data = (state.sequences, plan.sequences_per_step)
    bad = BadStep(step, *data, reason, finite(loss), finite(norm), resumed)
    return replace(state, bad_steps=(*state.bad_steps, bad)), bad


def rewound(due: State, state: State, bad: BadStep) -> State:
    """The state to continue from: that of the checkpoint, with the data after the bad step."""
    following = bad.sequence + bad.sequences
    return replace(due, sequences=following, bad_steps=state.bad_steps)


def follows(plan: Plan, state: State) -> bool:
    """Whether the state's place in the data is where its steps and bad steps lead."""
    train, size, furthest = plan.train, plan.sequences_per_step, ONCE_LONGER * plan.total_steps
    step = sequences = 0
    for bad in state.bad_steps:
        here = (bad.sequence, bad.sequences) == (sequences + (bad.step - 1 - step) * size, size)
        if not here or not step < bad.step <= furthest:
            return False
        step, sequences = bad.step, bad.sequence + size
        if bad.resumed is not None:
            if not 0 < bad.resumed < bad.step:
                return False
            step = bad.resumed
    here = state.sequences == sequences + (state.step - step) * size
    return here and step <= state.step and len(state.bad_steps) <= train.max_bad_steps


def sentence(bad: BadStep) -> str:
    """What happened, in words."""
    last = bad.sequence + bad.sequences - 1
    outcome = (
        "its update is skipped"
        if bad.resumed is None
        else f"returning to the checkpoint of step {bad.resumed:,}"
    )
    return f"step {bad.step:,}: {bad.reason} (sequences {bad.sequence:,} to {last:,}): {outcome}"


def failure(bad: Unbearable, saved: State | None, directory: Path) -> JagptError:
    """Why training ended, and what is left."""
    last = saved.step if saved else 0
    kept = f"the checkpoint of step {last} is intact" if last else "no checkpoint was made before"
    return JagptError(
        f"training failed at step {bad.step}: {bad}; {kept} ({directory}). Lower "
        "train.learning_rate, raise train.warmup_steps, or set train.clip_norm=1.0"
    )


def finite(value: float) -> float | None:
    """`value`, or None if JSON has no number for it."""
    return value if math.isfinite(value) else None
