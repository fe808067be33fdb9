"""The checkpoints of a running training (no torch)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import files
from jagpt.models.checkpoint_folder import step_name
from jagpt.progress import Progress
from jagpt.records import plain, restored
from jagpt.rundir import RunDirectory
from jagpt.training import bad_steps, checkpoints
from jagpt.training.bad_steps import Unbearable
from jagpt.training.checkpoints import Found
from jagpt.training.plan import Plan
from jagpt.training.state import BadStep, State

if TYPE_CHECKING:
    from jagpt.training.distributed import Group
    from jagpt.training.trainer import Trainer


class Keeper:
    """Saves a run, and returns it to where it was saved; all ranks call this, only rank 0 touches
    files.

    `begun` is the state to continue from, None at the beginning; `saved` that of the last
    checkpoint, `due` that of the last one to which a bad step returns; `seconds` the time that the
    last one took. `facts` are what the arithmetic depends on here.
    """

    def __init__(
        self, directory: Path, plan: Plan, found: Found, group: Group, facts: Mapping[str, Any]
    ) -> None:
        self.directory = directory
        self.begun, self.saved, self.due = found.state, found.saved, found.due
        self.seconds = 0.0
        self._plan, self._group, self._facts = plan, group, dict(facts)

    def restore(self, trainer: Trainer) -> State:
        """The state to continue from, with the trainer as it was then; the very first at step 0."""
        if self.begun is None:
            return State()
        trainer.read(self._folder(self.begun), self.begun)
        return self.begun

    def go_back(self, trainer: Trainer, state: State, bad: BadStep) -> State:
        """The state of the last checkpoint that was due, with the trainer as it was then, and data
        after `bad`.
        """
        if self.due is None:
            raise ValueError("there is no checkpoint")
        trainer.read(self._folder(self.due), self.due)
        return bad_steps.rewound(self.due, state, bad)

    def save(self, trainer: Trainer, state: State) -> State:
        """Save a checkpoint of `state`, unless it is saved already; returns the state as written.

        `Unbearable` if a bad step led to the weights: on a GPU, nobody may have looked until now.
        """
        if state == self.saved:
            return state
        trainer.check()
        started = time.monotonic()
        state = replace(state, scaler=trainer.scaler_state(), machine=self._facts)
        with self._group.together():
            if self._group.main:
                checkpoints.save(self.directory, state, trainer.write)
            else:
                trainer.write(None)
            self.saved = state
            if state.due(self._plan):
                self.due = state
            self.settle(state)
        self.seconds = time.monotonic() - started
        return state

    def settle(self, state: State) -> None:
        """Write the index, and delete what the plan does not keep after `state`."""
        if self._group.main:
            checkpoints.settle(self.directory, state, self._plan)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Why the run ends at a bad step and what is intact, as a `JagptError`."""
        try:
            yield
        except Unbearable as bad:
            raise bad_steps.failure(bad, self.saved, self.directory) from None

    def _folder(self, state: State) -> Path:
        return self.directory / step_name(state.step)


def find(run: RunDirectory, plan: Plan, group: Group, progress: Progress) -> Found:
    """Where the run continues; damaged checkpoints are moved aside, and an earlier one is used.

    Rank 0 searches, which may take long, and tells the others.
    """
    found = Found()
    with group.together():
        if group.main:
            found = _look(run, plan, progress)
    told = group.share(plain([found.state, found.saved, found.due]))
    return Found(*restored(tuple[State | None, State | None, State | None], told))


def _look(run: RunDirectory, plan: Plan, progress: Progress) -> Found:
    directory = run.own("train")
    files.make_directory(directory)
    files.remove_leftovers(directory)
    found = checkpoints.find(directory, plan)
    for step, problem in found.damaged.items():
        name = step_name(step)
        kept = files.move_directory(directory / name, run.superseded / f"train-{name}-damaged")
        progress.say(f"warning: {problem}; this checkpoint is moved aside to {kept}")
    if found.state is not None:
        progress.say(f"continuing from the checkpoint of step {found.state.step:,}")
    elif found.damaged:
        progress.say("no intact checkpoint is left: training starts over from step 0")
    return found
