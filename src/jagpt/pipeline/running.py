"""Making the stages that are not done.

What a changed recipe made stale moves to `superseded/`; what was stopped goes on where it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from jagpt import files, stages
from jagpt.errors import DataError, NewerVersionError, UsageError
from jagpt.files import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline.ledger import Ledger, timed
from jagpt.pipeline.states import StageState, examine, last_made, settled
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.stage import Stage
from jagpt.stages import STAGE_NAMES

REPLACED = "-replaced"
"""How the name ends of what `--force` replaces: it goes once the new result is done."""


def fetch(
    recipe: Recipe,
    run: RunDirectory,
    progress: Progress,
    names: Sequence[str],
    forced: Collection[str] = (),
) -> None:
    """Bring what these stages read from elsewhere to this machine, where it is needed."""
    for stage in _named(names):
        fresh = stage.name in forced or not _made_of(recipe, stage, run)
        if stage.name not in run.shared and fresh:
            stage.fetch(recipe, progress)


def _made_of(recipe: Recipe, stage: Stage, run: RunDirectory) -> bool:
    """Whether a finished stage was made with the recipe's own settings."""
    directory = run.own(stage.name)
    if not (directory / MANIFEST).exists():
        return False
    try:
        return Manifest.read(directory).section == stage.semantic(recipe)
    except DataError:
        return True  # told, with the way out, when the stages are looked at


def run_stages(
    recipe: Recipe,
    run: RunDirectory,
    progress: Progress,
    *,
    only: str | None = None,
    until: str | None = None,
    force: bool = False,
    ledger: Ledger | None = None,
) -> list[str]:
    """Make what is not done, up to `until`, or the stage `only`; the names of the stages that ran.

    The caller holds the run's lock, and gives the `ledger` if it has examined the run already:
    what was hashed then is not hashed again. With `force` the chosen stages are made anew; what
    stands of each is set aside, and deleted once the new one is done.
    """
    ledger = ledger or Ledger.read(run)
    names = chosen(only, until)
    forced = names if force else ()
    found = examine(recipe, run, ledger, names[-1], forced)
    written = recipe.to_toml()
    recipe, notes = settled(recipe, run, forced)
    states = {state.stage.name: state for state in found}
    if only is not None:
        _require_inputs(states, names)
    wanting = [states[name] for name in names if not states[name].done]
    ready = _refuse(recipe, run, ledger, wanting)
    for folder in (run.root, run.logs, run.superseded):
        files.remove_leftovers(folder)
    if not run.recipe.is_file() or run.recipe.read_bytes() != written.encode("utf-8"):
        files.write_text(run.recipe, written)
    if ledger.changed:
        ledger.write()
    ran = []
    for name in names:
        state = states[name]
        if state.done:
            _record_share(run, state)
            files.remove(run.own(name) / IN_PROGRESS)  # the process that was done was killed
            _delete_replaced(run, name)
            progress.say(f"{name}: {state.status}")
            continue
        if state.reasons:
            progress.say(f"{name}: stale ({'; '.join(state.reasons)})")
        if name in notes:
            progress.say(notes[name])
        if name not in ready:  # what it refuses must not cost an earlier result
            state.stage.preflight(recipe, run)
        _run_stage(recipe, run, ledger, state, progress, forced=name in forced)
        ran.append(name)
    return ran


def chosen(only: str | None, until: str | None) -> tuple[str, ...]:
    """The stages that a command line means; a verb may make another stage along with its own."""
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
                    f"`jagpt run RECIPE --until {name}` makes both"
                )


def _refuse(
    recipe: Recipe, run: RunDirectory, ledger: Ledger, wanting: Sequence[StageState]
) -> set[str]:
    """Refuse all that can be refused before anything is changed, and hours of other work are done.

    The names of the stages whose preflight is done; the others need what is still to be made.
    """
    missing = {state.stage.name for state in wanting}
    for state in wanting:
        state.stage.check(recipe)
        if state.status != "missing":
            _refuse_newer(state.stage, run, ledger)
    ready = [state.stage for state in wanting if missing.isdisjoint(state.stage.needs)]
    for stage in ready:
        stage.preflight(recipe, run)
    return {stage.name for stage in ready}


def _refuse_newer(stage: Stage, run: RunDirectory, ledger: Ledger) -> None:
    """`NewerVersionError` where a newer jagpt left something that the stage would go on from."""
    try:
        stage.check_kept(run)
    except NewerVersionError as error:
        raise NewerVersionError(error.path, error.found, error.known, ledger.writer) from None


@contextmanager
def _replacing(run: RunDirectory, name: str) -> Iterator[None]:
    """Delete what a forced stage replaces once the block ends well; else say where it is."""
    try:
        yield
    except BaseException as error:
        for old in _replaced(run, name):
            error.add_note(f"{name}: what stood there before --force is kept in {old}")
        raise
    _delete_replaced(run, name)


def _replaced(run: RunDirectory, name: str) -> list[Path]:
    """What forced runs set aside of a stage, this one and killed ones before it."""
    return sorted(run.superseded.glob(f"{name}-*{REPLACED}*"))


def _delete_replaced(run: RunDirectory, name: str) -> None:
    for old in _replaced(run, name):
        files.remove(old)
    if run.superseded.is_dir() and not any(run.superseded.iterdir()):
        files.remove(run.superseded)


def _record_share(run: RunDirectory, state: StageState) -> None:
    """Note in this run where a shared stage stands, and which one it is."""
    if state.shared is None:
        return
    directory = run.own(state.stage.name)
    manifest = Manifest(
        state.stage.name, state.stage.version, state.fingerprint, state.section,
        state.inputs, shared=str(state.shared),
    )  # fmt: skip
    if (directory / MANIFEST).exists() and Manifest.read(directory) == manifest:
        return
    _clear_the_way(run, state.stage.name)
    manifest.write(directory)


def _run_stage(
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    state: StageState,
    progress: Progress,
    *,
    forced: bool,
) -> None:
    stage, name = state.stage, state.stage.name
    directory = run.own(name)
    files.remove_leftovers(directory, below=True)
    if kept := _kept(recipe, run, state):
        progress.say(f"{name}: {kept}: going on from them")
    elif state.status != "unfinished":
        _clear_the_way(run, name, REPLACED if forced else "")
    manifest = Manifest(name, stage.version, state.fingerprint, state.section, state.inputs)
    with _replacing(run, name):
        manifest.begin(directory)
        with timed(ledger, name):
            stage.run(recipe, run, progress)
            for entry in manifest.finish(directory).files:
                path = directory / entry.name
                ledger.times[path.relative_to(run.root).as_posix()] = path.stat().st_mtime_ns


def _kept(recipe: Recipe, run: RunDirectory, state: StageState) -> str | None:
    """Why what a stale stage made is of use; None where it is not."""
    if state.status != "stale":
        return None
    directory = run.own(state.stage.name)
    old = last_made(directory)
    if old is None or (old.version, old.inputs) != (state.stage.version, state.inputs):
        return None
    return state.stage.keeps(recipe, run, old)


def _clear_the_way(run: RunDirectory, name: str, mark: str = "") -> None:
    """Move what stands of a stage to `superseded/`, if anything does."""
    directory = run.own(name)
    if not directory.exists():
        return
    files.remove_leftovers(directory, below=True)
    if any(directory.iterdir()):
        _supersede(run, directory, name, mark)


def _supersede(run: RunDirectory, directory: Path, name: str, mark: str) -> None:
    made = last_made(directory)
    fingerprint = made.fingerprint[:8] if made else "unknown"
    files.move_directory(directory, run.superseded / f"{name}-{fingerprint}{mark}")
