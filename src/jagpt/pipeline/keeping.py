"""What can be kept of earlier results, so that changing your mind loses no work."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from jagpt import files, stages, units
from jagpt import recipe as recipes
from jagpt.errors import JagptError, UsageError
from jagpt.manifests import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline import superseded
from jagpt.pipeline.ledger import Ledger
from jagpt.pipeline.states import StageState, is_foreign, last_made
from jagpt.pipeline.superseded import Earlier
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.stage import Kept
from jagpt.stages import STAGE_NAMES


def refuse_foreign(
    recipe: Recipe, run: RunDirectory, names: Collection[str], forced: Collection[str] = ()
) -> None:
    """`UsageError` before these stages would move aside, or their recipe overwrite, what is not
    jagpt's.

    A `forced` stage sets aside whatever is in its folder.
    """
    for stage in stages.STAGES:
        directory = run.own(stage.name)
        if stage.name in names and stage.name not in forced and is_foreign(directory):
            raise UsageError(
                f"{directory}: jagpt did not make what is in this folder (there is neither "
                f"{MANIFEST} nor {IN_PROGRESS}), and the {stage.name} stage would take its place: "
                "move it away, or choose another --run-dir; if this is a run that lost its "
                f"manifest, `jagpt {stage.verb or stage.name} RECIPE --force` sets it aside"
            )
    if _overwrites_foreign(recipe, run):
        raise UsageError(
            f"{run.recipe}: jagpt did not write this recipe, and a run in this folder would "
            "overwrite it: give it another name, or choose another --run-dir"
        )


def _overwrites_foreign(recipe: Recipe, run: RunDirectory) -> bool:
    """Whether the run's recipe would replace one that was written by hand."""
    if not run.recipe.is_file():
        return False
    notes = (run.own(name) / note for name in STAGE_NAMES for note in (MANIFEST, IN_PROGRESS))
    if any(note.exists() for note in notes):
        return False
    found = run.recipe.read_bytes()
    if found == recipe.to_toml().encode("utf-8", "surrogatepass"):
        return False
    try:
        return found != recipes.load(run.recipe).to_toml().encode("utf-8")
    except JagptError:
        return True


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
        mark = "" if is_foreign(own) else superseded.replaced_by(state.fingerprint)
        superseded.set_aside(run, stage, ledger, mark)
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
        and not (one.finished and one.manifest.altered(one.directory))
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
