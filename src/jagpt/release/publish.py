"""Publishing a run: look at the remote, say what will happen, do it, check it."""

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
"""Folder in the run where texts and a clone stand while they are needed."""


@dataclass(frozen=True)
class Outcome:
    """What came of it; `commit` is None where nothing was to be done, or nothing was wanted."""

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

    `tell` gets the plan before anything is sent; with `dry_run` nothing is. The caller holds the
    run's lock. The same call goes on after a break, and does nothing once the revision is there.

    Raises `UsageError` where the run is not finished, the revision stands for other files, or a
    tool or a token is missing; `DataError` for files that are not as they were made; `StorageError`
    where the remote refuses or breaks off.
    """
    workshop = run.root / WORKSHOP
    files.remove(workshop)  # of an attempt that was killed
    files.make_directory(workshop)
    try:
        with _remote(destination, workshop, public, progress) as remote:
            history = remote.history()
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
