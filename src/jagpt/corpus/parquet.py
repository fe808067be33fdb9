"""The rows of a Parquet file, and the documents that they are.

A stranger's file may say anything. Arrow takes the memory that a page's header asks for, whatever
the file's size and its footer say, so the headers are read here first. A value is no larger than
the page that it stands in: the largest one tells how many rows may be decoded at a time.

Format: https://github.com/apache/parquet-format (headers are in Thrift's compact protocol)
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from jagpt import files
from jagpt.compressed import Expansion
from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.rows import Columns, RowError, there_is
from jagpt.corpus.text_files import DOCUMENT_BYTES
from jagpt.errors import DataError, storage_error

READ_ROWS = 1024
"""Rows decoded at a time …"""
READ_BYTES = 64 * 1024 * 1024
"""… or as many as cannot have more bytes."""
PAGE_BYTES = 256 * 1024 * 1024
"""Largest page, decompressed. Writers end one after 1 MB, but many look only every 1,024 rows."""
BUFFER_BYTES = 1024 * 1024
ROW_BYTES = 64
"""What a row counts beside its values: a few bytes may stand for any number of equal rows."""


class ParquetRows:
    """The rows of a Parquet file by their columns' `names`, with a few in memory.

    But for the `odd` columns, each holds texts, numbers or truth values: of other kinds one row may
    hold any amount. Raises `DataError` with the file where a column is not there, or the file is
    damaged (`damaged` says that, and what to do), or becomes far more than its size.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        odd: Container[str] = (),
        damaged: tuple[str, str] = ("not a whole Parquet file", "make or fetch it again"),
    ) -> None:
        self.path = path
        self.share = 0.0
        """Of the rows, those decoded so far."""
        self._names, self._odd, self._damaged = names, odd, damaged

    def __iter__(self) -> Iterator[dict[str, Any]]:
        import pyarrow as pa

        size = files.regular_file(self.path)
        try:
            yield from self._read(size)
        except (pa.ArrowException, UnicodeDecodeError, OSError, _HeaderError) as error:
            if isinstance(error, OSError) and error.errno:  # pyarrow's own has none
                raise storage_error(error, f"reading {self.path}") from None
            said, remedy = self._damaged
            raise DataError(f"{self.path}: {said} ({error}); {remedy}") from None

    def _read(self, size: int) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        expansion, done = Expansion(self.path), 0
        # without a buffer a whole column of a row group is read at once
        with (
            pq.ParquetFile(self.path, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet,
            self.path.open("rb") as file,
        ):
            self._check(parquet.schema_arrow)
            for group in range(parquet.num_row_groups):
                largest = self._largest_page(file, parquet.metadata.row_group(group))
                count = max(1, min(READ_ROWS, READ_BYTES // max(1, largest)))
                for batch in parquet.iter_batches(
                    count, row_groups=[group], columns=self._names, use_threads=False
                ):
                    columns = [_unfolded(column) for column in batch.columns]
                    taken = sum(column.nbytes for column in columns)
                    expansion.add(taken + ROW_BYTES * batch.num_rows, size)
                    yield from self._rows_of(columns, batch.schema.names, done)
                    done += batch.num_rows
                    self.share = done / max(parquet.metadata.num_rows, done)
        self.share = 1.0

    def _check(self, schema: Any) -> None:
        import pyarrow.types as types

        for name in self._names:
            if name not in schema.names:
                raise DataError(f"{self.path}: no column {name!r}; {there_is(schema.names)}")
            if schema.names.count(name) > 1:
                raise DataError(f"{self.path}: column {name!r} is there more than once")
            kind = schema.field(name).type
            small = _is_text(kind) or types.is_primitive(kind) or types.is_null(kind)
            if not small and name not in self._odd:
                raise DataError(f"{self.path}: column {name!r} is {kind}; a text is wanted")

    def _largest_page(self, file: IO[bytes], group: Any) -> int:
        """Bytes of the largest page of the columns that are read, decompressed."""
        largest = 0
        for number in range(group.num_columns):
            column = group.column(number)
            if column.path_in_schema not in self._names:
                continue
            for place, size in _pages(file, column):
                if size > PAGE_BYTES:
                    raise DataError(
                        f"{self.path}: column {column.path_in_schema!r}: the page at byte {place} "
                        f"has {size:,} bytes, and at most {PAGE_BYTES:,} are read; write the file "
                        "with smaller pages (pyarrow: write_batch_size=64)"
                    )
                largest = max(largest, size)
        return largest

    def _rows_of(
        self, columns: Sequence[Any], names: Sequence[str], before: int
    ) -> Iterator[dict[str, Any]]:
        """The rows of some columns; `before` are the rows of the file before them."""
        values = []
        for name, column in zip(names, columns, strict=True):
            if not _is_text(column.type):
                values.append(column.to_pylist())
                continue
            for row, length in enumerate(_lengths(column), start=before + 1):
                if length > DOCUMENT_BYTES:
                    raise DataError(
                        f"{self.path}: row {row}: column {name!r} has {length:,} bytes, and at "
                        f"most {DOCUMENT_BYTES:,} are read"
                    )
            values.append(column.to_numpy(zero_copy_only=False).tolist())  # a tenth of the time
        for cells in zip(*values, strict=True):
            yield dict(zip(names, cells, strict=True))


class ParquetDocuments:
    """The documents of a Parquet file, in order; `DataError` with file and row (counted from 1)
    where a column holds something else, and as `ParquetRows` raises it."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self.path = path
        self._columns = columns
        self._rows = ParquetRows(path, columns.names)

    @property
    def offset(self) -> int:
        return int(self.path.stat().st_size * self._rows.share)

    @property
    def sha256(self) -> str:
        return files.sha256(self.path)

    def __iter__(self) -> Iterator[SourceDocument]:
        for number, row in enumerate(self._rows, start=1):
            try:
                document = self._columns.document(row)
            except RowError as error:
                raise DataError(f"{self.path}: row {number}: {error}") from None
            yield document


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_one(kind) for is_one in (types.is_string, types.is_large_string, types.is_string_view)
    )


def _unfolded(column: Any) -> Any:
    """Texts as one kind of column, whichever the file asks for."""
    import pyarrow as pa

    return column.cast(pa.large_string()) if _is_text(column.type) else column


def _lengths(column: Any) -> list[int]:
    """Bytes of each value of a batch where one is too long; nothing to look at where none is."""
    import pyarrow.compute as pc

    if column.nbytes <= DOCUMENT_BYTES:
        return []
    return [length or 0 for length in pc.binary_length(column).to_pylist()]


# --- pages ----------------------------------------------------------------------------------------


class _HeaderError(ValueError):
    """A page's header that cannot be read."""


_NUMBERS = (4, 5, 6)
_BOOLEANS = (1, 2)
_BYTE, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 3, 7, 8, 9, 10, 11, 12
_DECOMPRESSED, _COMPRESSED = 2, 3
"""Fields of a page's header: its size when decompressed, and as it stands in the file."""
_DEEPEST = 8


def _pages(file: IO[bytes], column: Any) -> Iterator[tuple[int, int]]:
    """Where each page of a column's chunk stands, and its size when decompressed."""
    start, dictionary = column.data_page_offset, column.dictionary_page_offset
    place = dictionary if dictionary is not None and 0 < dictionary < start else start
    end = place + column.total_compressed_size
    while place < end:
        file.seek(place)
        sizes = _sizes(file)
        if min(sizes) < 0:
            raise _HeaderError(f"the page at byte {place} has no size")
        yield place, sizes[0]
        place = file.tell() + sizes[1]


def _sizes(file: IO[bytes]) -> tuple[int, int]:
    """A page's sizes, decompressed and in the file, from its header, which begins here."""
    sizes, field = {_DECOMPRESSED: -1, _COMPRESSED: -1}, 0
    while head := _byte(file):
        field = field + (head >> 4) if head >> 4 else _whole(file)
        if field in sizes and head & 15 in _NUMBERS:
            sizes[field] = _whole(file)
        else:
            _pass_over(file, head & 15, _DEEPEST)
    return sizes[_DECOMPRESSED], sizes[_COMPRESSED]


def _pass_over(file: IO[bytes], kind: int, depth: int, *, in_list: bool = False) -> None:
    """Go behind a value of that kind."""
    if kind in _NUMBERS:
        _unsigned(file)
    elif kind == _BINARY:
        file.seek(_unsigned(file), 1)
    elif kind in (_BYTE, _DOUBLE) or (in_list and kind in _BOOLEANS):
        file.seek(1 if kind != _DOUBLE else 8, 1)
    elif kind == _STRUCT and depth:
        while head := _byte(file):
            if not head >> 4:
                _unsigned(file)
            _pass_over(file, head & 15, depth - 1)
    elif kind in (_LIST, _SET) and depth:
        head = _byte(file)
        for _ in range(head >> 4 if head >> 4 < 15 else _unsigned(file)):
            _pass_over(file, head & 15, depth - 1, in_list=True)
    elif kind not in _BOOLEANS:
        raise _HeaderError("a page's header that is none")


def _byte(file: IO[bytes]) -> int:
    read = file.read(1)
    if not read:
        raise _HeaderError("it ends within a page's header")
    return read[0]


def _unsigned(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 64, 7):
        byte = _byte(file)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise _HeaderError("a page's header with a number that has no end")


def _whole(file: IO[bytes]) -> int:
    value = _unsigned(file)
    return (value >> 1) ^ -(value & 1)
