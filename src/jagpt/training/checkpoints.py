"""Checkpoints: made whole, verified, rotated, indexed.

`models.checkpoint_folder` shows their layout. No byte depends on the clock, on interruptions or on
how the ranks share the work; `state.json` alone names what arithmetic may depend on (number of
ranks, kind of machine, threads, versions). This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError, NewerVersionError
from jagpt.models.checkpoint_folder import INDEX, MODEL, OPTIMIZER, STATE, standing, step_name
from jagpt.training.plan import Plan

FORMAT_VERSION = 1


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

    def validated(self) -> bool:
        """Whether the valid split was measured after this very step."""
        return bool(self.validation) and self.validation[-1].step == self.step

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


@dataclass(frozen=True)
class Found:
    """What a folder of checkpoints offers to a run that goes on.

    `state` is where it goes on, `saved` what the newest sound checkpoint says; they differ where
    the plan has changed, or a checkpoint was lost. `damaged` maps steps to what is wrong there,
    of checkpoints that are no longer to stand there.
    """

    state: State | None = None
    saved: State | None = None
    damaged: Mapping[int, str] = field(default_factory=dict)


# --- saving ---------------------------------------------------------------------------------------


def save(directory: Path, state: State, write_tensors: Callable[[Path], None]) -> None:
    """Make the checkpoint of `state` as a whole; `write_tensors` fills the folder it is given."""
    with files.staged_directory(directory / step_name(state.step)) as folder:
        write_tensors(folder)
        sums = {path.name: files.sha256(path) for path in sorted(folder.iterdir())}
        value = {"version": FORMAT_VERSION, **as_json(state), "files": sums}
        files.write_json(folder / STATE, value)


def settle(directory: Path, state: State, plan: Plan) -> None:
    """Write the index, then delete what the plan does not keep.

    A checkpoint that was only made because the run was interrupted stays until a due one stands.
    """
    due = plan.kept(state.step)
    if state.exhausted(plan.train.patience):  # the run ends here
        due = set(sorted({*due, state.step})[-plan.train.keep_checkpoints :])
    keep = due | ({state.best.step} if state.best else set())
    on_time = state.step in keep
    there = [step for step in standing(directory) if step in keep or step == state.step]
    files.write_json(directory / INDEX, _index_json(state, there))
    for step in standing(directory) if on_time else []:
        if step not in keep:
            files.remove(directory / step_name(step))


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


def _index_json(state: State, steps: list[int]) -> dict[str, Any]:
    losses = {entry.step: entry.loss for entry in state.validation}
    return {
        "best": step_name(state.best.step) if state.best and state.best.step in steps else None,
        "best_loss": state.best.loss if state.best else None,
        "last": step_name(state.step),
        "checkpoints": [
            {"name": step_name(step), "step": step, "loss": losses.get(step)} for step in steps
        ],
    }


# --- resuming -------------------------------------------------------------------------------------


def find(directory: Path, plan: Plan) -> Found:
    """The newest sound checkpoint that lies on the plan, and what is wrong with damaged ones.

    Validations that the plan does not hold (the end of a run that is now longer) are dropped; the
    best is the best of those whose checkpoint still stands. `NewerVersionError` where a newer jagpt
    wrote one of them.
    """
    check_versions(directory)
    sound: dict[int, State] = {}
    damaged: dict[int, str] = {}
    for step in standing(directory):
        if step <= plan.total_steps:
            try:
                sound[step] = read(directory / step_name(step))
            except DataError as error:
                damaged[step] = str(error)
    if not sound:
        return Found(damaged=damaged)
    saved = sound[max(sound)]
    history = tuple(entry for entry in saved.validation if plan.validates(entry.step))
    candidates = [entry for entry in history if entry.step in sound]
    best = min(candidates, key=lambda entry: entry.loss, default=None)
    return Found(replace(saved, validation=history, best=best), saved, damaged)


def check_versions(directory: Path) -> None:
    """`NewerVersionError` where a newer jagpt wrote one of the checkpoints."""
    for step in standing(directory):
        path = directory / step_name(step) / STATE
        try:
            files.check_version(path, files.read_json(path).get("version"), FORMAT_VERSION)
        except NewerVersionError:
            raise
        except DataError:
            continue  # damaged


def read(folder: Path) -> State:
    """The state of a checkpoint whose files all match their checksums; else `DataError`."""
    path = folder / STATE
    value = files.read_json(path, "state of a checkpoint")
    files.check_version(path, value.get("version"), FORMAT_VERSION)
    try:
        state = from_json(value)
        sums = {str(name): str(digest) for name, digest in value["files"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: this state of a checkpoint is damaged ({error!r})") from None
    if step_name(state.step) != folder.name or not all(
        {name, f"{name}.index.json"} & set(sums) for name in (MODEL, OPTIMIZER)
    ):
        raise DataError(f"{path}: this state of a checkpoint does not belong to its folder")
    for name, digest in sums.items():
        _check_sum(folder / name, digest)
    return state


def _check_sum(path: Path, digest: str) -> None:
    if not path.is_file():
        raise DataError(f"{path}: this file of a checkpoint is missing")
    found = files.sha256(path)
    if found != digest:
        raise DataError(
            f"{path}: damaged: its SHA-256 is {found[:12]}…, and {digest[:12]}… was written"
        )


def _validation(value: dict[str, Any]) -> Validation:
    return Validation(int(value["step"]), int(value["tokens"]), float(value["loss"]))
