"""What the remote place has of a run."""

from __future__ import annotations

from dataclasses import dataclass

from jagpt import stages
from jagpt.errors import JagptError
from jagpt.pipeline.states import last_made
from jagpt.recipe import Recipe
from jagpt.remote import lease
from jagpt.remote.copies import step_keys, whole
from jagpt.remote.store import Store
from jagpt.rundir import RunDirectory
from jagpt.stages import TRAIN


@dataclass(frozen=True)
class Elsewhere:
    """What the place has of a run, or the `problem` that prevents an answer.

    `stages` are those that are complete there, `steps` those of the checkpoints there, `writer` who
    copies there now.
    """

    place: str
    problem: str | None = None
    writer: str | None = None
    stages: tuple[str, ...] = ()
    steps: tuple[int, ...] = ()


def look(recipe: Recipe, run: RunDirectory) -> Elsewhere | None:
    """Ask `execution.remote` what it has; None if the recipe names no such place."""
    place = recipe.execution.remote
    if place is None:
        return None
    try:
        store = Store(place)
        keys = set(store.names())
        _, claim = lease.holder(store)
    except JagptError as error:
        return Elsewhere(place, problem=str(error))
    stood = []
    steps: tuple[int, ...] = ()
    for stage in stages.STAGES:
        directory = run.own(stage.name)
        made = last_made(directory)
        if made is None:
            continue
        if whole(keys, made, directory):
            stood.append(stage.name)
        if stage is TRAIN:
            there = step_keys(keys, made)
            steps = tuple(step for step in there if whole(keys, made, directory, step))
    writer = str(claim) if claim and not claim.released and claim.here() is not False else None
    return Elsewhere(place, None, writer, tuple(stood), steps)
