"""Checkpoints: made atomically, verified, rotated, indexed.

`models.checkpoint_folder` shows their layout. No byte depends on the clock, on interruptions
or on how the ranks share the work; only `state.json` names what arithmetic may depend on (number of
ranks, kind of machine, threads, versions). This module needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from jagpt import files, units
from jagpt.errors import DataError, NewerVersionError
from jagpt.models.checkpoint_folder import (
    MODEL,
    OPTIMIZER,
    STATE,
    CheckpointIndex,
    KeptCheckpoint,
    standing,
    step_name,
)
from jagpt.training.bad_steps import follows
from jagpt.training.plan import Plan
from jagpt.training.state import SavedState, State


@dataclass(frozen=True)
class Found:
    """What a folder of checkpoints offers to a continuing run.

    `state` is where it continues, `saved` what the newest intact checkpoint says; they differ if
    the plan has changed or a checkpoint was lost. `due` is what the newest one says that was due:
    a bad step returns there, as if nothing had interrupted the run. `damaged` maps steps to what is
    wrong there, for checkpoints that must be removed.
    """

    state: State | None = None
    saved: State | None = None
    due: State | None = None
    damaged: Mapping[int, str] = field(default_factory=dict)


# --- saving ---------------------------------------------------------------------------------------


def save(directory: Path, state: State, write_tensors: Callable[[Path], None]) -> None:
    """Make the checkpoint of `state` atomically; `write_tensors` fills the given folder."""
    with files.staged_directory(directory / step_name(state.step)) as folder:
        write_tensors(folder)
        sums = {path.name: files.sha256(path) for path in sorted(folder.iterdir())}
        SavedState(**vars(state), files=sums).write(folder)


def settle(directory: Path, state: State, plan: Plan) -> None:
    """Write the index, then delete what the plan does not keep.

    A checkpoint that was only made because the run was interrupted stays until a scheduled one
    exists. What this run would have kept if it were longer stays, since it may become longer.
    """
    due = plan.kept(state.step)
    if state.exhausted(plan.train.patience):  # the run ends here
        due = set(sorted({*due, state.step})[-plan.train.keep_checkpoints :])
    there = standing(directory)
    keep = due | ({state.best.step} if state.best else set()) | _if_longer(plan, state, there)
    on_time = state.step in keep
    _index(state, [step for step in there if step in keep or step == state.step]).write(directory)
    for step in there if on_time else []:
        if step not in keep:
            files.remove(directory / step_name(step))


def _if_longer(plan: Plan, state: State, steps: Container[int]) -> set[int]:
    """The best for a longer run, and, where bad steps send it back, the last one that was due."""
    longer = replace(plan, total_steps=plan.total_steps + 1)
    best = _in_run_of(longer, state, steps).best
    due = longer.kept(state.step) if plan.train.on_bad_step == "rewind" else set()
    return {*([best.step] if best else []), *sorted(due)[-1:]}


def _in_run_of(plan: Plan, state: State, steps: Container[int]) -> State:
    """The state as in a run of this plan: without a validation that only a shorter run's end made;
    the best is the best of those whose checkpoint is among `steps`.
    """
    history = tuple(
        entry for entry in state.validation if entry.step < state.step or plan.validates(entry.step)
    )
    candidates = [entry for entry in history if entry.step in steps]
    best = min(candidates, key=lambda entry: entry.loss, default=None)
    return replace(state, validation=history, best=best)


def _index(state: State, steps: list[int]) -> CheckpointIndex:
    losses = {entry.step: entry.loss for entry in state.validation}
    best = state.best
    return CheckpointIndex(
        best=step_name(best.step) if best and best.step in steps else None,
        best_loss=best.loss if best else None,
        last=step_name(state.step),
        checkpoints=tuple(
            KeptCheckpoint(step_name(step), step, losses.get(step)) for step in steps
        ),
    )


# --- resuming -------------------------------------------------------------------------------------


def find(directory: Path, plan: Plan) -> Found:
    """The newest intact checkpoint that fits the plan, and what is wrong with damaged ones.

    A validation at the end of a run that is now longer is dropped; the best is the best of those
    whose checkpoint still exists. `NewerVersionError` if a newer jagpt
    wrote one of them.
    """
    check_versions(directory)
    sound: dict[int, State] = {}
    damaged: dict[int, str] = {}
    for step in standing(directory):
        if step <= plan.total_steps:
            try:
                sound[step] = _fitting(directory / step_name(step), plan)
            except DataError as error:
                damaged[step] = str(error)
    if not sound:
        return Found(damaged=damaged)
    saved = sound[max(sound)]
    known = [_in_run_of(plan, state, sound) for _, state in sorted(sound.items())]
    due = [state for state in known if state.due(plan)]
    if not due and (saved.validation or plan.kept(saved.step)):  # it is lost: better one than none
        due = known
    return Found(known[-1], saved, due[-1] if due else None, damaged)


def check_versions(directory: Path) -> None:
    """`NewerVersionError` if a newer jagpt wrote one of the checkpoints."""
    for step in standing(directory):
        path = directory / step_name(step) / STATE
        try:
            SavedState.check_version(path)
        except NewerVersionError:
            raise
        except DataError:
            continue  # damaged


def had_bad_steps(folder: Path) -> bool:
    """Whether a checkpoint records bad steps; nothing is verified."""
    try:
        return bool(files.read_json(folder / STATE).get("bad_steps"))
    except DataError:
        return False  # damaged: found when it is read


def read(folder: Path) -> State:
    """The state of a checkpoint whose files all match their checksums; else `DataError`."""
    saved = SavedState.read(folder)
    if step_name(saved.step) != folder.name or not all(
        {name, f"{name}.index.json"} & set(saved.files) for name in (MODEL, OPTIMIZER)
    ):
        raise DataError(f"{folder / STATE}: this checkpoint state belongs to another folder")
    for name, digest in saved.files.items():
        _check_sum(folder / name, digest)
    return saved.state()


def _fitting(folder: Path, plan: Plan) -> State:
    """The state of a checkpoint, from which the plan can continue; else `DataError`.

    No checksum covers the state: a far place in the data would take any time to reach.
    """
    state = read(folder)
    odd = [one.size for one in state.batch_sizes if plan.sequences_per_step % one.size]
    if odd:
        raise DataError(
            f"{folder / STATE}: damaged: batch_sizes has {odd[0]:,}, which does not divide the "
            f"{plan.sequences_per_step:,} sequences of a step"
        )
    if not follows(plan, state):
        raise DataError(
            f"{folder / STATE}: damaged: {state.sequences:,} sequences are not where "
            f"{units.counted(state.step, 'step')} and its bad steps lead"
        )
    return state


def _check_sum(path: Path, digest: str) -> None:
    if not path.is_file():
        raise DataError(f"{path}: this checkpoint file is missing")
    found = files.sha256(path)
    if found != digest:
        raise DataError(
            f"{path}: damaged: its SHA-256 is {found[:12]}…, but {digest[:12]}… was written"
        )
