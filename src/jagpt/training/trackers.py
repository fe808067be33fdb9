"""Weights & Biases and trackio: optional destinations for a run's metrics."""

from __future__ import annotations

import importlib
import importlib.util
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from jagpt import files, terminal
from jagpt.errors import DataError, MissingExtraError
from jagpt.recipe import Recipe

ID = "tracker.json"
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
def opened(recipe: Recipe, logs: Path, fresh: bool) -> Iterator[list[Tracker]]:
    """The trackers that the recipe asks for, until the block ends.

    A resumed training is the same run to them; one that begins `fresh`, at step 0, is a new one.
    """
    check(recipe.execution.trackers)
    own = _id_of(logs, fresh) if recipe.execution.trackers else ""
    found: list[Tracker] = []
    runs: list[Any] = []
    settings = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    try:
        for name in recipe.execution.trackers:
            package: Any = importlib.import_module(name)
            options = {"project": recipe.execution.tracker_project, "config": settings}
            if name == "wandb":
                options |= {"name": recipe.name, "id": own, "dir": str(logs)}
            else:  # trackio identifies a run only by its name
                options["name"] = f"{recipe.name}-{own}"
            with terminal.unguarded():
                run = package.init(**options, resume="allow")
            if name == "wandb":
                run.define_metric("*", step_metric="step")  # a step may come twice
                found.append(_Wandb(run))
            else:
                found.append(_Trackio(package))
            runs.append(run if name == "wandb" else package)
        yield found
    finally:
        with terminal.unguarded():
            for run in runs:
                run.finish()


def _id_of(logs: Path, fresh: bool) -> str:
    """The name of the run's training in trackers: kept in `logs/`, new for a new training."""
    path = logs / ID
    if not fresh:
        with suppress(DataError, KeyError):  # a missing or damaged log does not stop training
            return str(files.read_json(path)["id"])
    own = secrets.token_hex(8)
    files.write_json(path, {"id": own})
    return own


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
