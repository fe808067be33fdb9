"""Where each stage stands: done, shared, stale and why, unfinished, missing.

A stage is *done* when its directory's manifest carries the fingerprint that the recipe and the
inputs give today, and its files are there as it lists them. It is *stale* when the fingerprint
differs.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jagpt import files, rundir
from jagpt.errors import DataError, NewerVersionError, StorageError, UsageError
from jagpt.files import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline import stages
from jagpt.pipeline.ledger import Ledger
from jagpt.pipeline.stages import STAGE_NAMES, Stage
from jagpt.recipe import Recipe, Source
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory, is_run
from jagpt.text import shortened

UNREADABLE = "unreadable"
Status = Literal["done", "shared", "stale", "unfinished", "missing"]


@dataclass(frozen=True)
class StageState:
    """Where a stage stands: its fingerprint as it should be, and why it is not done."""

    stage: Stage
    status: Status
    fingerprint: str
    section: dict[str, Any]
    inputs: dict[str, str]
    reasons: tuple[str, ...] = ()
    shared: Path | None = None

    @property
    def done(self) -> bool:
        return self.status in ("done", "shared")


def open_run(recipe: Recipe, root: Path) -> RunDirectory:
    """The run's directory, with the stages that it shares from other runs resolved.

    `DataError` where something in a run, or in a stage that it shares, leads out of it.
    """
    rundir.check(root)
    shared = {}
    for name in ("corpus", "tokenizer", "tokens"):
        origin = getattr(recipe, name).from_ or recipe.tokens.from_  # shared tokens bring theirs
        if origin is not None and (directory := _shared_directory(origin, name)) is not None:
            shared[name] = directory
    return RunDirectory(root, shared)


def _shared_directory(origin: str, name: str) -> Path | None:
    """The stage's directory in the run at `origin`; None where `origin` is no run (a tokenizer)."""
    directory = Path(origin) / STAGE_DIRECTORIES[name]
    a_run = is_run(Path(origin))
    if (directory / MANIFEST).is_file():
        files.check_tree(directory)
        manifest = Manifest.read(directory)
        if manifest.shared is None:
            return directory.resolve()
        if not (Path(manifest.shared) / MANIFEST).is_file():
            raise DataError(
                f"[{name}] from: {origin} shares {manifest.shared}, which is no longer there; "
                "put it back, or name the run that has it now"
            )
        return followed(directory, manifest)[0]
    if name == "tokenizer":
        if a_run:
            raise UsageError(f"[tokenizer] from: the run {origin} has no finished tokenizer")
        return None
    raise UsageError(
        f"[{name}] from: {origin} is no run directory with a finished {name} stage "
        f"(there is no {directory / MANIFEST})"
    )


def followed(directory: Path, manifest: Manifest) -> tuple[Path, Manifest]:
    """A stage's files and manifest: in `directory`, or where its manifest says that it stands.

    `DataError` where that is not the stage that the manifest means.
    """
    if manifest.shared is None:
        return directory, manifest
    place = Path(manifest.shared)
    theirs = Manifest.read(place)
    if (theirs.stage, theirs.fingerprint) != (manifest.stage, manifest.fingerprint):
        raise DataError(
            f"{directory / MANIFEST}: shares {place}, which is another {theirs.stage} stage now; "
            "run the recipe again"
        )
    files.check_tree(place)
    return place, theirs


def examine(
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    until: str | None = None,
    forced: Collection[str] = (),
) -> list[StageState]:
    """The state of every stage in order, up to `until`; nothing is written.

    What stands of a `forced` stage is not looked at: it counts as missing.

    Raises `DataError` where a finished file was altered, `UsageError` where shared stages do not
    belong together.
    """
    recipe, _ = settled(recipe, run, forced)
    states: dict[str, StageState] = {}
    for stage in stages.STAGES[: STAGE_NAMES.index(until) + 1] if until else stages.STAGES:
        states[stage.name] = _examine(stage, recipe, run, ledger, states, forced)
    _check_shared_tokens(run, states)
    return list(states.values())


def settled(
    recipe: Recipe, run: RunDirectory, forced: Collection[str] = ()
) -> tuple[Recipe, dict[str, str]]:
    """The recipe with values where it leaves them to the machine, and by stage what to say of it.

    What a run began with holds, but for a `forced` stage.
    """
    notes = {}
    for stage in stages.STAGES:
        if stage.settling is not None:
            began = None if stage.name in forced else _began(run.own(stage.name))
            module = importlib.import_module(stage.settling)
            recipe, note = module.settle(recipe, began)
            if note is not None:
                notes[stage.name] = note
    return recipe, notes


def _began(directory: Path) -> dict[str, Any] | None:
    """The section under which a stage was begun or made; None where nothing tells."""
    try:
        return Manifest.read(directory).section
    except DataError:
        progress = read_progress(directory)
        return progress.section if progress else None


def _check_shared_tokens(run: RunDirectory, states: Mapping[str, StageState]) -> None:
    """Shared tokens are of use only beside the tokenizer that made them."""
    if "tokens" not in run.shared or "tokens" not in states:
        return
    made_with = Manifest.read(run.shared["tokens"]).inputs.get("tokenizer")
    if made_with != states["tokenizer"].fingerprint:
        raise UsageError(
            f"[tokens] from: {run.shared['tokens']} was made with another tokenizer than this "
            "run's; share that run's tokenizer too ([tokenizer] from), or leave [tokens] from out"
        )


def _examine(
    stage: Stage,
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    before: Mapping[str, StageState],
    forced: Collection[str],
) -> StageState:
    if stage.name in run.shared:
        return _examine_shared(stage, run, ledger)
    section = stage.semantic(recipe)
    inputs = {name: before[name].fingerprint for name in stage.inputs}
    anew = stage.name in forced
    inputs |= _outside_inputs(stage, recipe, run, ledger, anew)
    fingerprint = files.fingerprint_of([stage.name, stage.version, section, inputs])
    if anew:
        return StageState(stage, "missing", fingerprint, section, inputs)
    status, reasons = _status(stage, run, ledger, fingerprint, section, inputs)
    return StageState(stage, status, fingerprint, section, inputs, tuple(reasons))


def _examine_shared(stage: Stage, run: RunDirectory, ledger: Ledger) -> StageState:
    """A stage that stands in another run: its fingerprint is that run's."""
    directory = run.shared[stage.name]
    theirs = Manifest.read(directory)
    _check_version(directory / MANIFEST, theirs, stage, ledger)
    if (problem := _missing_or_resized(directory, theirs)) is not None:
        raise DataError(f"{problem} (the {stage.name} stage is shared from there)")
    inputs = {"shared": theirs.fingerprint}
    return StageState(stage, "shared", theirs.fingerprint, theirs.section, inputs, shared=directory)


def _outside_inputs(
    stage: Stage, recipe: Recipe, run: RunDirectory, ledger: Ledger, anew: bool
) -> dict[str, str]:
    """Content hashes of the files that a stage reads from outside the run."""
    found: dict[str, str] = {}
    if stage.name == "corpus":
        for source in recipe.corpus.source:
            found |= _source_inputs(source, run, ledger, anew)
    elif stage.name == "tokenizer" and recipe.tokenizer.from_ is not None:
        from jagpt.tokenizer.stage import input_files

        paths = input_files(recipe.tokenizer)
        for path in paths:
            found[f"tokenizer {path.name}"] = ledger.hash_input(path)
        if not paths:  # a hub id: its name and revision say what it is
            found["tokenizer hub"] = f"{recipe.tokenizer.from_}@{recipe.tokenizer.revision}"
    elif stage.name == "train" and recipe.model.from_ is not None:
        from jagpt.models import pretrained

        paths = pretrained.input_files(recipe.model)
        for path in paths:
            found[f"model {path.name}"] = ledger.hash_input(path)
        if not paths:
            found["model hub"] = f"{recipe.model.from_}@{recipe.model.revision}"
    return found


def _source_inputs(source: Source, run: RunDirectory, ledger: Ledger, anew: bool) -> dict[str, str]:
    """Content hashes of a source's files; once the corpus is done, they may be gone."""
    from jagpt.corpus.sources import source_files

    key = f"source {source.name} "
    try:
        paths = source_files(source)
    except (DataError, StorageError):
        if anew:
            raise
        directory = run.own("corpus")
        known = Manifest.read(directory).inputs if (directory / MANIFEST).exists() else {}
        found = {name: digest for name, digest in known.items() if name.startswith(key)}
        if not found:
            raise
        return found
    return {f"{key}{number}": ledger.hash_input(path) for number, path in enumerate(paths)}


def _status(
    stage: Stage,
    run: RunDirectory,
    ledger: Ledger,
    fingerprint: str,
    section: dict[str, Any],
    inputs: dict[str, str],
) -> tuple[Status, list[str]]:
    directory = run.own(stage.name)
    if (directory / MANIFEST).exists():
        manifest = _own_manifest(directory, stage.name)
        _check_version(directory / MANIFEST, manifest, stage, ledger)
        if manifest.fingerprint != fingerprint:
            return "stale", _differences(stage, manifest, section, inputs)
        _check_files(directory, manifest, run, ledger)
        return "done", []
    progress = read_progress(directory)
    if progress is None:
        return "missing", []
    _check_version(directory / IN_PROGRESS, progress, stage, ledger)
    if progress.fingerprint == UNREADABLE:
        return "stale", [f"unfinished; {directory / IN_PROGRESS} is damaged"]
    if progress.fingerprint != fingerprint:
        return "stale", ["unfinished", *_differences(stage, progress, section, inputs)]
    return "unfinished", []


def _check_version(path: Path, manifest: Manifest, stage: Stage, ledger: Ledger) -> None:
    if manifest.version > stage.version:
        raise NewerVersionError(path, manifest.version, stage.version, ledger.writer)


def _own_manifest(directory: Path, stage: str) -> Manifest:
    try:
        return Manifest.read(directory)
    except DataError as error:
        raise DataError(f"{error}; {_remedy(stage)}") from None


def read_progress(directory: Path) -> Manifest | None:
    """What an unfinished stage was being made of; None where nothing (readable) stands there."""
    path = directory / IN_PROGRESS
    if not path.exists():
        return None
    try:
        value = files.read_json(path)
        return Manifest(
            str(value["stage"]),
            int(value["version"]),
            str(value["fingerprint"]),
            dict(value["section"]),
            dict(value["inputs"]),
        )
    except (DataError, KeyError, TypeError, ValueError):
        return Manifest("", 0, UNREADABLE, {}, {})


def _differences(
    stage: Stage, old: Manifest, section: dict[str, Any], inputs: dict[str, str]
) -> list[str]:
    """What changed since `old`, for people."""
    found = []
    if old.version != stage.version:
        found.append(f"this jagpt makes it differently (version {old.version} → {stage.version})")
    for name in sorted(section.keys() | old.section.keys()):
        found += _changed_keys(f"[{name}] ", old.section.get(name), section.get(name))
    for name in sorted(inputs.keys() | old.inputs.keys()):
        if old.inputs.get(name) != inputs.get(name):
            found.append(f"{name} changed")
    return found or ["its fingerprint changed"]


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


def _check_files(directory: Path, manifest: Manifest, run: RunDirectory, ledger: Ledger) -> None:
    """Names, sizes and times of a finished stage; content only where the time differs."""
    if (problem := _missing_or_resized(directory, manifest)) is not None:
        raise DataError(f"{problem}; {_remedy(manifest.stage)}")
    for entry in manifest.files:
        path = directory / entry.name
        key = path.relative_to(run.root).as_posix()
        modified = path.stat().st_mtime_ns
        if ledger.times.get(key) == modified:
            continue
        if files.sha256(path) != entry.sha256:
            raise DataError(f"{path}: altered since it was made; {_remedy(manifest.stage)}")
        ledger.times[key] = modified
        ledger.changed = True


def _missing_or_resized(directory: Path, manifest: Manifest) -> str | None:
    for entry in manifest.files:
        path = directory / entry.name
        if not path.is_file():
            return f"{path}: missing, though its manifest lists it"
        if (size := path.stat().st_size) != entry.size:
            return f"{path}: {size:,} bytes, though its manifest lists {entry.size:,}"
    return None


def _remedy(stage: str) -> str:
    return f"put it back, or make the stage anew with `jagpt {stage} RECIPE --force`"
