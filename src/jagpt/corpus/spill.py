"""Numbers and bytes that wait on disk between the jobs of assignment, by name.

A file is a line of JSON (the facts, and where each column ends) and the columns behind it. It is
made and read within one run of the stage: nothing that was there before is ever read.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from jagpt import files

Column: TypeAlias = "array[Any] | bytes | bytearray"


def write(path: Path, facts: Mapping[str, Any], columns: Mapping[str, Column]) -> None:
    """Write a file whole or not at all, as a job that runs twice needs it."""
    sizes = {name: memoryview(column).nbytes for name, column in columns.items()}
    head = json.dumps({"facts": facts, "sizes": sizes}, ensure_ascii=False)
    with files.staged_file(path) as staged, staged.open("wb") as file:
        file.write(head.encode("utf-8", "surrogatepass") + b"\n")
        for column in columns.values():
            file.write(column)


class Spill:
    """A file of columns, open to be read; leave the block to close it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        head = json.loads(self._file.readline().decode("utf-8", "surrogatepass"))
        self.facts: dict[str, Any] = head["facts"]
        self._places: dict[str, tuple[int, int]] = {}
        place = self._file.tell()
        for name, size in head["sizes"].items():
            self._places[name] = (place, size)
            place += size

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def bytes(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """A column's bytes, or those of them from `start` to `stop`."""
        place, size = self._places[name]
        self._file.seek(place + start)
        return self._file.read(max(0, (size if stop is None else min(stop, size)) - start))

    def numbers(self, name: str, kind: str, start: int = 0, stop: int | None = None) -> array[Any]:
        """A column's numbers of that `array` type code, or those from `start` to `stop`."""
        numbers = array(kind)
        size = numbers.itemsize
        numbers.frombytes(self.bytes(name, start * size, None if stop is None else stop * size))
        return numbers
