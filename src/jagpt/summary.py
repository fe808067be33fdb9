"""The facts of a run, gathered from the records of its stages: for the final table and the report.

Each part is None (or empty) if its stage has not got that far; `Summary.missing` says which.
Nothing here imports torch, and nothing is measured: every figure was recorded by a stage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jagpt import manifests
from jagpt.errors import RecipeError
from jagpt.machines import Host
from jagpt.manifests import FileEntry, Manifest
from jagpt.recipe import Recipe, parse
from jagpt.release.facts import Facts, facts_of
from jagpt.rundir import SEARCH, RunDirectory
from jagpt.stages import CORPUS, EVALUATE, EXPORT, RELEASE, STAGE_NAMES, TOKENIZER, TOKENS, TRAIN
from jagpt.timing import StageTime, Timing
from jagpt.tokenizer.stats import TokenizerStats
from jagpt.training.environment import Environment
from jagpt.training.metrics import TrainRow, ValidRow, read_metrics
from jagpt.training.trials import Trials


@dataclass(frozen=True, kw_only=True)
class Summary(Facts):
    """Everything known about a run. `host` wrote its logs last, and `trained_on` ran the steps.

    Results of a stale stage belong to another recipe and are left out; `stale` says why.
    """

    name: str
    root: Path
    recipe: Recipe | None
    tokenizer: TokenizerStats | None = None
    train_rows: tuple[TrainRow, ...] = ()
    valid_rows: tuple[ValidRow, ...] = ()
    times: Mapping[str, StageTime]
    host: Host | None
    trained_on: Environment | None = None
    files: dict[str, tuple[FileEntry, ...]]
    trials: Trials | None = None
    missing: tuple[str, ...]
    stale: Mapping[str, Sequence[str]]

    @property
    def seconds(self) -> float | None:
        """Wall-clock time of all stages together."""
        return sum(time.seconds for time in self.times.values()) if self.times else None


_PARTS: Mapping[str, Mapping[str, Any]] = {
    CORPUS.name: {"corpus": None, "datasets": {}},
    TOKENIZER.name: {"tokenizer": None},
    TOKENS.name: {"tokens": None},
    TRAIN.name: {"training": None, "train_rows": (), "valid_rows": (), "trained_on": None},
    EVALUATE.name: {"evaluation": None},
    EXPORT.name: {"parameters": None},
    RELEASE.name: {"samples": ()},
}
"""The parts of a summary that belong to a stage, and their values without it."""


def collect(run: RunDirectory) -> Summary:
    """What the stages of `run` left, however far they came; `DataError` if a file is damaged."""
    recipe = _recipe(run)
    train_rows, valid_rows = read_metrics(run.logs)
    timing = Timing.find(run.logs)
    times = timing.stages if timing else {}
    summary = Summary(
        **vars(facts_of(run)),
        name=recipe.name if recipe else run.root.name,
        root=run.root,
        recipe=recipe,
        tokenizer=TokenizerStats.find(run.tokenizer),
        train_rows=train_rows,
        valid_rows=valid_rows,
        times={name: time for name, time in times.items() if name not in run.stale},
        host=timing.machine if timing else None,
        trained_on=Environment.find(run.logs),
        files=dict(_finished_files(run)),
        trials=Trials.find(run.root / SEARCH),
        missing=tuple(_missing(run)),
        stale=run.stale,
    )
    unset = {name: value for stage in run.stale for name, value in _PARTS.get(stage, {}).items()}
    return replace(summary, **unset)


def _recipe(run: RunDirectory) -> Recipe | None:
    """The run's recipe; None if it is missing or from a jagpt with other keys."""
    if not run.recipe.is_file():
        return None
    try:
        return parse(run.recipe.read_bytes(), origin=str(run.recipe))
    except RecipeError:
        return None


def _finished_files(run: RunDirectory) -> Iterator[tuple[str, tuple[FileEntry, ...]]]:
    for stage in STAGE_NAMES:
        directory = run.stage(stage)
        if (directory / manifests.MANIFEST).is_file() and stage not in run.stale:
            yield stage, Manifest.read(directory).files


def _missing(run: RunDirectory) -> Iterator[str]:
    """The stages that are not finished."""
    for stage in STAGE_NAMES:
        if not (run.stage(stage) / manifests.MANIFEST).is_file():
            yield stage
