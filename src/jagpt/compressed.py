"""The bytes of a plain or compressed file, block by block, never silently fewer.

The usual openers hide damage: `bz2.open` returns less when a later stream of a file is damaged or
when something else follows a stream, and readers of zstd end silently within a frame. Here each
stream (gzip member, zstd frame) is decoded by its own object and must end as its format says; what
follows it must be another stream. Output comes in blocks of bounded size, whatever a few
compressed bytes claim to contain.

If the caller wants to continue after damage, a damaged stream is skipped as a whole, up to where
the next one begins (bzip2 marks it with 80 bits; the others have no such mark, so the rest of
the file is skipped), and what was lost is counted.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

import zstandard

from jagpt import files
from jagpt.errors import DataError, StorageError, storage_error

READ_BYTES = 128 * 1024
"""Compressed bytes read at a time."""
BLOCK_BYTES = 1024 * 1024
"""Largest block returned (64 times that for zstd, see `_Zstd`)."""
MOST_MEMORY = 512 * 1024 * 1024
"""Memory in bytes that a compressed file may demand of its reader; `xz -9` needs 65 MiB, and
`zstd --long=29` all of it."""
HELD_BYTES = 64 * 1024 * 1024
"""Bytes held back of a stream that may turn out to be damaged. A block of bzip2 is checked at its
end, and its 900,000 bytes can stand for 46 MB (runs of 255 in 5 bytes)."""
GAP = b""
"""Takes the place of a skipped damaged stream among the blocks."""
STREAM_START = re.compile(rb"BZh[1-9]1AY&SY")
"""How a non-empty bzip2 stream begins: its header, then the mark of a block."""
START_BYTES = 10
LISTED_LOSSES = 100
FREE_BYTES = 256 * 1024 * 1024
MOST_TIMES = 1_000
"""Beyond `FREE_BYTES`, a file may not expand to more than this many times its size. Text expands
about twentyfold, repetitive data about a hundredfold; gzip cannot exceed 1,032."""
CUT_SHORT = "cut short"


class StreamDecoder(Protocol):
    """What `bz2.BZ2Decompressor` and `lzma.LZMADecompressor` have in common: one stream."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@dataclass(frozen=True)
class Compression:
    """A compression format: its name, how a stream begins, a stream's decoder, allowed padding."""

    name: str
    stream: str
    magics: tuple[bytes, ...]
    decoder: Callable[[], StreamDecoder]
    padding: bytes = b""
    start: re.Pattern[bytes] | None = None

    @property
    def longest_magic(self) -> int:
        return max(map(len, self.magics))


@dataclass(frozen=True)
class Loss:
    """What was left out: `bytes` from byte `offset`, of the file itself for a `stream`, of its XML
    for what is lost `between pages`. A stream counts in full, even if its beginning could be used:
    before a cut, or `HELD_BYTES` before damage."""

    what: Literal["stream", "between pages"]
    offset: int
    bytes: int
    problem: str


@dataclass
class Losses:
    """Everything left out of a file, with the first `LISTED_LOSSES` places listed individually."""

    streams: int = 0
    stream_bytes: int = 0
    between_pages: int = 0
    xml_bytes: int = 0
    places: list[Loss] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.streams or self.between_pages)

    def add(self, loss: Loss) -> None:
        if loss.what == "stream":
            self.streams += 1
            self.stream_bytes += loss.bytes
        else:
            self.between_pages += 1
            self.xml_bytes += loss.bytes
        if len(self.places) < LISTED_LOSSES:
            self.places.append(loss)


class StreamError(DataError):
    """A stream that cannot be read to its end; `reason` does not repeat the file's name."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass
class Expansion:
    """What a file has become so far; `DataError` if that is beyond all measure."""

    path: Path
    given: int = 0

    def add(self, count: int, taken: int) -> None:
        """This many bytes came out, and `taken` in total were read for them."""
        self.given += count
        if self.given > max(FREE_BYTES, MOST_TIMES * taken):
            raise DataError(
                f"{self.path}: {taken:,} bytes of it expanded to {self.given:,} already, and more "
                f"than {MOST_TIMES:,} times its size is treated as an attack; if this is intended, "
                "decompress the file first"
            )


class _Gzip:
    """`zlib` behind the interface of `StreamDecoder`."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class _Zstd:
    """`zstandard` behind the interface of `StreamDecoder`.

    It has no limit on what one call returns, so it is fed little at a time: four compressed bytes
    can stand for 128 KiB, so `SLICE` bytes give at most 64 MiB.
    """

    SLICE = 2048

    def __init__(self) -> None:
        self._zstd = zstandard.ZstdDecompressor(max_window_size=MOST_MEMORY).decompressobj()
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return self._zstd.eof

    @property
    def needs_input(self) -> bool:
        return not self._waiting

    @property
    def unused_data(self) -> bytes:
        return self._zstd.unused_data + self._waiting

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._waiting + data
        self._waiting = data[self.SLICE :]
        return self._zstd.decompress(data[: self.SLICE])


BZIP2 = Compression("bzip2", "stream", (b"BZh",), bz2.BZ2Decompressor, start=STREAM_START)
GZIP = Compression("gzip", "member", (b"\x1f\x8b",), _Gzip, padding=b"\0")
XZ = Compression(
    "xz",
    "stream",
    (b"\xfd7zXZ\0",),
    lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MOST_MEMORY),
    padding=b"\0",
)
ZSTD = Compression(
    "zstd",
    "frame",
    (b"\x28\xb5\x2f\xfd", *(bytes([n]) + b"\x2a\x4d\x18" for n in range(0x50, 0x60))),
    _Zstd,
)
FORMATS = {".bz2": BZIP2, ".gz": GZIP, ".xz": XZ, ".zst": ZSTD}
"""By the file's suffix; any other file is plain."""

_DAMAGE = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
_TOO_MUCH_MEMORY = re.compile("Memory usage limit|requires too much memory")
"""How xz and zstd say that a file is over `MOST_MEMORY`; it is not damaged."""


class Reader:
    """A file's decompressed bytes, in one pass: iterate, then ask for `sha256`.

    From byte `start` of the file, where stream number `streams` (from 0) begins, to byte `end`.
    Raises `DataError` with file, stream and offset where the file is empty, is not what its name
    says, is cut short, damaged, or followed by something else; with `skip_damaged` a stream of
    which that is true is left out, unless the file is of an entirely different kind.
    """

    def __init__(
        self,
        path: Path,
        *,
        start: int = 0,
        end: int | None = None,
        streams: int = 0,
        skip_damaged: bool = False,
    ) -> None:
        self.path = path
        self.format = FORMATS.get(path.suffix.lower())
        self.skip_damaged = skip_damaged
        self.offset = start
        """Bytes of the file read so far."""
        self.streams = streams
        """Streams begun so far."""
        self.losses = Losses()
        self._start, self._end = start, end
        self._hash = hashlib.sha256()
        self._hashed = start
        self._opened = ExitStack()
        self._expansion = Expansion(path)
        self._file: BinaryIO

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of what was read of the file (of all of it after the last block)."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        try:
            files.regular_file(self.path)
            file = self.path.open("rb")
        except OSError as error:
            raise storage_error(error, "reading it") from None
        with self._opened:
            self._file = self._opened.enter_context(file)
            self._seek(self._start)
            first = self._read()
            if not first:
                raise DataError(f"{self.path}: the file is empty")
            if self.format is not None:
                yield from self._decoded(self.format, first)
                return
            yield first
            while chunk := self._read():
                yield chunk

    def close(self) -> None:
        """Close the file before it is read to the end."""
        self._opened.close()

    def _read(self) -> bytes:
        """The next raw bytes of the file, empty at the end."""
        wanted = READ_BYTES
        if self._end is not None:
            wanted = min(wanted, self._end - self.offset)
        try:
            chunk = self._file.read(wanted)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror} at byte {self.offset}") from None
        self.offset += len(chunk)
        fresh = self.offset - self._hashed  # less than the chunk where it was read before
        if fresh > 0:
            self._hash.update(chunk[-fresh:])
            self._hashed = self.offset
        return chunk

    def _seek(self, offset: int) -> None:
        self._file.seek(offset)
        self.offset = offset

    def _decoded(self, form: Compression, data: bytes) -> Iterator[bytes]:
        """All streams of the file; `data` holds what is read but not decoded yet."""
        while True:
            data = self._stream_start(form, data, first=self.streams == 0)
            if not data:
                return
            start = self.offset - len(data)
            decoder = form.decoder()
            try:
                if not data.startswith(form.magics):
                    raise self._foreign(form, data, start)
                self.streams += 1
                blocks = self._stream(form, decoder, start, data)
                yield from _held_back(blocks) if self.skip_damaged else blocks
            except StreamError as error:
                if not self.skip_damaged or self.streams == 0:
                    raise
                data = self._next_stream(form, start, error.reason)
                yield GAP
            else:
                data = decoder.unused_data

    def _stream(
        self, form: Compression, decoder: StreamDecoder, start: int, data: bytes
    ) -> Iterator[bytes]:
        """One stream, which begins at byte `start` of the file."""
        place = f"{form.name} {form.stream} {self.streams}, which begins at byte {start}"
        while True:
            try:
                block = decoder.decompress(data, BLOCK_BYTES)
            except _DAMAGE as error:
                if _TOO_MUCH_MEMORY.search(str(error)):
                    raise DataError(
                        f"{self.path}: {place}, needs more than {MOST_MEMORY // 2**20} MiB of "
                        "memory to decompress; compress the file again with less (zstd with "
                        "--long=29 at most, xz with a smaller dictionary), or decompress it first"
                    ) from None
                raise StreamError(
                    f"{self.path}: damaged in {place}, before byte {self.offset} ({error}); "
                    "download or create the file again",
                    f"damaged ({error})",
                ) from None
            if block:
                self._expansion.add(len(block), self.offset - self._start)
                yield block
            if decoder.eof:
                return
            data = self._read() if decoder.needs_input else b""
            if not data and decoder.needs_input:
                raise StreamError(
                    f"{self.path}: cut short: the file ends at byte {self.offset} within {place}; "
                    "download or create the file again",
                    CUT_SHORT,
                )

    def _stream_start(self, form: Compression, data: bytes, *, first: bool) -> bytes:
        """`data` without padding, long enough to recognize the beginning of a stream; empty at the
        end.
        """
        while True:
            if not first and form.padding:
                data = data.lstrip(form.padding)
            if len(data) >= form.longest_magic:
                return data
            more = self._read()
            if not more:
                return data
            data += more

    def _next_stream(self, form: Compression, start: int, reason: str) -> bytes:
        """Skip the damaged stream at byte `start`; returns the data from where the next one
        begins.
        """
        self._seek(start + 1)
        tail = b""
        place = None
        while chunk := self._read():
            if form.start is None:
                continue
            data = tail + chunk
            if found := form.start.search(data):
                place = self.offset - len(data) + found.start()
                break
            tail = data[1 - START_BYTES :]
        place = self.offset if place is None else place
        self.losses.add(Loss("stream", start, place - start, reason))
        self._seek(place)
        return self._read()

    def _foreign(self, form: Compression, data: bytes, start: int) -> StreamError:
        if self.streams == 0:
            name = self.path.suffix
            return StreamError(
                f"{self.path}: not a {form.name} file, though its name ends in {name} "
                f"(it begins with {data[:8]!r})",
                f"not {form.name}",
            )
        return StreamError(
            f"{self.path}: after {form.name} {form.stream} {self.streams}, at byte {start}, comes "
            f"something that is not {form.name} ({data[:8]!r}); download or create the file again",
            f"not {form.name}",
        )


def _held_back(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, the last `HELD_BYTES` of them only if no damage shows; a mere cut harms none."""
    held: deque[bytes] = deque()
    size = 0
    try:
        for block in blocks:
            held.append(block)
            size += len(block)
            while size - len(held[0]) >= HELD_BYTES:
                size -= len(held[0])
                yield held.popleft()
    except StreamError as error:
        if error.reason == CUT_SHORT:
            yield from held
        raise
    yield from held
