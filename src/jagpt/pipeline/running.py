"""Making the stages that are not done.

What a changed recipe made stale moves to `superseded/`; what was stopped goes on where it stands.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jagpt import files, units
from jagpt.errors import DataError, NewerVersionError, UsageError
from jagpt.files import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline.ledger import Ledger, timed
from jagpt.pipeline.stages import STAGE_NAMES
from jagpt.pipeline.states import StageState, examine, read_progress, settled
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

REPLACED = "-replaced"
"""How the name ends of what `--force` replaces: it goes once the new result is done."""


def fetch_dumps(
    recipe: Recipe, run: RunDirectory, progress: Progress, *, force: bool = False
) -> None:
    """Bring the dumps that the recipe names by wiki and date into the cache, if they are needed."""
    from jagpt.corpus.sources import to_download

    if "corpus" in run.shared or (not force and _made_of(recipe, run.own("corpus"))):
        return
    for source in recipe.corpus.source:
        if to_download(source):
            from jagpt.corpus.download import DUMP_SERVER, fetch, plan_download

            mirror = recipe.execution.mirror or DUMP_SERVER
            plan = plan_download(str(source.wiki), str(source.date), mirror, progress=progress)
            progress.say(f"{source.name}: {units.size(plan.missing)} to download ({plan.origin})")
            fetch(plan, progress)


def _made_of(recipe: Recipe, corpus: Path) -> bool:
    """Whether a finished corpus has the recipe's own sources and settings."""
    if not (corpus / MANIFEST).exists():
        return False
    try:
        return Manifest.read(corpus).section == {"corpus": recipe.corpus.semantic()}
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
    _refuse_early(recipe, [state.stage.name for state in wanting])
    _refuse_newer(run, ledger, wanting)
    for folder in (run.root, run.logs):
        files.remove_leftovers(folder)
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
        _run_stage(recipe, run, ledger, state, progress, forced=name in forced)
        ran.append(name)
    return ran


def chosen(only: str | None, until: str | None) -> tuple[str, ...]:
    """The stages that a command line means; the export is not whole without its formats."""
    if only is not None:
        return (only, "formats") if only == "export" else (only,)
    return STAGE_NAMES[: STAGE_NAMES.index(until) + 1] if until else STAGE_NAMES


def _require_inputs(states: Mapping[str, StageState], names: Sequence[str]) -> None:
    """Stages that run alone need their predecessors done."""
    for name in names:
        for needed in states[name].stage.inputs:
            if needed not in names and not states[needed].done:
                raise UsageError(
                    f"{name} needs {needed}, which is {states[needed].status}: "
                    f"`jagpt run RECIPE --until {name}` makes both"
                )


def _refuse_early(recipe: Recipe, names: Sequence[str]) -> None:
    """Refuse what one of these stages would refuse after hours of other work.

    `MissingExtraError` for a package, `UsageError` for a network that transformers does not have.
    """
    from jagpt.export import formats
    from jagpt.training import trackers

    if "train" in names:
        trackers.check(recipe.execution.trackers)
        _check_network(recipe)
    if "formats" in names:
        for one in formats.chosen(recipe.export.formats):
            one.require()


def _check_network(recipe: Recipe) -> None:
    shape = recipe.model
    if shape.from_ is None and (
        shape.type != "gpt2" or shape.config
    ):  # torch takes seconds to load
        from jagpt.models import build

        build.check_class(shape, recipe.tokenizer.vocab_size)


def _refuse_newer(run: RunDirectory, ledger: Ledger, states: Sequence[StageState]) -> None:
    """`NewerVersionError` where a newer jagpt left something that this one would go on from."""
    for state in states:
        module = importlib.import_module(state.stage.module)
        if state.status != "missing" and hasattr(module, "check_kept"):
            try:
                module.check_kept(run)
            except NewerVersionError as error:
                raise NewerVersionError(
                    error.path, error.found, error.known, ledger.writer
                ) from None


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
        if not any(run.superseded.iterdir()):
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
    name = state.stage.name
    directory = run.own(name)
    module = importlib.import_module(state.stage.module)
    if hasattr(module, "preflight"):  # what it refuses must not cost an earlier result
        module.preflight(recipe, run)
    files.remove_leftovers(directory, below=True)
    if state.status == "stale" and _goes_on(run, state):
        progress.say(f"{name}: {_KEPT[name]}: going on from them")
    elif state.status != "unfinished":
        _clear_the_way(run, name, REPLACED if forced else "")
    manifest = Manifest(name, state.stage.version, state.fingerprint, state.section, state.inputs)
    with _replacing(run, name):
        files.write_json(directory / IN_PROGRESS, _progress_value(manifest))
        files.remove(directory / MANIFEST)
        with timed(ledger, name):
            module.run(recipe, run, progress)
            _finish(directory, manifest, run, ledger)


def _progress_value(manifest: Manifest) -> dict[str, Any]:
    names = ("stage", "version", "fingerprint", "section", "inputs")
    return {name: getattr(manifest, name) for name in names}


def _finish(directory: Path, manifest: Manifest, run: RunDirectory, ledger: Ledger) -> None:
    """Declare the stage done, last of all."""
    listed = files.entries(directory)
    for entry in listed:
        path = directory / entry.name
        ledger.times[path.relative_to(run.root).as_posix()] = path.stat().st_mtime_ns
    Manifest(**{**vars(manifest), "files": listed}).write(directory)
    files.remove(directory / IN_PROGRESS)


_KEPT = {
    "train": "the steps already done stay the same",
    "formats": "the formats already made stay as they are",
}


def _goes_on(run: RunDirectory, state: StageState) -> bool:
    """Whether what a stale stage made is of use.

    Training may go on from checkpoints that were made under another `max_steps`, and a format of
    the same model does not depend on those beside it.
    """
    if state.stage.name not in _KEPT:
        return False
    directory = run.own(state.stage.name)
    try:
        old = Manifest.read(directory)
    except DataError:
        old = read_progress(directory) or Manifest("", 0, "", {}, {})
    if old.version != state.stage.version or old.inputs != state.inputs:
        return False
    if state.stage.name == "formats":
        return True
    from jagpt.models.checkpoint_folder import standing
    from jagpt.tokens.dataset import TokenSplit
    from jagpt.training.plan import continues

    steps = standing(directory)
    if not steps:
        return False
    train_tokens = TokenSplit.open(run.tokens, "train").n_tokens
    return continues(old.section, state.section, steps[-1], train_tokens)


def _clear_the_way(run: RunDirectory, name: str, mark: str = "") -> None:
    """Move what stands of a stage to `superseded/`, if anything does."""
    directory = run.own(name)
    if not directory.exists():
        return
    files.remove_leftovers(directory, below=True)
    if any(directory.iterdir()):
        _supersede(run, directory, name, mark)


def _supersede(run: RunDirectory, directory: Path, name: str, mark: str) -> None:
    try:
        fingerprint = Manifest.read(directory).fingerprint
    except DataError:
        fingerprint = (read_progress(directory) or Manifest("", 0, "unknown", {}, {})).fingerprint
    files.move_directory(directory, run.superseded / f"{name}-{fingerprint[:8]}{mark}")
