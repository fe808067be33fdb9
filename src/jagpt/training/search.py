"""A search over the keys in a recipe's `[search]`: trainings that differ only in them.

Settings are proposed by Optuna's sampler (TPE: Bergstra et al. 2011) from the earlier trials, with
the trial's own seed, so that an interrupted search continues as if it had not been, even in the
middle of a trial.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jagpt import files, units
from jagpt.errors import (
    DataError,
    JagptError,
    MissingExtraError,
    StoppedError,
    StorageError,
    UsageError,
)
from jagpt.progress import Progress
from jagpt.recipe import Range, Recipe, changed, search_kind
from jagpt.rundir import SEARCH, RunDirectory
from jagpt.training.data import sums
from jagpt.training.metrics import read_metrics
from jagpt.training.stage import TRAIN
from jagpt.training.stopping import OutOfTime
from jagpt.training.trials import BEST, Trials, Tried

if TYPE_CHECKING:
    import optuna

RANDOM_TRIALS = 5
"""Random trials before the sampler models anything."""


def check(recipe: Recipe) -> None:
    """`UsageError` if the recipe names no key to search over, or Optuna is missing."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise MissingExtraError("--trials", "search") from None
    if not recipe.search.keys:
        raise UsageError(
            "--trials: the recipe has no [search.keys] to search over, such as "
            '"train.learning_rate" = { low = 1e-4, high = 1e-2 }'
        )


def search(
    recipe: Recipe, run: RunDirectory, count: int, hours: float | None, progress: Progress
) -> Trials:
    """Try settings until there are `count` trials or `hours` are over; returns all trials so far.

    The run's tokens must exist, and its lock be held. Each trial leaves its
    line in `search/trials.json`, next to the best recipe so far; what it trained is deleted. Raises
    as training does: after `StoppedError` or `KeyboardInterrupt` the trial can be continued.
    """
    hours = recipe.execution.max_hours if hours is None else hours
    ends = None if hours is None else time.monotonic() + 3600 * hours
    folder = run.root / SEARCH
    trials = _begin(recipe, run)
    _settle(recipe, run, trials)  # a killed search may not have
    while len(trials.trials) < count:
        left = None if ends is None else (ends - time.monotonic()) / 3600
        if left is not None and left <= 0:
            progress.say(
                f"the {hours:g} hours are over after {units.counted(len(trials.trials), 'trial')}"
            )
            break
        settings = _proposed(recipe, trials.trials)
        number = len(trials.trials) + 1
        said = ", ".join(f"{key} {value:g}" for key, value in settings.items())
        progress.say(f"trial {number} of {count}: {said}")
        try:
            tried = _tried(recipe, run, number, settings, left, progress)
        except OutOfTime as error:
            progress.say(str(error))
            break
        trials = replace(trials, trials=(*trials.trials, tried))
        trials.write(folder)
        _settle(recipe, run, trials)
    return trials


def _begin(recipe: Recipe, run: RunDirectory) -> Trials:
    """The trials of this very search; those of another are moved aside.

    `DataError` for trials that it cannot have tried.
    """
    folder = run.root / SEARCH
    keys = recipe.search.model_dump(mode="json")
    section = [*TRAIN.semantic(recipe).values(), keys]
    made_of: list[Any] = [TRAIN.version, section, [*sums(run.tokens).values()]]
    if outside := TRAIN.outside(recipe, files.sha256, {}):
        made_of.append(outside)
    fingerprint = files.fingerprint_of(["search", *made_of])
    found = Trials.find(folder)
    if found is not None and found.made_of == fingerprint:
        try:
            _study(recipe, found.trials)
        except (ValueError, OverflowError):
            raise DataError(
                f"{folder / Trials.FILE}: this {Trials.KIND} is damaged: found settings that are "
                f"not of the recipe's [search.keys]; {Trials.REMEDY}"
            ) from None
        return found
    if folder.is_dir():
        files.move_directory(folder, run.superseded / SEARCH)
    trials = Trials(made_of=fingerprint)
    files.make_directory(folder)
    trials.write(folder)
    return trials


def _settle(recipe: Recipe, run: RunDirectory, trials: Trials) -> None:
    """Let the best recipe be that of `trials`, and delete what these trained."""
    folder, best = run.root / SEARCH, trials.best
    if best is None:
        files.remove(folder / BEST)
    else:
        files.write_text(folder / BEST, changed(recipe, best.settings).to_toml())
    for number in range(1, len(trials.trials) + 1):
        files.remove(_place(run, number).root)
    files.remove_leftovers(folder)


def _place(run: RunDirectory, number: int) -> RunDirectory:
    shared = {"tokenizer": run.tokenizer, "tokens": run.tokens}
    return RunDirectory(run.root / SEARCH / f"trial-{number}", shared)


def _tried(
    recipe: Recipe,
    run: RunDirectory,
    number: int,
    settings: dict[str, Any],
    hours: float | None,
    progress: Progress,
) -> Tried:
    """Train with these settings; a training that ends with its own error is a failed trial."""
    from jagpt.training import session

    place = _place(run, number)
    failed = None
    try:
        trial = changed(recipe, settings)
        changes = {"max_hours": hours, "sample_prompts": (), "trackers": ()}
        execution = trial.execution.model_copy(update=changes)
        session.run(trial.model_copy(update={"execution": execution}), place, progress)
    except (StoppedError, StorageError):
        raise
    except JagptError as error:
        failed = str(error)
        progress.say(f"trial {number} failed: {failed}")
    train, valid = read_metrics(place.logs)
    losses = [row.loss for row in valid if row.loss is not None]
    return Tried(
        settings=settings,
        loss=None if failed or not losses else min(losses),
        steps=max([row.step for row in train] + [row.step for row in valid], default=0),
        seconds=max((row.seconds or 0.0 for row in train), default=0.0),
        failed=failed,
    )


# --- what to try next -----------------------------------------------------------------------------


def _proposed(recipe: Recipe, trials: Sequence[Tried]) -> dict[str, Any]:
    """Settings of the trial after `trials`: a function of these and the recipe's seed."""
    return dict(_study(recipe, trials).ask(_spaces(recipe)).params)


def _study(recipe: Recipe, trials: Sequence[Tried]) -> optuna.Study:
    """What the sampler knows after `trials`; `ValueError` for settings outside the search."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spaces = _spaces(recipe)
    seed = (recipe.train.seed + len(trials)) % 2**32
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS)
    study = optuna.create_study(direction="minimize", sampler=sampler)
    state = optuna.trial.TrialState
    for tried in trials:
        study.add_trial(
            optuna.trial.create_trial(
                state=state.FAIL if tried.loss is None else state.COMPLETE,
                params=tried.settings,
                distributions=spaces,
                value=tried.loss,
            )
        )
    return study


def _spaces(recipe: Recipe) -> dict[str, optuna.distributions.BaseDistribution]:
    return {key: _space(key, given) for key, given in recipe.search.keys.items()}


def _space(key: str, given: Range) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    kind = search_kind(key)
    values = None if kind is None else given.values(kind)
    if values is None:
        raise ValueError(f"{key}: neither a choice nor a range")
    if given.choice:
        return CategoricalDistribution(values)
    low, high = values
    if kind is int:
        return IntDistribution(int(low), int(high), log=True)
    return FloatDistribution(low, high, log=True)
