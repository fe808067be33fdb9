"""The run directory: which stage reads and writes where."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from jagpt import files

RECIPE = "recipe.toml"
MAX_RECIPE_BYTES = 4 * 1024**2
"""Largest recipe that is read; parsed, it takes some fifty times as much memory."""
TAKEN = ".taken"
"""What is restored from elsewhere, until it is complete."""
STAGE_DIRECTORIES: Mapping[str, str] = MappingProxyType(
    {
        "corpus": "corpus",
        "tokenizer": "tokenizer",
        "tokens": "tokens",
        "train": "checkpoints",
        "evaluate": "evaluation",
        "export": "model",
        "formats": "export",
        "release": "release",
    }
)
"""Stage → the directory that only it writes, in the order of the pipeline."""


TEACHERS = "teachers"
"""Teachers that a run trains for itself; each folder is laid out as a run."""
SEARCH = "search"
"""Trials of settings, and the best recipe found."""
_FOLDERS = frozenset(
    {*STAGE_DIRECTORIES.values(), "logs", "superseded", ".publishing", TAKEN, TEACHERS, SEARCH}
)
_TRACKERS = "logs/wandb"
"""W&B links to its own cache from there; no verb of jagpt reads or writes it."""


def is_run(name: str | Path) -> bool:
    """Whether there is a run of this name, of which an empty one means none; `DataError` if
    something in it leads outside, or its recipe is too large to be one."""
    if name == "":
        return False
    place = Path(name)
    recipe = place / RECIPE
    if os.path.lexists(recipe):
        check(place)
    if not recipe.is_file():
        return False
    files.regular_file(recipe, "recipe", MAX_RECIPE_BYTES)
    return True


def check(root: Path) -> None:
    """Refuse a run directory with a link out of it, a pipe or a device (`files.check_tree`).

    What is not the run's own is checked, but not searched.
    """
    files.check_tree(root, _foreign)


def _foreign(name: str) -> bool:
    folder = name.partition("/")[0]
    return name == _TRACKERS or not (folder in _FOLDERS or folder.startswith(files.STAGING_PREFIX))


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run. `shared` maps a stage to the directory of another run that replaces it.

    `stale` has the stages whose results belong to another recipe than the run's, and why.
    """

    root: Path
    shared: Mapping[str, Path] = field(default_factory=dict)
    stale: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def stage(self, name: str) -> Path:
        """Where the stage's files are read: in this run or in the one that shares them."""
        return self.shared.get(name) or self.own(name)

    def own(self, name: str) -> Path:
        """Where this run itself keeps the stage."""
        return self.root / STAGE_DIRECTORIES[name]

    @property
    def corpus(self) -> Path:
        return self.stage("corpus")

    @property
    def tokenizer(self) -> Path:
        return self.stage("tokenizer")

    @property
    def tokens(self) -> Path:
        return self.stage("tokens")

    @property
    def checkpoints(self) -> Path:
        return self.stage("train")

    @property
    def evaluation(self) -> Path:
        return self.stage("evaluate")

    @property
    def model(self) -> Path:
        return self.stage("export")

    @property
    def formats(self) -> Path:
        return self.stage("formats")

    @property
    def release(self) -> Path:
        return self.stage("release")

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def superseded(self) -> Path:
        """Replaced results and damaged checkpoints, until `jagpt clean`."""
        return self.root / "superseded"

    @property
    def recipe(self) -> Path:
        return self.root / RECIPE

    @property
    def report(self) -> Path:
        return self.root / "report.html"
