"""Whether durable operations come in the order that makes them durable.

write → fsync → rename → fsync of the folder (https://lwn.net/Articles/457667/). A manifest comes,
and files go, only when all that was renamed before is on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from jagpt.files import STAGING_PREFIX
from jagpt.manifests import MANIFEST


class Order:
    """Watches the gate of `jagpt.files`; `problems` tells what came too early or never.

    A file that was written again after its fsync has another size or time than it had there.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._synced: dict[int, tuple[int, int]] = {}
        self._renamed: Path | None = None
        """The last one, which had not happened yet when it passed the gate."""
        self._open: list[Path] = []
        """Renames whose folder has not been synced since."""

    def __call__(self, operation: str, path: Path) -> None:
        self._check_renamed()
        if operation == "fsync" and path.is_dir():
            self._open = [target for target in self._open if target.parent != path]
        elif operation == "fsync":
            status = path.stat()
            self._synced[status.st_ino] = (status.st_size, status.st_mtime_ns)
        elif operation == "rename":
            self._renamed = path
        vouches = operation == "rename" and path.name == MANIFEST
        deletes = operation == "remove" and not path.name.startswith(STAGING_PREFIX)
        if (vouches or deletes) and self._open:
            self.problems.append(
                f"{operation} {path} before the folder of {self._open[0]} is synced"
            )
        if operation == "rename" and not path.name.startswith(STAGING_PREFIX):
            self._open.append(path)

    def end(self) -> list[str]:
        """All problems, once the command is done."""
        self._check_renamed()
        return self.problems + [f"the folder of {path} was never synced" for path in self._open]

    def _check_renamed(self) -> None:
        path, self._renamed = self._renamed, None
        if path is None or _is_aside(path):
            return
        for file in _files(path):
            status = file.stat()
            if self._synced.get(status.st_ino) != (status.st_size, status.st_mtime_ns):
                self.problems.append(f"{file} was renamed without an fsync after its last write")


def _is_aside(path: Path) -> bool:
    """What moves away was on the disk long before."""
    return "superseded" in path.parts or path.name.startswith(STAGING_PREFIX)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names)
