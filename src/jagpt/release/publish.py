"""Publishing a run: inspect the remote, print what will happen, do it, check it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jagpt import files
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.release import assemble
from jagpt.release.destination import Destination
from jagpt.release.git import GitRemote
from jagpt.release.hub import HubRemote
from jagpt.release.publication import PublicationPlan
from jagpt.rundir import RunDirectory

WORKSHOP = ".publishing"
"""Folder in the run for texts and a clone, while they are needed."""


@dataclass(frozen=True)
class Outcome:
    """The outcome; `commit` is None if there was nothing to do, or with `dry_run`."""

    plan: PublicationPlan
    commit: str | None


def publish(
    recipe: Recipe,
    run: RunDirectory,
    destination: Destination,
    progress: Progress,
    *,
    public: bool = False,
    dry_run: bool = False,
    tell: Callable[[PublicationPlan], None] = lambda plan: None,
) -> Outcome:
    """Send the finished release (or, to `hub-dataset`, the corpus) to a remote as a new revision.

    `tell` is called with the plan before anything is sent; with `dry_run` nothing is sent. The
    caller holds the run's lock. If interrupted, the same call continues; it does nothing once the
    revision is there.

    Raises `UsageError` if the run is not finished, the revision already has other files, or
    a tool or a token is missing; `DataError` for files that have changed since they were made;
    `StorageError` if the remote refuses or breaks off.
    """
    workshop = run.root / WORKSHOP
    files.remove(workshop)  # of an attempt that was killed
    files.make_directory(workshop)
    try:
        with _remote(destination, workshop, public, progress) as remote:
            history = remote.history(assemble.revision(recipe, run))
            folder = workshop / "texts"
            if destination.is_dataset:
                publication = assemble.dataset(recipe, run, history, folder, destination.place)
            else:
                publication = assemble.model(recipe, run, history, folder, remote.place)
            plan = remote.plan(publication, history)
            tell(plan)
            commit = None if dry_run or plan.done else remote.publish(publication, plan)
            return Outcome(plan, commit)
    finally:
        files.remove(workshop)


def _remote(
    destination: Destination, workshop: Path, public: bool, progress: Progress
) -> GitRemote | HubRemote:
    if destination.kind == "git":
        return GitRemote(destination.place, workshop, progress)
    return HubRemote(destination, public, progress)
