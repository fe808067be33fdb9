"""Restores finished stages and checkpoints that match the recipe's fingerprints.

The place may belong to a stranger: names stay in their folder, sizes and SHA-256 are checked, and
nothing is put in place before it is complete. Files that arrived are kept when the rest fails.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from jagpt import files, manifests, stages, units
from jagpt.errors import DataError, JagptError, StorageError, UsageError
from jagpt.manifests import FileEntry, Manifest
from jagpt.models.checkpoint_folder import standing, step_name
from jagpt.pipeline import Ledger, StageState, chosen, keeping, open_run, superseded
from jagpt.pipeline.states import as_done, examine_stage, last_made
from jagpt.progress import Bar, Progress
from jagpt.recipe import Recipe, parse
from jagpt.remote.copies import Copy, stage_keys, step_keys
from jagpt.remote.store import Store
from jagpt.rundir import RECIPE, TAKEN, RunDirectory
from jagpt.stage import Stage
from jagpt.stages import TRAIN
from jagpt.training import checkpoints

MAX_RECIPE_BYTES = 1024**2


def pull(place: str, root: Path, progress: Progress) -> tuple[list[str], list[str]]:
    """Restore the run that was copied to `place` in the folder `root`.

    Returns what was restored, and what could not be because it is damaged there.
    `DataError` if there is none, `UsageError` if `root` holds another run, or what is not jagpt's.
    """
    store = Store(place)
    raw = store.read(RECIPE, MAX_RECIPE_BYTES)
    if raw is None:
        raise DataError(f"{store.place}: no run was copied there (it has no {RECIPE})")
    recipe = parse(raw, origin=store.where(RECIPE))
    run = open_run(recipe, root)
    text = recipe.to_toml()
    if run.recipe.exists() and run.recipe.read_bytes() != text.encode("utf-8"):
        raise UsageError(
            f"{root}: this folder holds a run of another recipe; choose another folder"
        )
    with files.locked(root):
        ledger = Ledger.read(run)
        taker = Taker(recipe, run, store, ledger, progress)
        keeping.refuse_foreign(recipe, run, chosen(None, None))
        files.write_text(run.recipe, text)
        taken = taker.take()
        ledger.write()
    return taken, taker.damaged


class Taker:
    """Restores what a run lacks and `store` has; the caller holds the run's lock.

    `damaged` is what it could not restore, for which there is nothing else there.
    """

    def __init__(
        self, recipe: Recipe, run: RunDirectory, store: Store, ledger: Ledger, progress: Progress
    ) -> None:
        self._recipe, self._run, self._store = recipe, run, store
        self._ledger, self._progress = ledger, progress
        self._keys = store.names()
        self.damaged: list[str] = []

    def take(self, until: str | None = None, forced: Collection[str] = ()) -> list[str]:
        """Restore what fits, up to a stage, and nothing of a `forced` one; returns what was
        restored. `UsageError` if what is not jagpt's is in the way.
        """
        keeping.refuse_foreign(self._recipe, self._run, chosen(None, until), forced)
        states: dict[str, StageState] = {}
        taken = []
        for stage in stages.STAGES:
            if stage.name in forced:
                break
            state = self._here(stage, states)
            if state is None or state.status in ("missing", "unfinished"):
                found = self._fitting(stage, states)
                if found is not None:
                    state, copies = found
                    taken += [what for copy in copies if (what := self._brought(stage, copy))]
            if state is None or stage.name == until:  # what follows depends on it
                break
            states[stage.name] = state
        files.remove(self._run.root / TAKEN)
        return taken

    def _here(self, stage: Stage, states: dict[str, StageState]) -> StageState | None:
        """The state of the stage here; None if its sources are missing here, or unfit."""
        made = last_made(self._run.own(stage.name))
        recipe, _ = stage.settle(self._recipe, made.section if made else None)
        try:
            return examine_stage(stage, recipe, self._run, self._ledger, states)
        except JagptError:
            return None

    def _fitting(
        self, stage: Stage, states: dict[str, StageState]
    ) -> tuple[StageState, list[Copy]] | None:
        """What is there for this recipe: the whole stage, or its checkpoints."""
        unread: list[str] = []
        for key in stage_keys(self._keys, stage):
            copy = self._read(key, stage.name, unread)
            if copy and (state := self._fits(stage, copy, states)):
                return state, [copy]
        found = self._checkpoints(states, unread) if stage is TRAIN else None
        self.damaged += dict.fromkeys(unread)
        return found

    def _checkpoints(
        self, states: dict[str, StageState], unread: list[str]
    ) -> tuple[StageState, list[Copy]] | None:
        """The checkpoints for this recipe that come after those here; `unread` gets the damaged."""
        found: list[Copy] = []
        fitting: StageState | None = None
        here = max(standing(self._run.own(TRAIN.name)), default=0)
        for step, key in step_keys(self._keys).items():
            copy = self._read(key, _called(TRAIN, step), unread if step > here else [])
            if copy and (state := self._fits(TRAIN, copy, states)):
                fitting = state
                if step > here:
                    found.append(copy)
        return None if fitting is None else (fitting, found)

    def _read(self, key: str, what: str, unread: list[str]) -> Copy | None:
        try:
            return Copy.read(self._store, key)
        except DataError as error:
            self._progress.say(f"warning: {error}; it is skipped")
            unread.append(what)
            return None

    def _fits(self, stage: Stage, copy: Copy, states: dict[str, StageState]) -> StageState | None:
        theirs = copy.manifest
        if theirs.stage != stage.name or theirs.version != stage.version:
            return None
        recipe, _ = stage.settle(self._recipe, theirs.section)
        try:
            state = as_done(stage, recipe, self._ledger, states, theirs.inputs)
        except (JagptError, KeyError):  # sources that are missing here and different ones there
            return None
        return state if state.fingerprint == theirs.fingerprint else None

    def _brought(self, stage: Stage, copy: Copy) -> str | None:
        """Restore a copy; None, with a warning, if the remote copy is damaged."""
        what = _called(stage, copy.step)
        try:
            with self._progress.bar(f"{what} from {self._store.place}", copy.size, "bytes") as bar:
                self._bring(stage, copy, bar)
        except DataError as error:
            self._progress.say(f"warning: {error}; the {what} is not restored")
            self.damaged.append(what)
            return None
        return what

    def _bring(self, stage: Stage, copy: Copy, bar: Bar) -> None:
        own, place = self._run.own(stage.name), self._run.root / TAKEN / copy.folder
        inner = place if copy.step is None else place / step_name(copy.step)
        self._check_space(copy)
        for entry in copy.manifest.files:
            self._fetch(copy.file_key(entry), entry, place / entry.name, bar)
        found = manifests.list_files(inner)
        listed = [(inner / name).relative_to(place).as_posix() for name in found]
        if sorted(listed) != sorted(entry.name for entry in copy.manifest.files):
            raise DataError(f"{self._store.where(copy.key)}: it lists what is not part of it")
        if copy.step is not None:
            checkpoints.read(inner)
        unfinished = Manifest.unfinished(own)
        if copy.step is None or unfinished is None:
            superseded.set_aside(self._run, stage, self._ledger)
            files.remove(own)  # an empty folder
        self._bring_logs(stage, copy, bar)  # now, as those from before were set aside too
        if copy.step is None:
            copy.manifest.write(inner)
            files.move(inner, own)
            self._note(stage, copy, own)
            return
        if unfinished is None:
            copy.manifest.begin(own)
        files.move(inner, own / inner.name)

    def _fetch(self, key: str, entry: FileEntry, path: Path, bar: Bar) -> None:
        """Download a file, unless that was done before."""
        try:
            there = path.stat().st_size == entry.size and files.sha256(path) == entry.sha256
        except (FileNotFoundError, NotADirectoryError):
            there = False
        if there:
            bar.advance(entry.size)
        else:
            self._store.fetch(key, entry, path, bar.advance)

    def _bring_logs(self, stage: Stage, copy: Copy, bar: Bar) -> None:
        """The stage's logs, if they are complete there; they are not part of the result."""
        for entry in copy.logs:
            if entry.name.split("/")[0] not in stage.logs:
                continue
            path = self._run.logs / entry.name
            try:
                self._store.fetch(copy.log_key(entry), entry, path, bar.advance)
            except DataError as error:
                self._progress.say(f"warning: {error}; this log is not restored")

    def _note(self, stage: Stage, copy: Copy, own: Path) -> None:
        """What the ledger would know of a stage that was made here."""
        for entry in copy.manifest.files:
            path = own / entry.name
            key = path.relative_to(self._run.root).as_posix()
            self._ledger.times[key] = path.stat().st_mtime_ns
        if copy.time is not None:
            self._ledger.stages[stage.name] = copy.time
        self._ledger.changed = True

    def _check_space(self, copy: Copy) -> None:
        files.make_directory(self._run.root)
        free = shutil.disk_usage(self._run.root).free
        if copy.size > free:
            raise StorageError(
                f"{self._run.root}: {units.size(copy.size)} to restore from "
                f"{self._store.place}, but only {units.size(free)} are free; free some space"
            )


def _called(stage: Stage, step: int | None) -> str:
    return stage.name if step is None else f"checkpoint of step {step:,}"
