"""The rows of a Parquet file, as documents.

A stranger's file may say anything. Arrow allocates the memory that a page's header asks for,
whatever the file's size and its footer say, so the headers are read here first. A value is no
larger than the page that contains it: the largest page decides how many rows may be decoded at a
time.

Format: https://github.com/apache/parquet-format (headers are in Thrift's compact protocol)
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from jagpt import files
from jagpt.compressed import Expansion
from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.rows import Columns, RowError, there_is
from jagpt.corpus.text_files import DOCUMENT_BYTES
from jagpt.errors import DataError, storage_error
from jagpt.text import one_line

READ_ROWS = 1024
"""Rows decoded at a time …"""
READ_BYTES = 64 * 1024 * 1024
"""… or as many as cannot exceed this many bytes."""
PAGE_BYTES = 256 * 1024 * 1024
"""Largest page, decompressed. Writers end one after 1 MB, but many look only every 1,024 rows."""
BUFFER_BYTES = 1024 * 1024
ROW_BYTES = 64
"""Cost of a row besides its values: a few bytes may encode any number of equal rows."""


def arrow_path(path: Path) -> str:
    """The name by which pyarrow opens a file: it takes a relative one with a colon for a URI."""
    return str(path.absolute())


class ParquetRows:
    """The rows of a Parquet file by their columns' `names`, with a few in memory.

    Except for the `odd` columns, each holds strings, numbers or booleans: one row of another type
    may hold any amount. Raises `DataError` with the file where a column is not there, or the file
    is damaged (`damaged` says that, and what to do), or becomes far more than its size.
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        odd: Container[str] = (),
        damaged: tuple[str, str] = ("not a complete Parquet file", "create or download it again"),
    ) -> None:
        self.path = path
        self.share = 0.0
        """How many rows are decoded so far."""
        self._names, self._odd, self._damaged = names, odd, damaged

    def __iter__(self) -> Iterator[dict[str, Any]]:
        import pyarrow as pa

        size = files.regular_file(self.path)
        try:
            yield from self._read(size)
        except UnicodeEncodeError:  # Arrow takes names as text
            raise DataError(f"{self.path}: this name is not valid UTF-8; rename the file") from None
        except (pa.ArrowException, UnicodeDecodeError, OSError, _ThriftError) as error:
            if isinstance(error, OSError) and error.errno:  # pyarrow's own has none
                raise storage_error(error, f"reading {self.path}") from None
            said, remedy = self._damaged
            raise DataError(f"{self.path}: {said} ({one_line(str(error))}); {remedy}") from None

    def _read(self, size: int) -> Iterator[dict[str, Any]]:
        import pyarrow.parquet as pq

        expansion, done = Expansion(self.path), 0
        with self.path.open("rb") as file:
            groups = _chunks(file)  # before Arrow reads what they say
        # without a buffer a whole column of a row group is read at once
        with (
            pq.ParquetFile(
                arrow_path(self.path), buffer_size=BUFFER_BYTES, pre_buffer=False
            ) as parquet,
            self.path.open("rb") as file,
        ):
            self._check(parquet.schema_arrow)
            for group, chunks in enumerate(groups):
                largest = self._largest_page(file, chunks)
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
                raise DataError(f"{self.path}: column {name!r} is {kind}; expected strings")

    def _largest_page(self, file: IO[bytes], chunks: Sequence[dict[int, Any]]) -> int:
        """Bytes of the largest page of the columns that are read, decompressed."""
        largest = 0
        for chunk in chunks:
            name = _name(chunk)
            if name and name not in self._names:
                continue
            for place, size in _pages(file, chunk):
                if size > PAGE_BYTES:
                    raise DataError(
                        f"{self.path}: column {name!r}: the page at byte {place} "
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
            values.append(_texts(column))
        for cells in zip(*values, strict=True):
            yield dict(zip(names, cells, strict=True))


def _texts(column: Any) -> list[Any]:
    """The values of a column of text: through NumPy, if installed, in a tenth of the time."""
    try:
        values: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
    except ImportError:
        values = column.to_pylist()
    return values


class ParquetDocuments:
    """The documents of a Parquet file, in order; `DataError` with file and row (counted from 1)
    if a column holds something else, and as `ParquetRows` raises it."""

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
    """Strings as one type of column, whichever the file uses."""
    import pyarrow as pa

    return column.cast(pa.large_string()) if _is_text(column.type) else column


def _lengths(column: Any) -> list[int]:
    """Bytes of each value of a batch if one is too long; nothing if none is."""
    import pyarrow.compute as pc

    if column.nbytes <= DOCUMENT_BYTES:
        return []
    return [length or 0 for length in pc.binary_length(column).to_pylist()]


# --- pages ----------------------------------------------------------------------------------------

_ROW_GROUPS, _COLUMNS, _METADATA = 4, 1, 3
_PATH, _SIZE, _DATA_PAGE, _DICTIONARY_PAGE = 3, 7, 9, 11
_DECOMPRESSED, _COMPRESSED = 2, 3
"""Fields of the footer, a row group, a column's chunk, its metadata, and a page's header."""
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = (4, 5, 6)
_DEEPEST = 8
_LARGEST = 64 * 1024 * 1024
"""Bytes of a footer, or of a text in it."""
_MOST = 2_000_000
"""Values in a footer. A column of a row group has about 30, but may have one, of three bytes, and
takes Arrow some 700."""
_FOOTER_END = 8
"""Bytes of the footer's length and of PAR1."""


class _ThriftError(ValueError):
    """The bytes are not a footer or a page header."""


def _chunks(file: IO[bytes]) -> list[list[dict[int, Any]]]:
    """The metadata of each column's chunk, by row groups, from the footer.

    (Arrow crashes the process on some invalid ones when asked for them directly.)
    """
    end = max(file.seek(0, os.SEEK_END) - _FOOTER_END, 0)
    file.seek(end)
    length, magic = int.from_bytes(file.read(4), "little"), file.read(4)
    if magic != b"PAR1":
        raise _ThriftError("it does not end as Parquet does")
    if length > min(end, _LARGEST):
        raise _ThriftError(f"a footer of {length:,} bytes")
    file.seek(end - length)
    groups = _struct(file, _DEEPEST, itertools.count()).get(_ROW_GROUPS)
    try:
        return [[chunk[_METADATA] for chunk in group[_COLUMNS]] for group in groups or ()]
    except (KeyError, TypeError):
        raise _ThriftError("a footer without columns") from None


def _name(chunk: dict[int, Any]) -> str:
    """The column's name; nothing for a nested one."""
    path = chunk.get(_PATH)
    whole = isinstance(path, list) and len(path) == 1 and isinstance(path[0], bytes)
    return path[0].decode("utf-8", "replace") if whole and path else ""


def _pages(file: IO[bytes], chunk: dict[int, Any]) -> Iterator[tuple[int, int]]:
    """The position of each page of a column's chunk, and its decompressed size."""
    start, size = chunk.get(_DATA_PAGE), chunk.get(_SIZE)
    dictionary = chunk.get(_DICTIONARY_PAGE, start)
    if not (isinstance(start, int) and isinstance(size, int) and isinstance(dictionary, int)):
        raise _ThriftError("a column without a position")
    place = dictionary if 0 < dictionary < start else start
    end = place + size
    while place < end:
        file.seek(max(place, 0))
        header = _struct(file, _DEEPEST, itertools.count())
        unfolded, stored = header.get(_DECOMPRESSED), header.get(_COMPRESSED)
        if not (isinstance(unfolded, int) and isinstance(stored, int) and stored >= 0):
            raise _ThriftError(f"the page at byte {place} has no size")
        yield place, unfolded
        place = file.tell() + stored


def _struct(file: IO[bytes], depth: int, counted: Iterator[int]) -> dict[int, Any]:
    """The fields of a structure by their numbers."""
    fields: dict[int, Any] = {}
    number = 0
    while head := _byte(file):
        number = number + (head >> 4) if head >> 4 else _whole(file)
        kind = head & 15
        fields[number] = (
            kind == _TRUE if kind in (_TRUE, _FALSE) else _value(file, kind, depth, counted)
        )
    return fields


def _value(file: IO[bytes], kind: int, depth: int, counted: Iterator[int]) -> Any:
    if next(counted) > _MOST:
        raise _ThriftError(f"a footer of more than {_MOST:,} values")
    if kind in _NUMBERS:
        return _whole(file)
    if kind == _BINARY:
        return _bytes(file, _unsigned(file))
    if kind in (_TRUE, _FALSE, _BYTE):  # booleans within a list
        return _byte(file)
    if kind == _DOUBLE:
        return _bytes(file, 8)
    if kind == _STRUCT and depth:
        return _struct(file, depth - 1, counted)
    if kind in (_LIST, _SET) and depth:
        head = _byte(file)
        count = head >> 4 if head >> 4 < 15 else _unsigned(file)
        return [_value(file, head & 15, depth - 1, counted) for _ in range(count)]
    raise _ThriftError("an invalid structure")


def _byte(file: IO[bytes]) -> int:
    return _bytes(file, 1)[0]


def _bytes(file: IO[bytes], count: int) -> bytes:
    read = file.read(count) if count <= _LARGEST else b""  # it allocates the memory beforehand
    if len(read) < count:
        raise _ThriftError("it ends inside a structure")
    return read


def _unsigned(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = _byte(file)
        value |= (byte & 127) << shift
        if byte < 128:
            return value
    raise _ThriftError("a number without an end")


def _whole(file: IO[bytes]) -> int:
    value = _unsigned(file)
    return (value >> 1) ^ -(value & 1)
