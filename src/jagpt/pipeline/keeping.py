"""What can be kept of earlier results, so that changing your mind loses no work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from jagpt import files, units
from jagpt.manifests import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline import superseded
from jagpt.pipeline.ledger import Ledger
from jagpt.pipeline.states import StageState, altered, last_made
from jagpt.pipeline.superseded import Earlier
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.stage import Kept


def agree(
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    states: Sequence[StageState],
    agreed: Callable[[str], None],
) -> None:
    """Ask before results that took long are moved aside."""
    for state in states:
        stage, directory = state.stage, run.own(state.stage.name)
        worth = stage.worth(directory) if state.status == "stale" else None
        if worth is None or _same(run, state) or _best_kept(recipe, run, state):
            continue
        time = ledger.stages.get(stage.name)
        took = f" that took {units.duration(time.seconds)}" if time else ""
        agreed(
            f"{stage.name}: {worth}{took} would be moved aside ({'; '.join(state.reasons)}); they "
            f"stay in {run.superseded} until `jagpt clean`, and the earlier recipe restores them"
        )


def make_room(
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    state: StageState,
    progress: Progress,
    *,
    forced: bool,
) -> bool:
    """Leave in the stage's directory only what it can continue from.

    Returns whether it still has to run: an earlier result of the same recipe may be there.
    """
    stage, own = state.stage, run.own(state.stage.name)
    files.remove_leftovers(own, below=True)
    if state.status == "unfinished":
        return True
    if forced:
        superseded.set_aside(run, stage, ledger, superseded.REPLACED)
        return True
    if (same := _same(run, state)) is not None:
        superseded.set_aside(run, stage, ledger)
        superseded.take_back(run, stage, same, ledger)
        progress.say(f"{stage.name}: made earlier with this recipe, restored from {same.place}")
        return not same.finished
    best = _best_kept(recipe, run, state)
    if best is None:
        superseded.set_aside(run, stage, ledger)
        return True
    origin, kept = best
    progress.say(f"{stage.name}: {kept.why}: continuing from them")
    if origin is None and kept.names is None:
        ledger.carry_over(stage.name, ledger.stages.get(stage.name), kept.share)
        return True
    moved = superseded.set_aside(run, stage, ledger)
    if (origin := origin or moved) is not None:
        _copy_kept(run, state, origin, kept)
        ledger.carry_over(stage.name, superseded.time_of(origin.place), kept.share)
    return True


def _same(run: RunDirectory, state: StageState) -> Earlier | None:
    """The moved-aside result that matches the stage; a finished one is preferred."""
    found = [
        one
        for one in superseded.earlier(run, state.stage)
        if one.manifest.fingerprint == state.fingerprint
        and not (one.finished and altered(one.directory, one.manifest))
    ]
    return max(found, key=lambda one: one.finished, default=None)


def _best_kept(
    recipe: Recipe, run: RunDirectory, state: StageState
) -> tuple[Earlier | None, Kept] | None:
    """The most useful of a stale result (None) and those that were moved aside."""
    found = [
        (origin, kept)
        for origin, directory, old in _results(run, state)
        if (old.version, old.inputs) == (state.stage.version, state.inputs)
        and (kept := state.stage.keeps(recipe, run, old, directory)) is not None
    ]
    return max(found, key=lambda one: one[1].worth, default=None)


def _results(
    run: RunDirectory, state: StageState
) -> Iterator[tuple[Earlier | None, Path, Manifest]]:
    """The stale result (None) and those that were moved aside, each with what it was made from."""
    own = run.own(state.stage.name)
    if state.status == "stale" and (old := last_made(own)) is not None:
        yield None, own, old
    for one in superseded.earlier(run, state.stage):
        yield one, one.directory, one.manifest


def _copy_kept(run: RunDirectory, state: StageState, origin: Earlier, kept: Kept) -> None:
    """Fill the stage's directory with what is kept; the earlier result stays complete."""
    wanted = {path.name for path in origin.directory.iterdir()} - {MANIFEST, IN_PROGRESS}
    with files.staged_directory(run.own(state.stage.name)) as staged:
        for name in sorted(wanted if kept.names is None else kept.names):
            files.copy(origin.directory / name, staged / name, linked=True)
        state.manifest.begin(staged)
    superseded.copy_logs(run, state.stage, origin)
