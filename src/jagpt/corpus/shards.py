"""The finished corpus on disk: each split's documents in numbered Parquet files.

The shards are `{train,valid,test}-NNNNN.parquet`, Parquet with zstd, one row per document.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jagpt import files
from jagpt.corpus.documents import COLUMNS, Document
from jagpt.corpus.parquet import ParquetRows, arrow_path
from jagpt.corpus.stats import SplitCounts
from jagpt.errors import DataError

SHARD_BYTES = 64 * 1024 * 1024
"""A shard ends with the document that reaches this many bytes of text."""
ROW_GROUP_BYTES = 4 * 1024 * 1024
"""Text in a row group, the unit that readers load at a time."""
COMPRESSION_LEVEL = 3
LENGTH_EDGES = (0, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
"""Lower bounds, in characters, of the classes of document length; the last one is open."""


class Bounds:
    """Where a split's row groups and shards end."""

    def __init__(self) -> None:
        self._group = self._shard = 0

    def after(self, size: int) -> tuple[bool, bool]:
        """Whether a row group and a shard end with a document of this many bytes of text."""
        self._group += size
        self._shard += size
        shard_ends = self._shard >= SHARD_BYTES
        group_ends = shard_ends or self._group >= ROW_GROUP_BYTES
        if group_ends:
            self._group = 0
        if shard_ends:
            self._shard = 0
        return group_ends, shard_ends


def length_class(characters: int) -> int:
    """The class of length, counted from 0, of a document."""
    return bisect_right(LENGTH_EDGES, characters) - 1


class SplitWriter:
    """Takes a split's documents in order; an existing shard is not written again.

    Holds a row group's texts in memory. Leaving the block by an exception discards the shard being
    written and keeps those before it.
    """

    def __init__(self, directory: Path, split: str) -> None:
        self.directory = directory
        self.split = split
        self.counts = SplitCounts()
        self._bounds = Bounds()
        self._shard: Shard | None = None
        self._shards = 0
        self._group: list[Document] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._end_shard()
        elif self._shard is not None:
            self._shard.__exit__(kind, error, traceback)

    def add(self, document: Document) -> None:
        """Take a document."""
        size = len(document.text.encode("utf-8"))
        self.counts.add(len(document.text), size)
        self._group.append(document)
        group_ends, shard_ends = self._bounds.after(size)
        if shard_ends:
            self._end_shard()
        elif group_ends:
            self._end_group()

    def _end_group(self) -> None:
        if not self._group:
            return
        if self._shard is None:
            self._shard = Shard(self.directory / shard_name(self.split, self._shards))
        columns = {name: [getattr(d, name) for d in self._group] for name in COLUMNS}
        self._shard.write(columns)
        self._group = []

    def _end_shard(self) -> None:
        self._end_group()
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        shard.__exit__(None, None, None)
        self._shards += 1


class Shard(ExitStack):
    """A Parquet file that appears under its name when the block ends well."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        super().__init__()
        self._writer = None
        self._schema = _schema()
        if not path.exists():
            self._writer = self.enter_context(
                pq.ParquetWriter(
                    arrow_path(self.enter_context(files.staged_file(path))),
                    self._schema,
                    compression="zstd",
                    compression_level=COMPRESSION_LEVEL,
                    use_dictionary=["source"],
                    write_statistics=["id", "source", "revision"],
                )
            )

    def write(self, columns: Mapping[str, Any]) -> None:
        """Add a row group: each column's values, as a list or in one of Arrow's arrays."""
        import pyarrow as pa

        if self._writer is not None:
            self._writer.write_table(pa.Table.from_pydict(dict(columns), schema=self._schema))


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("title", pa.string(), nullable=False),
            pa.field("url", pa.string()),
            pa.field("revision", pa.int64()),
            pa.field("text", pa.string(), nullable=False),
        ]
    )


# --- reading --------------------------------------------------------------------------------------


def iter_documents(directory: Path, split: str) -> Iterator[Document]:
    """The documents of `split` in the corpus at `directory`, in the corpus's order.

    Raises `DataError` if the split has no shard, a number is missing, or a shard is damaged.
    """
    for shard in split_shards(directory, split):
        for row in read_rows(shard, COLUMNS):
            yield Document(**row)


def split_shards(directory: Path, split: str) -> list[Path]:
    """The files of `split`, in order; `DataError` if there is none or one is missing in between."""
    shards = sorted(directory.glob(f"{split}-[0-9][0-9][0-9][0-9][0-9].parquet"))
    if not shards:
        raise DataError(
            f"{directory}: no {split}-00000.parquet; the corpus stage has not been run here"
        )
    for number, shard in enumerate(shards):
        if shard.name != shard_name(split, number):
            raise DataError(f"{directory}: {shard_name(split, number)} is missing")
    return shards


def shard_name(split: str, number: int) -> str:
    """File name of a split's shard, counted from 0."""
    return f"{split}-{number:05d}.parquet"


def read_rows(
    path: Path, columns: Sequence[str], odd: Container[str] = ()
) -> Iterator[dict[str, Any]]:
    """The rows of a shard or a part, a few at a time; raises as `ParquetRows` does."""
    return iter(ParquetRows(path, columns, odd, ("this shard is damaged", "make the corpus again")))
