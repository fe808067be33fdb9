"""The state of each stage: done, shared, stale and why, unfinished, missing.

A stage is *done* when its directory's manifest carries the fingerprint that the recipe and the
inputs give today, and its files are there as it lists them. It is *stale* when the fingerprint
differs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal

from jagpt import files, rundir, stages
from jagpt.errors import DataError, JagptError, NewerVersionError, UsageError
from jagpt.manifests import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline.ledger import Ledger
from jagpt.recipe import Recipe
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory, is_run
from jagpt.stage import Stage
from jagpt.stages import STAGE_NAMES
from jagpt.text import Said, is_text, shortened

Status = Literal["done", "shared", "stale", "unfinished", "missing"]


@dataclass(frozen=True)
class StageState:
    """The state of a stage: the fingerprint it should have, and why it is not done."""

    stage: Stage
    status: Status
    fingerprint: str
    section: dict[str, Any]
    inputs: dict[str, str]
    reasons: tuple[str, ...] = ()
    shared: Path | None = None

    @property
    def manifest(self) -> Manifest:
        """What the stage is to be made from."""
        stage = self.stage
        return Manifest(stage.name, stage.version, self.fingerprint, self.section, self.inputs)

    @property
    def done(self) -> bool:
        return self.status in ("done", "shared")


def open_run(recipe: Recipe, root: Path) -> RunDirectory:
    """The run's directory, with the stages that it shares from other runs resolved.

    `DataError` if something in a run, or in a stage that it shares, leads outside, `UsageError` for
    a name that libraries cannot open.
    """
    if not is_text(str(root)):
        raise UsageError(
            f"{root}: the name of a run directory must be valid UTF-8; rename it, or choose another"
        )
    rundir.check(root)
    shared = {}
    for stage in stages.STAGES:
        origin = stage.shared_from(recipe)
        if origin is not None and (directory := _shared_directory(origin, stage)) is not None:
            shared[stage.name] = directory
    return RunDirectory(root, shared)


def _shared_directory(origin: str, stage: Stage) -> Path | None:
    """The stage's directory in the run at `origin`; None if it is not a run but acceptable."""
    directory = Path(origin) / STAGE_DIRECTORIES[stage.name]
    a_run = is_run(Path(origin))
    if (directory / MANIFEST).is_file():
        files.check_tree(directory)
        manifest = Manifest.read(directory)
        if manifest.shared is None:
            return directory.resolve()
        if not (Path(manifest.shared) / MANIFEST).is_file():
            raise DataError(
                f"[{stage.name}] from: {origin} shares {manifest.shared}, which is gone; put "
                "it back, or name the run that has it now"
            )
        return followed(directory, manifest)[0]
    if not a_run and stage.takes(origin):
        return None
    raise UsageError(
        f"[{stage.name}] from: {origin} is not a run directory with a finished {stage.name} stage "
        f"(there is no {directory / MANIFEST})"
    )


def followed(directory: Path, manifest: Manifest) -> tuple[Path, Manifest]:
    """A stage's files and manifest: in `directory`, or where its manifest says they are.

    `DataError` if that is not the stage that the manifest means.
    """
    if manifest.shared is None:
        return directory, manifest
    place = Path(manifest.shared)
    theirs = Manifest.read(place)
    if (theirs.stage, theirs.fingerprint) != (manifest.stage, manifest.fingerprint):
        raise DataError(
            f"{directory / MANIFEST}: shares {place}, which is a different {theirs.stage} stage "
            "now; run the recipe again"
        )
    files.check_tree(place)
    return place, theirs


def examine(
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    until: str | None = None,
    forced: Collection[str] = (),
    *,
    check_files: bool = True,
) -> list[StageState]:
    """The state of every stage in order, up to `until`; nothing is written.

    A `forced` stage is not examined: it counts as missing. The files of finished
    stages are checked, unless that is not asked for.

    Raises `DataError` if a finished file was altered, `UsageError` if shared stages do not
    belong together.
    """
    recipe, _ = settled(recipe, run, forced)
    states: dict[str, StageState] = {}
    for stage in stages.STAGES[: STAGE_NAMES.index(until) + 1] if until else stages.STAGES:
        found = examine_stage(stage, recipe, run, ledger, states, forced)
        if check_files and found.status == "done":
            _check_files(stage, Manifest.read(run.own(stage.name)), run, ledger)
        states[stage.name] = found
    for name in run.shared.keys() & states.keys():
        _check_shared(states[name].stage, run.shared[name], states)
    return list(states.values())


def settled(
    recipe: Recipe, run: RunDirectory, forced: Collection[str] = ()
) -> tuple[Recipe, dict[str, str]]:
    """The recipe with values for what it leaves to the machine, and, by stage, what to say about
    them.

    What a run began with is kept, except for a `forced` stage. A stage that cannot run here has
    nothing to choose.
    """
    notes = {}
    for stage in filter(attrgetter("installed"), stages.STAGES):
        began = None if stage.name in forced else _began(run.own(stage.name))
        recipe, note = stage.settle(recipe, began)
        if note is not None:
            notes[stage.name] = note
    return recipe, notes


def _began(directory: Path) -> dict[str, Any] | None:
    """The section with which a stage was begun or made; None if unknown."""
    made = last_made(directory)
    return made.section if made else None


def is_wanted(
    recipe: Recipe,
    run: RunDirectory,
    stage: Stage,
    ledger: Ledger,
    last: str | None = None,
    forced: Collection[str] = (),
) -> bool:
    """Whether a stage is among those up to `last`, and not done."""
    found = examine(recipe, run, ledger, last, forced)
    return any(state.stage is stage and not state.done for state in found)


def as_it_stands(recipe: Recipe, run: RunDirectory, ledger: Ledger | None = None) -> RunDirectory:
    """The run with its stale stages marked; none if that cannot be determined."""
    try:
        states = examine(recipe, run, ledger or Ledger.read(run), check_files=False)
    except JagptError:
        return run
    stale = {state.stage.name: state.reasons for state in states if state.status == "stale"}
    return replace(run, stale=stale)


def as_made(
    recipe: Recipe,
    run: RunDirectory,
    until: str,
    ledger: Ledger | None = None,
    forced: Collection[str] = (),
) -> RunDirectory:
    """The run with every stage up to `until` marked as stale that is not finished for this recipe,
    or of which that cannot be told; what they are made from is hashed only if one is finished.
    """
    asked = stages.STAGES[: STAGE_NAMES.index(until) + 1]
    stale: dict[str, Sequence[str]] = {stage.name: () for stage in asked}
    states: dict[str, StageState] = {}
    if any((run.stage(name) / MANIFEST).exists() for name in stale):
        ledger = ledger or Ledger.read(run)
        with suppress(JagptError):  # told by who needs the stage
            for stage in asked:
                found = examine_stage(stage, recipe, run, ledger, states, forced)
                states[stage.name] = found
                if found.done:
                    del stale[stage.name]
    return replace(run, stale=stale)


def _check_shared(stage: Stage, place: Path, states: Mapping[str, StageState]) -> None:
    """Some shared results, such as tokens, are only usable with what they were made with."""
    for needed in stage.shared_with:
        if Manifest.read(place).inputs.get(needed) != states[needed].fingerprint:
            raise UsageError(
                f"[{stage.name}] from: {place} was made with a different {needed} than this run's; "
                f"share that run's {needed} too ([{needed}] from), or leave [{stage.name}] from out"
            )


def examine_stage(
    stage: Stage,
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    before: Mapping[str, StageState],
    forced: Collection[str] = (),
) -> StageState:
    """The state of one stage, given those `before` it; its files are not checked."""
    if stage.name in run.shared:
        return _examine_shared(stage, run, ledger)
    anew = stage.name in forced
    manifest = None if anew else _own_manifest(stage, run, ledger)
    found = as_done(stage, recipe, ledger, before, manifest.inputs if manifest else {})
    if anew:
        return replace(found, status="missing")
    if manifest is None:
        return _unfinished(found, run, ledger)
    if manifest.fingerprint != found.fingerprint:
        return replace(found, status="stale", reasons=_differences(found, manifest))
    return found


def as_done(
    stage: Stage,
    recipe: Recipe,
    ledger: Ledger,
    before: Mapping[str, StageState],
    known: Mapping[str, str],
) -> StageState:
    """The state of a stage that has been made; `known` is what an earlier result was made from."""
    section = stage.semantic(recipe)
    inputs = {name: before[name].fingerprint for name in stage.needs}
    inputs |= stage.outside(recipe, ledger.hash_input, known)
    fingerprint = files.fingerprint_of([stage.name, stage.version, section, inputs])
    return StageState(stage, "done", fingerprint, section, inputs)


def _examine_shared(stage: Stage, run: RunDirectory, ledger: Ledger) -> StageState:
    """A stage shared from another run: its fingerprint is that run's."""
    directory = run.shared[stage.name]
    theirs = Manifest.read(directory)
    _check_version(directory / MANIFEST, theirs, stage, ledger)
    if (problem := theirs.problem(directory)) is not None:
        raise DataError(f"{problem} (the {stage.name} stage is shared from there)")
    inputs = {"shared": theirs.fingerprint}
    return StageState(stage, "shared", theirs.fingerprint, theirs.section, inputs, shared=directory)


def _unfinished(found: StageState, run: RunDirectory, ledger: Ledger) -> StageState:
    """The state of a stage without a manifest."""
    directory = run.own(found.stage.name)
    try:
        progress = Manifest.unfinished(directory)
    except DataError:
        reason = Said("unfinished; {path} is damaged", path=directory / IN_PROGRESS)
        return replace(found, status="stale", reasons=(reason,))
    if progress is None:
        return replace(found, status="missing")
    _check_version(directory / IN_PROGRESS, progress, found.stage, ledger)
    if progress.fingerprint != found.fingerprint:
        reasons = (Said("unfinished"), *_differences(found, progress))
        return replace(found, status="stale", reasons=reasons)
    return replace(found, status="unfinished")


def _check_version(path: Path, manifest: Manifest, stage: Stage, ledger: Ledger) -> None:
    if manifest.version > stage.version:
        raise NewerVersionError(path, manifest.version, stage.version, ledger.writer)


def _own_manifest(stage: Stage, run: RunDirectory, ledger: Ledger) -> Manifest | None:
    """The manifest of the finished stage in this run; one that only points to another run does not
    count.
    """
    directory = run.own(stage.name)
    if not (directory / MANIFEST).exists():
        return None
    try:
        manifest = Manifest.read(directory)
    except DataError as error:
        raise DataError(f"{error}: {_rerun(stage)}") from None
    _check_version(directory / MANIFEST, manifest, stage, ledger)
    return None if manifest.shared else manifest


def last_made(directory: Path) -> Manifest | None:
    """What the files there are, or were being, made from; None if unknown."""
    for read in (Manifest.read, Manifest.unfinished):
        with suppress(DataError):
            return read(directory)
    return None


def is_foreign(directory: Path) -> bool:
    """Whether what is in a stage's folder is not jagpt's, which notes what it begins before it
    writes anything else.
    """
    if not directory.is_dir() or any((directory / n).exists() for n in (MANIFEST, IN_PROGRESS)):
        return False
    names = (path.name for path in directory.iterdir())
    return any(not name.startswith(files.STAGING_PREFIX) for name in names)


def _differences(state: StageState, old: Manifest) -> tuple[str, ...]:
    """What changed since `old`, in words."""
    found: list[str] = []
    stage, section = state.stage, state.section
    if old.version != stage.version:
        form = "this jagpt makes it differently (version {old} → {new})"
        found.append(Said(form, old=old.version, new=stage.version))
    for name in sorted(section.keys() | old.section.keys()):
        found += _changed_keys(f"[{name}] ", old.section.get(name), section.get(name))
    found += changed_inputs(old.inputs, state.inputs)
    return tuple(found) or (Said("its fingerprint changed"),)


def changed_inputs(old: Mapping[str, str], new: Mapping[str, str]) -> list[Said]:
    """Which inputs have another fingerprint, in words."""
    names = sorted(old.keys() | new.keys())
    return [Said("{input} changed", input=name) for name in names if old.get(name) != new.get(name)]


def _changed_keys(place: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            before, now = old.get(key), new.get(key)
            if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
                for number, pair in enumerate(zip(before, now, strict=True)):
                    yield from _changed_keys(f"{place}{key}.{number}.", *pair)
            elif before != now:
                yield f"{place}{key}: {_plain(before)} → {_plain(now)}"
    elif old != new:
        yield f"{place.strip(' .')}: {_plain(old)} → {_plain(new)}"


def _plain(value: Any) -> str:
    text = "none" if value is None else str(value)
    return shortened(text, 40)


def _check_files(stage: Stage, manifest: Manifest, run: RunDirectory, ledger: Ledger) -> None:
    """Names, sizes and times of a finished stage; content only where the time differs."""
    directory = run.own(stage.name)
    if (problem := manifest.problem(directory)) is not None:
        raise DataError(f"{problem}; {_remedy(stage)}")
    for entry in manifest.files:
        path = directory / entry.name
        key = path.relative_to(run.root).as_posix()
        modified = path.stat().st_mtime_ns
        if ledger.times.get(key) == modified:
            continue
        if files.sha256(path) != entry.sha256:
            raise DataError(f"{path}: changed since it was made; {_remedy(stage)}")
        ledger.times[key] = modified
        ledger.changed = True


def _remedy(stage: Stage) -> str:
    return f"put it back, or rerun the stage with {_rerun(stage)}"


def _rerun(stage: Stage) -> str:
    return f"`jagpt {stage.verb or stage.name} RECIPE --force`"
