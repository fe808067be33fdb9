"""The jobs that write the splits' shards: each reads what it needs from the parts by itself."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jagpt.corpus import parts
from jagpt.corpus.documents import COLUMNS
from jagpt.corpus.parts import PartName
from jagpt.corpus.shards import LENGTH_EDGES, Bounds, Shard, length_class, shard_name
from jagpt.corpus.splits import Piece, original_lines
from jagpt.corpus.stats import SplitCounts

_READ = tuple(name for name in COLUMNS if name != "source")


@dataclass
class Chosen:
    """The rows of a part that go into a shard, in order; `cut` has those of which a piece does."""

    part: PartName
    source: str
    rows: array[int] = field(default_factory=lambda: array("I"))
    cut: dict[int, Piece] = field(default_factory=dict)


@dataclass(frozen=True)
class ShardJob:
    """A shard to write: documents, how many of them each row group has, and whether their text is
    that of the original's lines."""

    parts: Path
    target: Path
    chosen: tuple[Chosen, ...]
    groups: tuple[int, ...]
    by_lines: bool

    def perform(self) -> None:
        """Write the shard, if it does not stand there already."""
        if self.target.exists():
            return
        with Shard(self.target) as shard:
            for columns in _grouped(self._columns(), self.groups):
                shard.write(columns)

    def _columns(self) -> Iterator[dict[str, Any]]:
        """The documents' columns, some at a time."""
        import pyarrow as pa

        for chosen in self.chosen:
            done = 0
            for columns in parts.read_rows_at(self.parts, chosen.part, _READ, chosen.rows):
                rows = chosen.rows[done : done + len(columns["id"])]
                done += len(rows)
                if self.by_lines:
                    columns["text"] = _lines(columns["text"], rows, chosen.cut)
                yield {**columns, "source": pa.array([chosen.source] * len(rows), pa.string())}


def _lines(texts: Any, rows: Iterable[int], cut: Mapping[int, Piece]) -> Any:
    import pyarrow as pa

    whole = Piece("")
    pieces = (cut.get(row, whole) for row in rows)
    made = [piece_of(text, piece) for text, piece in zip(texts.to_pylist(), pieces, strict=True)]
    return pa.array(made, pa.string())


def piece_of(text: str, piece: Piece) -> str:
    """The lines of a text, as the original's workflow left them, that are a piece."""
    return "\n".join(original_lines(text)[piece.start : piece.stop])


def _grouped(some: Iterable[dict[str, Any]], sizes: Iterable[int]) -> Iterator[dict[str, Any]]:
    """Columns that come some rows at a time, in groups of so many rows."""
    import pyarrow as pa

    wanted = iter(sizes)
    size = next(wanted)
    waiting: list[dict[str, Any]] = []
    count = 0
    for columns in some:
        length, used = len(columns["id"]), 0
        while count + length - used >= size:
            waiting.append(_sliced(columns, used, size - count))
            yield {name: pa.concat_arrays([c[name] for c in waiting]) for name in COLUMNS}
            used, waiting, count = used + size - count, [], 0
            size = next(wanted, length + 1)
        if used < length:
            waiting.append(_sliced(columns, used, length - used))
            count += length - used


def _sliced(columns: dict[str, Any], start: int, length: int) -> dict[str, Any]:
    return {name: column.slice(start, length) for name, column in columns.items()}


class SplitPlan:
    """Takes a split's documents in order, by their sizes alone, and cuts them into shards."""

    def __init__(self, parts_directory: Path, directory: Path, split: str, by_lines: bool) -> None:
        self.counts = SplitCounts()
        self.lengths = [0] * len(LENGTH_EDGES)
        """Documents by class of length."""
        self._parts, self._directory, self._split = parts_directory, directory, split
        self._by_lines = by_lines
        self._bounds = Bounds()
        self._shards = 0
        self._chosen: list[Chosen] = []
        self._groups = [0]

    def add(
        self, part: PartName, source: str, row: int, piece: Piece, characters: int, size: int
    ) -> ShardJob | None:
        """Take a row of a part, or a piece of it; the job of the shard that ends with it."""
        self.counts.add(characters, size)
        self.lengths[length_class(characters)] += 1
        if not self._chosen or self._chosen[-1].part != part:
            self._chosen.append(Chosen(part, source))
        self._chosen[-1].rows.append(row)
        if not piece.is_whole:
            self._chosen[-1].cut[row] = piece
        self._groups[-1] += 1
        group_ends, shard_ends = self._bounds.after(size)
        if shard_ends:
            return self.end()
        if group_ends:
            self._groups.append(0)
        return None

    def end(self) -> ShardJob | None:
        """The job of the documents that are in no shard yet, if any."""
        if not self._chosen:
            return None
        target = self._directory / shard_name(self._split, self._shards)
        groups = tuple(count for count in self._groups if count)
        job = ShardJob(self._parts, target, tuple(self._chosen), groups, self._by_lines)
        self._shards += 1
        self._chosen, self._groups = [], [0]
        return job
