"""Wikimedia's multistream form: where its streams begin, in ranges that can be read apart.

The first bzip2 stream holds only the header, each further one complete pages, the last one the
closing tag. The file is scanned for places where a stream begins (its SHA-256 is needed anyway, and
the scan costs less). A false match does no harm: the reader of a range finds that its streams do
not end where it ends, and the range counts as not clean.

The index next to the dump (`offset:page id:title`, one line per page, in the dump's order) does not
help in finding streams, but it knows which should be there: it is checked against the scan, stream
by stream, and against the pages.
https://meta.wikimedia.org/wiki/Data_dumps/Dump_format
"""

from __future__ import annotations

import bz2
import hashlib
import re
from array import array
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from xml.sax.saxutils import escape

from jagpt.compressed import START_BYTES, STREAM_START, Reader
from jagpt.corpus.dump import HEADER_BYTES, Dump, Place
from jagpt.corpus.selection import normal
from jagpt.errors import DataError, JagptError, storage_error

RANGE_BYTES = 3 * 512 * 1024
"""A range ends with the stream that reaches this many compressed bytes (about 6 MB of XML) …"""
LAST_BYTES = 256 * 1024
"""… towards the end of the file fewer, down to this many: otherwise one worker may be left with
much to do when the others are idle."""
LAST_SHARE = 8
"""The rest of the file makes at least this many ranges."""
SCAN_BYTES = 1024 * 1024
INDEX_LINE_BYTES = 64 * 1024
_BLOCK_MARK = b"1AY&SY"
_ENTRY = re.compile(rb"([0-9]{1,18}):([0-9]{1,18}):(.*)")


@dataclass(frozen=True)
class Beginning:
    """The stream with the header: its bytes in the file, and where it ends in the dump."""

    size: int
    place: Place


@dataclass(frozen=True)
class Range:
    """Streams from byte `start` to byte `end` of the file, and their bytes' hex SHA-256.

    `ids` are its pages according to the index, if there is one; `problem` is how the index
    contradicts the file here.
    """

    start: int
    end: int
    sha256: str
    last: bool
    ids: array[int] | None = None
    problem: str | None = None


def beginning(path: Path) -> Beginning | None:
    """The first stream of a multistream dump; None if the file is anything else.

    Raises `DataError` if the header is not that of a MediaWiki export.
    """
    size = _first_stream(path) if path.suffix.lower() == ".bz2" else None
    if size is None:
        return None
    with closing(Reader(path, end=size)) as reader:
        return Beginning(size, Dump(reader, piece=True).place)


def index_beside(path: Path) -> Path | None:
    """The index that belongs to a dump by its name, if it is there.

    `…-multistream3.xml-p1p2.bz2` has `…-multistream-index3.txt-p1p2.bz2`.
    """
    name, found = re.subn(r"-multistream([0-9]*)\.xml", r"-multistream-index\1.txt", path.name)
    index = path.with_name(name)
    return index if found and index.is_file() else None


@dataclass
class Ranges:
    """The ranges of a dump from byte `start`, where a stream begins, in order, in one pass.

    Afterwards `size` and `sha256` are those of the whole file. An index that does not match ends
    the iteration with a range that says so.
    """

    path: Path
    start: int
    index: Path | None = None
    size: int = 0
    _hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[Range]:
        self.size = self.path.stat().st_size
        entries = _Entries(self.index) if self.index else None
        self._digest(0, self.start)
        start, ids, problem = self.start, array("Q"), None
        for stream, end in _streams(self.path, self.start, self.size):
            if entries is not None:
                problem = entries.take(stream, ids, last=end == self.size)
            last = end == self.size
            if last or problem is not None or end - start >= _range_bytes(self.size - start):
                expected = ids if entries is not None else None
                yield Range(start, end, self._digest(start, end), last, expected, problem)
                start, ids = end, array("Q")
            if problem is not None:
                return

    def _digest(self, start: int, end: int) -> str:
        """Hex SHA-256 of these bytes, which enter the whole file's too."""
        own = hashlib.sha256()
        for _, block in _blocks(self.path, start, end):
            own.update(block)
            self._hash.update(block)
        return own.hexdigest()


def ranges_of_titles(
    path: Path, start: int, index: Path, titles: Iterable[str]
) -> list[Range] | None:
    """The streams with the pages of these titles, each as a range, as the index lists them.

    None if it does not list streams in order from byte `start` on, which makes it useless.
    """
    names = {form for title in titles for form in _listed(normal(title))}
    size, bounds, pages, wanted = path.stat().st_size, [start], [array("Q")], [-1]
    for offset, page, title in _Entries(index).read():
        if offset != bounds[-1]:
            if not bounds[-1] < offset < size:
                return None
            bounds.append(offset)
            pages.append(array("Q"))
        pages[-1].append(page)
        if wanted[-1] != len(pages) - 1 and normal(title.decode("utf-8", "replace")) in names:
            wanted.append(len(pages) - 1)
    bounds.append(size)
    return [
        Range(bounds[k], end := bounds[k + 1], _sha256(path, bounds[k], end), end == size, pages[k])
        for k in wanted[1:]
    ]


def _listed(title: str) -> tuple[str, ...]:
    """A title as an index may have it, with some characters as XML references."""
    quoted = escape(title, {'"': "&quot;"})
    return title, escape(title), quoted, quoted.replace("'", "&#039;")


def _sha256(path: Path, start: int, end: int) -> str:
    digest = hashlib.sha256()
    for _, block in _blocks(path, start, end):
        digest.update(block)
    return digest.hexdigest()


def stream_starts(path: Path, start: int = 0) -> Iterator[int]:
    """The offsets from `start` on at which a bzip2 stream seems to begin, in order."""
    tail = b""
    for offset, block in _blocks(path, start):
        data, place = tail + block, offset - len(tail)
        found = data.find(_BLOCK_MARK)
        while found >= 0:
            if found >= 4 and STREAM_START.match(data, found - 4):
                yield place + found - 4
            found = data.find(_BLOCK_MARK, found + 1)
        tail = data[1 - START_BYTES :]


def _range_bytes(left: int) -> int:
    """How long a range should be that begins this many bytes before the end of the file."""
    return min(RANGE_BYTES, max(LAST_BYTES, left // LAST_SHARE))


def _streams(path: Path, start: int, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each stream."""
    for end in chain(stream_starts(path, start), [size]):
        if start < end <= size:
            yield start, end
            start = end


def _blocks(path: Path, start: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
    """The file's raw bytes, each block with its offset."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            while block := file.read(SCAN_BYTES if end is None else min(SCAN_BYTES, end - start)):
                yield start, block
                start += len(block)
    except OSError as error:
        raise storage_error(error, "reading it") from None


def _first_stream(path: Path) -> int | None:
    """The size of the first stream if it holds only a header and another one follows."""
    try:
        with path.open("rb") as file:
            data = file.read(HEADER_BYTES)
    except OSError:
        return None  # the reader reports this better
    decoder = bz2.BZ2Decompressor()
    try:
        xml = decoder.decompress(data, HEADER_BYTES)
    except (OSError, ValueError):
        return None
    if not decoder.eof or not STREAM_START.match(decoder.unused_data):
        return None
    if b"<mediawiki" not in xml or b"<page" in xml or b"</mediawiki>" in xml:
        return None
    return len(data) - len(decoder.unused_data)


class _Entries:
    """An index, read along with the streams that it lists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = self.read()
        self._next: tuple[int, int, bytes] | None = None
        self._begun = False

    def take(self, stream: int, ids: array[int], *, last: bool) -> str | None:
        """Add to `ids` the pages of the stream at that byte; returns what is wrong with the index,
        if anything.

        After the `last` stream nothing may be left.
        """
        try:
            return self._take(stream, ids, last=last)
        except JagptError as error:
            return str(error)

    def _take(self, stream: int, ids: array[int], *, last: bool) -> str | None:
        if not self._begun:
            self._begun, self._next = True, next(self._lines, None)
        while self._next is not None and self._next[0] == stream:
            ids.append(self._next[1])
            self._next = next(self._lines, None)
        if self._next is not None and (last or self._next[0] < stream):
            offset, page, _ = self._next
            return (
                f"{self.path}: says that page {page} is in a stream that begins at byte {offset} "
                "of the dump, and none begins there"
            )
        return None

    def read(self) -> Iterator[tuple[int, int, bytes]]:
        """Offset, page id and title of each line."""
        number, waiting = 0, b""
        for block in Reader(self.path):
            *lines, waiting = (waiting + block).split(b"\n")
            for line in lines:
                number += 1
                yield self._entry(number, line)
            if len(waiting) > INDEX_LINE_BYTES:
                break
        if waiting:
            yield self._entry(number + 1, waiting)

    def _entry(self, number: int, line: bytes) -> tuple[int, int, bytes]:
        if entry := _ENTRY.fullmatch(line):
            return int(entry[1]), int(entry[2]), entry[3]
        raise DataError(f"{self.path}: line {number} is not `offset:page id:title`: {line[:40]!r}")
