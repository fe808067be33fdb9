"""What is copied to the remote place, and its layout there.

    recipe.toml                    the run's, as last resolved
    lease/00000003.json            who writes there (`lease`)
    corpus-4f1c…/train-00000.parquet.9b2e…    a file, with the beginning of its SHA-256
                 copy.json         what the finished stage is, written last
    train-7d73…/step-00000100/…    the same of a checkpoint

A name identifies the content, so that nothing is written twice and no writer destroys what another
one wrote. Anything without a `copy.json` was not copied completely, and does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from jagpt import files, stages
from jagpt.errors import DataError
from jagpt.manifests import MANIFEST, FileEntry, Manifest
from jagpt.models.checkpoint_folder import STATE, standing, step_name
from jagpt.pipeline import Ledger
from jagpt.pipeline.states import last_made
from jagpt.records import plain, restored
from jagpt.remote.store import LocalFileError, Store, Tick
from jagpt.rundir import RECIPE, RunDirectory
from jagpt.stage import Stage
from jagpt.stages import TRAIN
from jagpt.timing import StageTime
from jagpt.training.state import SavedState

VERSION = 1
COPY = "copy.json"
MAX_LOG_BYTES = 256 * 1024**2
_NAME = re.compile(r"([a-z]+)-([0-9a-f]{16})/(?:step-([0-9]{8,18})/)?copy\.json")


@dataclass(frozen=True)
class Copy:
    """A finished stage, or the checkpoint of a `step`, as copied elsewhere with its logs."""

    manifest: Manifest
    step: int | None = None
    logs: tuple[FileEntry, ...] = ()
    time: StageTime | None = None

    @property
    def key(self) -> str:
        return key_of(self.manifest, self.step)

    @property
    def folder(self) -> str:
        return _folder(self.manifest)

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(entry.size for entry in self.manifest.files)

    def file_key(self, entry: FileEntry) -> str:
        return f"{self.folder}/{entry.name}.{entry.sha256[:16]}"

    def log_key(self, entry: FileEntry) -> str:
        return f"{self.key.removesuffix(COPY)}logs/{entry.name}.{entry.sha256[:16]}"

    def to_bytes(self, token: int) -> bytes:
        """The JSON form; `token` is the writer's."""
        value = {
            "version": VERSION,
            "token": token,
            "step": self.step,
            "manifest": self.manifest.as_json(),
            "logs": plain(self.logs),
            "time": plain(self.time),
        }
        return json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8")

    @classmethod
    def read(cls, store: Store, key: str) -> Copy | None:
        """The copy at a key, None if there is none; `DataError` if it does not make sense."""
        raw = store.read(key, files.MAX_JSON_BYTES)
        if raw is None:
            return None
        where = store.where(key)
        try:
            value = json.loads(raw)
            files.check_version(where, value.get("version"), VERSION)
            manifest = Manifest.of(value["manifest"], where)
            listed = {**value["manifest"], "files": value["logs"]}
            logs = Manifest.of(listed, where).files  # checked there
            step = restored(int | None, value["step"])
            time = restored(StageTime | None, value["time"])
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DataError(f"{where}: this copy is damaged ({type(error).__name__})") from None
        found = cls(manifest, step, logs, time)
        if found.key != key or manifest.shared:
            raise DataError(f"{where}: this copy belongs to another place")
        return found


def _folder(manifest: Manifest) -> str:
    return f"{manifest.stage}-{manifest.fingerprint[:16]}"


def key_of(manifest: Manifest, step: int | None = None) -> str:
    """The key of the copy of a stage, or of its checkpoint."""
    inner = "" if step is None else f"{step_name(step)}/"
    return f"{_folder(manifest)}/{inner}{COPY}"


def stage_keys(keys: Collection[str], stage: Stage) -> list[str]:
    """Of these keys, those of copies of the finished stage, with any fingerprint."""
    found = ((key, _NAME.fullmatch(key)) for key in keys)
    return sorted(key for key, match in found if match and match[1] == stage.name and not match[3])


def step_keys(keys: Collection[str], manifest: Manifest | None = None) -> dict[int, str]:
    """Of these keys, those of checkpoints, by step; only of one training if it is given."""
    folder = None if manifest is None else f"{_folder(manifest)}/"
    found = ((key, _NAME.fullmatch(key)) for key in keys)
    matches = ((key, match) for key, match in found if match and match[3])
    return dict(
        sorted((int(match[3]), key) for key, match in matches if key.startswith(folder or ""))
    )


def whole(
    keys: Collection[str], manifest: Manifest, directory: Path, step: int | None = None
) -> bool:
    """Whether these keys are those of a complete copy of a stage, or of its checkpoint.

    `directory` says which files a checkpoint has; one that it does not have, or not intact, counts
    as complete with its `copy.json`.
    """
    if key_of(manifest, step) not in keys:
        return False
    entries = manifest.files
    if step is not None:
        entries = ()
        with suppress(DataError, OSError):  # deleted or damaged here
            folder = directory / step_name(step)
            sums = _sums(folder).items()
            entries = tuple(FileEntry(f"{folder.name}/{name}", 0, digest) for name, digest in sums)
    copy = Copy(manifest, step)
    return all(copy.file_key(entry) in keys for entry in entries)


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of a checkpoint's files by name, as its state has them, and of the state itself."""
    return {**SavedState.read(folder).files, STATE: files.sha256(folder / STATE)}


@dataclass(frozen=True)
class Item:
    """Something to copy: a finished stage, or a checkpoint of an unfinished one."""

    stage: Stage
    step: int | None
    key: str

    def __str__(self) -> str:
        return self.stage.name if self.step is None else f"the checkpoint of step {self.step:,}"


class Sender:
    """Copies what the remote place lacks of a run, and deletes checkpoints there that were deleted
    here.

    `may_write` raises where another machine has taken over; `token` is this writer's.
    """

    def __init__(self, run: RunDirectory, store: Store, may_write: Callable[[], int]) -> None:
        self.there = set(store.names())
        self._run, self._store, self._may_write = run, store, may_write
        self._recipe: bytes | None = None
        self._unfit: set[str] = set()
        """Local damage: it is reported once."""

    def outstanding(self, *, newest_first: bool = False) -> list[Item]:
        """What is missing there; checkpoints in order, so that what they refer to is there."""
        found = [item for item in self.missing() if item.key not in self._unfit]
        if newest_first:
            found.sort(key=lambda item: -1 if item.step is None else item.step, reverse=True)
        return found

    def missing(self) -> list[Item]:
        """What is missing there, including what is damaged here."""
        return [
            item
            for item, made in _standing(self._run)
            if not whole(self.there, made, self._run.own(item.stage.name), item.step)
        ]

    def sized(self, item: Item) -> int:
        """Bytes of an item's files."""
        directory = self._run.own(item.stage.name)
        if item.step is None:
            return sum(entry.size for entry in Manifest.read(directory).files)
        folder = directory / step_name(item.step)
        return sum(path.stat().st_size for path in folder.iterdir())

    def send(self, item: Item, tick: Tick) -> None:
        """Copy an item: its files, then its `copy.json`. `LocalFileError` if it was deleted or is
        damaged.
        """
        directory = self._run.own(item.stage.name)
        self._may_write()
        try:
            if item.step is None:
                self._send(item, Manifest.read(directory), directory, tick)
            else:
                self._send_checkpoint(item, directory / step_name(item.step), tick)
        except (FileNotFoundError, DataError) as error:
            if item in self.missing():  # otherwise it was merely deleted
                self._unfit.add(item.key)
            said = error if isinstance(error, DataError) else f"{item}: incomplete"
            raise LocalFileError(f"{said}; it is not copied") from None

    def _send_checkpoint(self, item: Item, place: Path, tick: Tick) -> None:
        made = last_made(place.parent)
        with files.snapshot(place, self._run.root) as folder:
            if made is None or made != last_made(place.parent):
                raise FileNotFoundError
            entries = tuple(
                FileEntry(f"{folder.name}/{name}", (folder / name).stat().st_size, digest)
                for name, digest in sorted(_sums(folder).items())
            )
            self._send(item, replace(made, files=entries), folder.parent, tick)

    def _send(self, item: Item, manifest: Manifest, directory: Path, tick: Tick) -> None:
        copy = Copy(manifest, item.step)
        if copy.key != item.key:
            raise FileNotFoundError
        for entry in manifest.files:
            key = copy.file_key(entry)
            there = key in self.there
            self._store.send(directory / entry.name, key, entry, tick, listed=there)
            self.there.add(key)
        logs = []
        for name, data in _logs(self._run, item.stage):
            logs.append(FileEntry(name, len(data), sha256(data).hexdigest()))
            self._store.write(copy.log_key(logs[-1]), data)
        row = Ledger.read(self._run).stages.get(item.stage.name)
        copy = replace(copy, logs=tuple(logs), time=row if item.step is None else None)
        self._store.write(copy.key, copy.to_bytes(self._may_write()))
        self.there.add(copy.key)

    def send_recipe(self) -> None:
        """The run's recipe, if it changed."""
        raw = self._run.recipe.read_bytes() if self._run.recipe.is_file() else None
        if raw is not None and raw != self._recipe:
            self._may_write()
            self._store.write(RECIPE, raw)
            self._recipe = raw

    def retire(self) -> None:
        """Delete the copies of checkpoints that are no longer kept here; newer ones stay."""
        directory = self._run.own(TRAIN.name)
        made, steps = last_made(directory), standing(directory)
        if made is None or made.shared or not steps:
            return
        done = key_of(made) in self.there
        if not done and key_of(made, steps[-1]) not in self.there:
            return
        for step, key in step_keys(self.there, made).items():
            if step < steps[-1] and step not in steps:
                self._may_write()
                below = self._store.names(key.removesuffix(COPY))
                self._store.remove([key, *below])
                self.there -= {key, *below}


def check_manifests(run: RunDirectory) -> None:
    """`DataError` if one is damaged: what it stands for would not be copied."""
    for stage in stages.STAGES:
        directory = run.own(stage.name)
        if (directory / MANIFEST).exists():
            Manifest.read(directory)
        Manifest.unfinished(directory)


def _standing(run: RunDirectory) -> list[tuple[Item, Manifest]]:
    """Finished stages, and the checkpoints of an unfinished training; what each is made from."""
    found = []
    for stage in stages.STAGES:
        directory = run.own(stage.name)
        made = last_made(directory)
        if made is None or made.shared:
            continue
        if (directory / MANIFEST).exists():
            found.append((Item(stage, None, key_of(made)), made))
        elif stage is TRAIN:
            steps = standing(directory)
            found += [(Item(stage, step, key_of(made, step)), made) for step in steps]
    return found


def _logs(run: RunDirectory, stage: Stage) -> Iterator[tuple[str, bytes]]:
    """The stage's logs as they are now: they may be growing."""
    for name in stage.logs:
        place = run.logs / name
        inside = sorted(path for path in place.rglob("*") if path.is_file())
        for path in inside if place.is_dir() else [place]:
            if path.is_file() and path.stat().st_size <= MAX_LOG_BYTES:
                yield path.relative_to(run.logs).as_posix(), path.read_bytes()
