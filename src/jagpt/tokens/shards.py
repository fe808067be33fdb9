"""The token shard: its two files on disk, written and read.

`<split>-NNNNN.bin` holds token ids and nothing else, little-endian, `uint16` or `uint32`:

    index = json.load(open("tokens/index.json"))
    name = index["splits"]["train"][0]["name"]
    tokens = np.memmap(f"tokens/{name}.bin", dtype=index["dtype"], mode="r")
    starts = np.fromfile(f"tokens/{name}.idx", "<i8", offset=48,
    count=index["splits"]["train"][0]["documents"] + 1) document = tokens[starts[7]:starts[8]]

`<split>-NNNNN.idx` describes its D documents and C chunks. All numbers are little-endian:

    offset  type       what
    0       8 bytes    "jagptidx"
    8       uint32     version of this format, 1
    12      uint32     bytes per token, 2 or 4
    16      uint64     D
    24      uint64     tokens in the shard
    32      uint64     C = ceil(size of the .bin / 1 MiB)
    40      uint64     bytes of all document ids
    48      int64      D + 1 starts of the documents, in tokens; the last is the shard's end
            int64      D characters (code points) of the documents' raw texts
            int64      D bytes of the documents' raw texts, as UTF-8
            int64      D + 1 starts of the documents' ids, in bytes
            uint32     C CRC-32 sums of the .bin's chunks of 1 MiB
            UTF-8      the documents' ids, one after the other
"""

from __future__ import annotations

import mmap
import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from jagpt import files
from jagpt.errors import DataError, NewerVersionError
from jagpt.tokens.index import FORMAT_VERSION, REMEDY, ShardSize, TokenIndex

Ints = npt.NDArray[np.int64]
CHUNK = 1 << 20

_MAGIC = b"jagptidx"
_HEADER = struct.Struct("<8sIIQQQQ")


def check_versions(directory: Path) -> None:
    """`NewerVersionError` if a newer jagpt wrote something here; nothing else is read."""
    for path in [directory / TokenIndex.FILE, *sorted(directory.glob("*.idx"))]:
        try:
            _check_version(path)
        except NewerVersionError:
            raise
        except DataError:
            continue  # missing or damaged


def _check_version(path: Path) -> None:
    if path.name == TokenIndex.FILE:
        TokenIndex.check_version(path)
        return
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
    if len(head) == _HEADER.size and head.startswith(_MAGIC):
        files.check_version(path, _HEADER.unpack(head)[1], FORMAT_VERSION)


class ShardWriter:
    """Collects a shard's documents; tokens go to the open `.bin` at once, the rest to `finish`.

    `end_id`, if any, is appended to each document.
    """

    def __init__(self, binary: IO[bytes], dtype: str, end_id: int | None = None) -> None:
        self._binary, self._dtype = binary, np.dtype(dtype)
        self._end = b"" if end_id is None else np.array(end_id, self._dtype).tobytes()
        self._starts, self._id_starts = array("q", [0]), array("q", [0])
        self._characters, self._bytes = array("q"), array("q")
        self._ids = bytearray()
        self._sums = _ChunkSums()

    def add(self, document_id: str, text: str, tokens: npt.ArrayLike) -> None:
        """Append one document: its id, its raw text and its tokens, without the end token."""
        raw = np.asarray(tokens, dtype=self._dtype).tobytes() + self._end
        self._binary.write(raw)
        self._sums.update(raw)
        self._starts.append(self._starts[-1] + len(raw) // self._dtype.itemsize)
        self._characters.append(len(text))
        self._bytes.append(len(text.encode("utf-8")))
        self._ids += document_id.encode("utf-8")
        self._id_starts.append(len(self._ids))

    def finish(self, path: Path) -> None:
        """Put the `.idx` at `path`."""
        sums = self._sums.finish()
        header = _HEADER.pack(
            _MAGIC, FORMAT_VERSION, self._dtype.itemsize,
            len(self._characters), self._starts[-1], len(sums), len(self._ids),
        )  # fmt: skip
        columns = (self._starts, self._characters, self._bytes, self._id_starts)
        numbers = b"".join(np.asarray(column, dtype="<i8").tobytes() for column in columns)
        sums_raw = np.asarray(sums, dtype="<u4").tobytes()
        files.write_bytes(path, header + numbers + sums_raw + bytes(self._ids))


class _ChunkSums:
    """CRC-32 of each chunk of what passes through `update`."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._current = 0
        self._filled = 0

    def update(self, data: bytes) -> None:
        if self._filled + len(data) < CHUNK:  # as almost always
            self._current = zlib.crc32(data, self._current)
            self._filled += len(data)
            return
        view = memoryview(data)
        while view:
            part = view[: CHUNK - self._filled]
            self._current = zlib.crc32(part, self._current)
            self._filled += len(part)
            view = view[len(part) :]
            if self._filled == CHUNK:
                self._close()

    def finish(self) -> list[int]:
        if self._filled:
            self._close()
        return self._sums

    def _close(self) -> None:
        self._sums.append(self._current)
        self._current = self._filled = 0


class Shard:
    """One shard, memory-mapped.

    `tokens` (T,) as stored on disk; `starts` (D + 1,), `characters` (D,), `bytes` (D,) int64.
    """

    def __init__(self, directory: Path, name: str, dtype: str) -> None:
        self.path = directory / f"{name}.bin"
        self.index_path = directory / f"{name}.idx"
        self._dtype = np.dtype(dtype)
        self._read_index()
        self._map_tokens()

    def size(self) -> ShardSize:
        """The shard as `index.json` describes it."""
        return ShardSize(
            name=self.path.stem,
            documents=len(self.starts) - 1,
            tokens=len(self.tokens),
            characters=int(self.characters.sum()),
            bytes=int(self.bytes.sum()),
        )

    def compare(self, size: ShardSize) -> None:
        """`DataError` if this is not the shard that `index.json` describes."""
        found = (len(self.starts) - 1, len(self.tokens))
        if found != (size.documents, size.tokens):
            raise DataError(
                f"{self.path}: {found[0]:,} documents and {found[1]:,} tokens, but "
                f"{TokenIndex.FILE} lists {size.documents:,} and {size.tokens:,}: this is a "
                f"different shard; {REMEDY}"
            )

    def document_id(self, document: int) -> str:
        """The id of the shard's document number `document`."""
        start, stop = self._id_starts[document : document + 2]
        return self._id(bytes(self._ids[start:stop]), int(start), int(stop))

    def document_ids(self) -> Iterator[str]:
        """The ids of all documents, in order."""
        ids, bounds = bytes(self._ids), self._id_starts.tolist()
        for start, stop in pairwise(bounds):
            yield self._id(ids[start:stop], start, stop)

    def _id(self, found: bytes, start: int, stop: int) -> str:
        """The text of an id; `DataError` if a stranger's index has other bytes or bounds."""
        if 0 <= start <= stop <= len(self._ids):
            with suppress(UnicodeDecodeError):
                return found.decode("utf-8")
        raise self._bad_index(self._ids_at, "the documents' ids are invalid")

    def check(self) -> None:
        """Read the whole `.bin`; `DataError` names the first chunk that was changed."""
        with self.path.open("rb") as binary:
            for number, expected in enumerate(self._sums):
                if zlib.crc32(binary.read(CHUNK)) != int(expected):
                    raise self._damaged(number * CHUNK, f"its next {CHUNK:,} bytes were changed")

    def unknown_token(self, position: int, vocab_size: int) -> DataError:
        """The error for an id outside the vocabulary at `position` (in tokens)."""
        found = int(self.tokens[position])
        return self._damaged(
            position * self._dtype.itemsize,
            f"token {found} is outside the vocabulary of {vocab_size:,}: the shard was changed",
        )

    def _damaged(self, offset: int, what: str) -> DataError:
        return DataError(f"{self.path}: at byte {offset:,}: {what}; {REMEDY}")

    def _read_index(self) -> None:
        raw = _mapped(self.index_path, np.dtype("u1"))
        if len(raw) < _HEADER.size:
            raise self._bad_index(len(raw), f"a header of {_HEADER.size} bytes was expected")
        magic, version, itemsize, documents, tokens, chunks, id_bytes = _HEADER.unpack(
            raw[: _HEADER.size].tobytes()
        )
        if magic == _MAGIC and version > FORMAT_VERSION:
            raise NewerVersionError(self.index_path, version, FORMAT_VERSION)
        if (magic, version, itemsize) != (_MAGIC, FORMAT_VERSION, self._dtype.itemsize):
            raise self._bad_index(0, "this is not the document index of this shard")
        counts = (documents + 1, documents, documents, documents + 1)
        expected = _HEADER.size + 8 * sum(counts) + 4 * chunks + id_bytes
        if len(raw) != expected:
            raise self._bad_index(min(len(raw), expected), f"{expected:,} bytes were expected")
        _, self.characters, self.bytes, self._id_starts = _columns(raw, counts)
        # Read, since all of it is needed now: page faults cost several times as much.
        self.starts = np.fromfile(
            self.index_path, dtype="<i8", count=documents + 1, offset=_HEADER.size
        )
        sums_at = _HEADER.size + 8 * sum(counts)
        self._sums = raw[sums_at : sums_at + 4 * chunks].view("<u4")
        self._ids_at = sums_at + 4 * chunks
        self._ids = raw[self._ids_at :]
        self._n_tokens = tokens
        self._check_starts()

    def _check_starts(self) -> None:
        whole = int(self.starts[0]) == 0 and int(self.starts[-1]) == self._n_tokens
        falls = np.flatnonzero(np.diff(self.starts) < 0)
        if not whole or len(falls):
            place = 8 * (int(falls[0]) + 1) if len(falls) else 0
            raise self._bad_index(_HEADER.size + place, "the documents' starts are invalid")

    def _bad_index(self, offset: int, what: str) -> DataError:
        return DataError(f"{self.index_path}: at byte {offset:,}: {what}; {REMEDY}")

    def _map_tokens(self) -> None:
        found = _size(self.path)
        expected = self._n_tokens * self._dtype.itemsize
        if found != expected:
            state = "cut short" if found < expected else "longer than it was"
            raise self._damaged(
                min(found, expected),
                f"the shard is {state} ({found:,} bytes, {expected:,} expected)",
            )
        self.tokens = _mapped(self.path, self._dtype)


def _columns(raw: npt.NDArray[np.uint8], counts: Sequence[int]) -> list[Ints]:
    columns, offset = [], _HEADER.size
    for count in counts:
        columns.append(raw[offset : offset + 8 * count].view("<i8"))
        offset += 8 * count
    return columns


def _mapped(path: Path, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The file as an array, mapped read-only.

    Documents are read in random order, so the system is told not to read ahead: otherwise it
    fetches 128 KiB for a document of one or two.
    """
    if _size(path) == 0:  # an empty file cannot be mapped
        return np.empty(0, dtype=dtype)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype=dtype)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise DataError(f"{path}: this token file is missing; {REMEDY}") from None
