"""Running the stages that are not done.

What was interrupted continues where it stopped. What a changed recipe made stale continues too if
the change does not affect the work done so far; otherwise it moves to `superseded/`, from where the
earlier recipe restores it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

from jagpt import files, stages
from jagpt.errors import DataError, NewerVersionError, TooLittleTextError, UsageError
from jagpt.manifests import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline import keeping, superseded
from jagpt.pipeline.ledger import Ledger, timed
from jagpt.pipeline.states import StageState, examine, settled
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.stage import Stage
from jagpt.stages import STAGE_NAMES
from jagpt.text import is_text


def unmade(
    recipe: Recipe, run: RunDirectory, names: Sequence[str], forced: Collection[str] = ()
) -> list[Stage]:
    """Of these stages, those that have no result for the recipe's settings.

    `MissingExtraError` if one cannot be made here, `UsageError` if what is not jagpt's is in the
    way.
    """
    keeping.refuse_foreign(recipe, run, names, forced)
    fresh = [
        stage
        for stage in _named(names)
        if stage.name not in run.shared and (stage.name in forced or not _is_of(recipe, stage, run))
    ]
    for stage in fresh:
        stage.require()
    return fresh


def fetch(recipe: Recipe, stages: Sequence[Stage], progress: Progress) -> None:
    """Download what these stages read from elsewhere."""
    for stage in stages:
        stage.fetch(recipe, progress)


def _is_of(recipe: Recipe, stage: Stage, run: RunDirectory) -> bool:
    """Whether a finished stage was made with the recipe's own settings."""
    directory = run.own(stage.name)
    if not (directory / MANIFEST).exists():
        return False
    try:
        return Manifest.read(directory).section == stage.semantic(recipe)
    except DataError:
        return True  # reported, with the remedy, when the stages are examined


def run_stages(
    recipe: Recipe,
    run: RunDirectory,
    progress: Progress,
    *,
    only: str | None = None,
    until: str | None = None,
    force: bool = False,
    ledger: Ledger | None = None,
    agree: Callable[[str], None] = lambda _costs: None,
) -> list[str]:
    """Run what is not done, up to `until`, or the stage `only`; returns the names of the stages
    that ran.

    The caller holds the run's lock, and gives the `ledger` if it has examined the run already:
    what was hashed then is not hashed again. With `force` the chosen stages rerun; their present
    results are moved aside, and deleted once the new ones are done. `agree` is told what a result
    cost that would be moved aside, before anything is changed, and raises where that is not wanted.
    """
    ledger = ledger or Ledger.read(run)
    names = chosen(only, until)
    forced = names if force else ()
    keeping.refuse_foreign(recipe, run, names, forced)
    found = examine(recipe, run, ledger, names[-1], forced)
    written = recipe.to_toml()
    if not is_text(written):
        raise UsageError(
            f"{run.recipe}: it cannot hold the place of a file or folder that the recipe names, "
            "which is not valid UTF-8; move that elsewhere"
        )
    recipe, notes = settled(recipe, run, forced)
    states = {state.stage.name: state for state in found}
    if only is not None:
        _require_inputs(states, names)
    wanting = [states[name] for name in names if not states[name].done]
    ready = _refuse(recipe, run, ledger, wanting)
    keeping.agree(recipe, run, ledger, [] if force else wanting, agree)
    _begin(run, ledger, written, [states[name].stage for name in names])
    ran = []
    for name in names:
        state = states[name]
        if state.done:
            _settle(run, ledger, state)
            progress.say(f"{name}: {state.status}")
            continue
        if state.reasons:
            progress.say(f"{name}: stale ({'; '.join(state.reasons)})")
        if name in notes:
            progress.say(notes[name])
        if name not in ready:  # what it refuses must not cost an earlier result
            with _shortage(name, recipe, run):
                state.stage.preflight(recipe, run)
        if keeping.make_room(recipe, run, ledger, state, progress, forced=force):
            _make(recipe, run, ledger, state, progress)
            ran.append(name)
    return ran


def require_inputs(recipe: Recipe, run: RunDirectory, name: str) -> Recipe:
    """The recipe with the machine's choices filled in; `UsageError` if what the stage needs is not
    done.

    What the stage itself refuses beforehand is refused here too.
    """
    states = {state.stage.name: state for state in examine(recipe, run, Ledger.read(run), name)}
    _require_inputs(states, (name,))
    recipe, _ = settled(recipe, run)
    states[name].stage.check(recipe)
    states[name].stage.preflight(recipe, run)
    return recipe


def chosen(only: str | None, until: str | None) -> tuple[str, ...]:
    """The stages that a command line selects; a verb may run another stage along with its own."""
    if only is not None:
        return tuple(stage.name for stage in stages.STAGES if only in (stage.name, stage.verb))
    return STAGE_NAMES[: STAGE_NAMES.index(until) + 1] if until else STAGE_NAMES


def _named(names: Collection[str]) -> list[Stage]:
    return [stage for stage in stages.STAGES if stage.name in names]


def _require_inputs(states: Mapping[str, StageState], names: Sequence[str]) -> None:
    """Stages that run alone need their predecessors done."""
    for name in names:
        for needed in states[name].stage.needs:
            if needed not in names and not states[needed].done:
                raise UsageError(
                    f"{name} needs {needed}, which is {states[needed].status}: "
                    f"`jagpt run RECIPE --until {name}` runs both"
                )


def _refuse(
    recipe: Recipe, run: RunDirectory, ledger: Ledger, wanting: Sequence[StageState]
) -> set[str]:
    """Refuse everything that can be refused before anything is changed and hours of other work are
    done.

    The names of the stages whose preflight is done; the others need what is still to be made.
    """
    missing = {state.stage.name for state in wanting}
    for state in wanting:
        state.stage.check(recipe)
        if state.status != "missing":
            _refuse_newer(state.stage, run, ledger)
    _refuse_altered(run, {needed for state in wanting for needed in state.stage.needs})
    ready = [state.stage for state in wanting if missing.isdisjoint(state.stage.needs)]
    for stage in ready:
        with _shortage(stage.name, recipe, run):
            stage.preflight(recipe, run)
    return {stage.name for stage in ready}


@contextmanager
def _shortage(stage: str, recipe: Recipe, run: RunDirectory) -> Iterator[None]:
    """Where text is too little for a stage, all that is wrong is told."""
    try:
        yield
    except TooLittleTextError as error:
        from jagpt.pipeline import shortage

        raise shortage.explained(error, stage, recipe, run) from None


def _refuse_newer(stage: Stage, run: RunDirectory, ledger: Ledger) -> None:
    """`NewerVersionError` if a newer jagpt left something that the stage would continue from."""
    try:
        stage.check_kept(run)
    except NewerVersionError as error:
        raise NewerVersionError(error.path, error.found, error.known, ledger.writer) from None


def _refuse_altered(run: RunDirectory, read: Collection[str]) -> None:
    """`DataError` if files read from other runs differ from what those runs made; everything is
    hashed.
    """
    for name, place in run.shared.items():
        problem = Manifest.read(place).altered(place) if name in read else None
        if problem is not None:
            raise DataError(f"{problem} (the {name} stage is shared from there)")


def _begin(run: RunDirectory, ledger: Ledger, recipe: str, chosen: Sequence[Stage]) -> None:
    """The first changes: remove what a killed process left behind, and write the run's recipe."""
    for folder in (run.root, run.logs, run.superseded):
        files.remove_leftovers(folder)
    if not run.recipe.is_file() or run.recipe.read_bytes() != recipe.encode("utf-8"):
        files.write_text(run.recipe, recipe)
    for stage in chosen:
        superseded.mend(run, stage, ledger)
    if ledger.changed:
        ledger.write()


def _settle(run: RunDirectory, ledger: Ledger, state: StageState) -> None:
    """Finish what a process killed just before its end did not do for a finished stage."""
    _record_share(run, ledger, state)
    files.remove(run.own(state.stage.name) / IN_PROGRESS)
    superseded.delete_replaced(run, state.stage, state.fingerprint)


def _record_share(run: RunDirectory, ledger: Ledger, state: StageState) -> None:
    """Record in this run where a shared stage is, and which one it is."""
    if state.shared is None:
        return
    directory = run.own(state.stage.name)
    manifest = Manifest(
        state.stage.name, state.stage.version, state.fingerprint, state.section,
        state.inputs, shared=str(state.shared),
    )  # fmt: skip
    if (directory / MANIFEST).exists() and Manifest.read(directory) == manifest:
        return
    superseded.set_aside(run, state.stage, ledger)
    manifest.write(directory)


def _make(
    recipe: Recipe, run: RunDirectory, ledger: Ledger, state: StageState, progress: Progress
) -> None:
    stage, directory = state.stage, run.own(state.stage.name)
    with superseded.replacing(run, stage, state.fingerprint):
        state.manifest.begin(directory)
        with timed(ledger, stage.name), _shortage(stage.name, recipe, run):
            stage.run(recipe, run, progress)
            for entry in state.manifest.finish(directory).files:
                path = directory / entry.name
                ledger.times[path.relative_to(run.root).as_posix()] = path.stat().st_mtime_ns
