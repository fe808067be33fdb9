"""Weights & Biases and trackio: optional places for a run's metrics."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from jagpt import terminal
from jagpt.errors import MissingExtraError
from jagpt.recipe import Recipe

NAMES = {"wandb": "tracking with W&B", "trackio": "tracking with trackio"}


class Tracker(Protocol):
    """Takes the numbers of one step."""

    def log(self, values: Mapping[str, float], step: int) -> None: ...


def check(names: Iterable[str]) -> None:
    """`MissingExtraError` for a tracker whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(NAMES[name], name)


@contextmanager
def opened(recipe: Recipe, logs: Path) -> Iterator[list[Tracker]]:
    """The trackers that the recipe asks for, until the block ends.

    A run that goes on is the same run to them: its name is that of the recipe.
    """
    check(recipe.execution.trackers)
    found: list[Tracker] = []
    runs: list[Any] = []
    settings = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    try:
        for name in recipe.execution.trackers:
            package: Any = importlib.import_module(name)
            options = {"project": recipe.execution.tracker_project, "name": recipe.name}
            if name == "wandb":
                options |= {"id": recipe.name, "dir": str(logs)}
            with terminal.unguarded():
                run = package.init(**options, config=settings, resume="allow")
            if name == "wandb":
                run.define_metric("*", step_metric="step")  # steps may be taken again
                found.append(_Wandb(run))
            else:
                found.append(_Trackio(package))
            runs.append(run if name == "wandb" else package)
        yield found
    finally:
        with terminal.unguarded():
            for run in runs:
                run.finish()


class _Wandb:
    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, "step": step})


class _Trackio:
    def __init__(self, package: Any) -> None:
        self._package = package

    def log(self, values: Mapping[str, float], step: int) -> None:
        self._package.log(dict(values), step=step)
