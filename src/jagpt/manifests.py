"""What a finished stage made, and from what: `manifest.json` in its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError
from jagpt.text import shortened

MANIFEST = "manifest.json"
IN_PROGRESS = "in-progress.json"
_STAGE, _SHA256 = re.compile("[a-z]+"), re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One file of a finished stage: relative name, size in bytes, hex SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a finished stage made, and from what.

    `section` holds the recipe's semantic fields, `inputs` the fingerprints of what was read. A
    stage shared from another run has no files but `shared`, the folder it is in.
    """

    stage: str
    version: int
    fingerprint: str
    section: dict[str, Any]
    inputs: dict[str, str]
    files: tuple[FileEntry, ...] = ()
    shared: str | None = None

    def begin(self, directory: Path) -> None:
        """Mark the stage in `directory` as under way."""
        files.write_json(directory / IN_PROGRESS, self._made_of())
        files.remove(directory / MANIFEST)

    def finish(self, directory: Path) -> Manifest:
        """Declare the stage done, with everything in `directory`."""
        done = replace(self, files=entries(directory))
        done.write(directory)
        files.remove(directory / IN_PROGRESS)
        return done

    def write(self, directory: Path) -> None:
        """Declare the stage in `directory` done."""
        files.write_json(directory / MANIFEST, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The manifest as plain JSON values."""
        value = self._made_of()
        if self.shared is not None:
            value["shared"] = self.shared
        value["files"] = [vars(entry) for entry in self.files]
        return value

    def problem(self, directory: Path) -> str | None:
        """The first file that is missing or whose size differs from the manifest."""
        for entry in self.files:
            path = directory / entry.name
            if not path.is_file():
                return f"{path}: missing, though its manifest lists it"
            if (size := path.stat().st_size) != entry.size:
                return f"{path}: {size:,} bytes, though its manifest lists {entry.size:,}"
        return None

    def altered(self, directory: Path) -> str | None:
        """The first file that has changed since it was made; all of them are hashed."""
        if (problem := self.problem(directory)) is not None:
            return problem
        for entry in self.files:
            if files.sha256(directory / entry.name) != entry.sha256:
                return f"{directory / entry.name}: changed since it was made"
        return None

    def _made_of(self) -> dict[str, Any]:
        names = ("stage", "version", "fingerprint", "section", "inputs")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """The manifest of `directory`; `DataError` if it is missing or invalid."""
        path = directory / MANIFEST
        with _remedy():
            return cls.of(files.read_json(path, "manifest"), path)

    @classmethod
    def unfinished(cls, directory: Path) -> Manifest | None:
        """What the unfinished stage in `directory` is made from; None if there is none.

        `DataError` if the note is invalid.
        """
        path = directory / IN_PROGRESS
        if not path.exists():
            return None
        with _remedy():
            return cls.of({"files": (), **files.read_json(path)}, path)

    @classmethod
    def of(cls, value: Mapping[str, Any], path: object) -> Manifest:
        """The manifest in JSON that was read at `path`; raises as `read` does."""
        try:
            return cls(
                stage=_matching(_STAGE, value["stage"]),
                version=_count(value["version"]),
                fingerprint=_matching(_SHA256, value["fingerprint"]),
                section=_section(value["section"]),
                inputs={_text(k): _text(v) for k, v in value["inputs"].items()},
                files=tuple(
                    FileEntry(
                        _relative(f["name"]), _count(f["size"]), _matching(_SHA256, f["sha256"])
                    )
                    for f in value["files"]
                ),
                shared=None if value.get("shared") is None else _absolute(value["shared"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            problem = shortened(repr(error), 200)
            raise DataError(f"{path}: this manifest is damaged ({problem})") from None


@contextmanager
def _remedy() -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise DataError(f"{error}; put it back, or rerun its stage with --force") from None


def listed(directory: Path) -> list[str]:
    """Relative names of a finished stage's files, as its manifest has them; none if there is no
    manifest.

    What else lies in the folder is not the stage's. Raises as `Manifest.read` does.
    """
    if not (directory / MANIFEST).exists():
        return []
    return [entry.name for entry in Manifest.read(directory).files]


def list_files(directory: Path) -> list[str]:
    """Relative names of the files that a manifest of `directory` lists, in order."""
    names = (path.relative_to(directory).as_posix() for path in files.files_below(directory))
    return [name for name in names if name not in {MANIFEST, IN_PROGRESS, *files.LOCK_FILES}]


def entries(directory: Path) -> tuple[FileEntry, ...]:
    """Name, size and SHA-256 of every file below `directory` (symbolic links are refused)."""
    found = []
    for name in list_files(directory):
        path = directory / name
        if path.is_symlink():
            raise DataError(f"{path}: a symbolic link cannot be part of a finished stage")
        found.append(FileEntry(name, path.stat().st_size, files.sha256(path)))
    return tuple(found)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, found {value!r}")
    value.encode("utf-8")  # half a surrogate pair is a ValueError
    return value


def _matching(pattern: re.Pattern[str], value: object) -> str:
    """A text that also becomes part of a name: in `superseded/`, and where a run is copied to."""
    text = _text(value)
    if not pattern.fullmatch(text):
        raise ValueError(f"unexpected {text!r}")
    return text


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"not a whole number from 0 on: {value!r}")
    return value


def _section(value: object) -> dict[str, Any]:
    """Tables of a recipe by name, which can be written again."""
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise TypeError(f"expected tables by name, found {value!r}")
    json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False).encode("utf-8")
    return value


def _absolute(value: object) -> str:
    path = _text(value)
    if "\0" in path or not Path(path).is_absolute():
        raise ValueError(f"not an absolute path: {path!r}")
    return path


def _relative(value: object) -> str:
    """A manifest's file name; refused if it would leave the stage's folder or is not a valid
    name.
    """
    name = _text(value)
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in name or "\0" in name:
        raise ValueError(f"unsafe file name {name!r}")
    return name
