"""Checking a run against its manifests, and deleting what was superseded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jagpt import files, manifests
from jagpt.errors import DataError
from jagpt.manifests import IN_PROGRESS, MANIFEST, Manifest
from jagpt.pipeline.states import followed, is_foreign
from jagpt.progress import Progress
from jagpt.rundir import TEACHERS, RunDirectory
from jagpt.stages import STAGE_NAMES


@dataclass(frozen=True)
class Verified:
    """What `verify` found in one stage, or in one of the teachers that a run trained itself."""

    stage: str
    files: int
    problems: tuple[str, ...]


def verify(run: RunDirectory, progress: Progress) -> list[Verified]:
    """Hash every file of every finished stage against its manifest; tell which stage lost that.

    The run's own teachers, each a run of its own, follow as `teachers/1` and so on.
    """
    found = []
    for name in STAGE_NAMES:
        directory = run.own(name)
        if (directory / MANIFEST).exists():
            directory, manifest = followed(directory, Manifest.read(directory))
            found.append(_verify_stage(name, directory, manifest, progress))
        elif name not in run.shared and (problem := _lost(run, name)) is not None:
            found.append(Verified(name, 0, (problem,)))
    for place in sorted((run.root / TEACHERS).glob("*")):
        directory = RunDirectory(place).own("train")
        if (directory / MANIFEST).exists():
            found.append(_verify_teacher(f"{TEACHERS}/{place.name}", directory, progress))
    return found


def _lost(run: RunDirectory, name: str) -> str | None:
    """What shows that a stage without a manifest was finished once; None if nothing does."""
    directory = run.own(name)
    if is_foreign(directory):
        return f"{directory / MANIFEST}: missing, though there are files beside it"
    if (directory / IN_PROGRESS).exists():
        return None
    for later in map(run.own, STAGE_NAMES[STAGE_NAMES.index(name) + 1 :]):
        if (later / MANIFEST).exists() and name in Manifest.read(later).inputs:
            return f"{directory}: missing, though {later} was made from it"
    return None


def _verify_teacher(name: str, directory: Path, progress: Progress) -> Verified:
    try:
        manifest = Manifest.read(directory)
    except DataError:  # training makes it again; no stage is to be forced
        return Verified(name, 0, (f"{directory / MANIFEST}: damaged",))
    return _verify_stage(name, directory, manifest, progress)


def _verify_stage(name: str, directory: Path, manifest: Manifest, progress: Progress) -> Verified:
    problems = []
    with progress.bar(f"verify {name}", len(manifest.files), "files") as bar:
        for entry in manifest.files:
            path = directory / entry.name
            if not path.is_file():
                problems.append(f"{path}: missing")
            elif path.stat().st_size != entry.size or files.sha256(path) != entry.sha256:
                problems.append(f"{path}: not as its manifest lists it")
            bar.advance()
    listed = {entry.name for entry in manifest.files}
    problems += [
        f"{directory / extra}: not in the manifest"
        for extra in manifests.list_files(directory)
        if extra not in listed
    ]
    return Verified(name, len(manifest.files), tuple(problems))


def clean(run: RunDirectory, *, dry_run: bool = False) -> list[tuple[Path, int]]:
    """Delete superseded stages; (folder, bytes) of each."""
    found = [(path, directory_size(path)) for path in sorted(run.superseded.glob("*"))]
    if not dry_run:
        files.remove_leftovers(run.root)
        files.remove(run.superseded)
    return found


def directory_size(directory: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
