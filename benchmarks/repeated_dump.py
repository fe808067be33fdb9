"""A dump of any size out of a small one: its pages over and over, with new ids and titles."""

from __future__ import annotations

import bz2
import hashlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common import CACHE, MEGABYTE, ROOT, tell

STREAM_PAGES = 100
"""Pages of a stream in Wikimedia's multistream form."""
FOOTER = b"</mediawiki>\n"

_PAGE = re.compile(rb"\s*<page>.*?</page>", re.DOTALL)
_TITLE = re.compile(rb"<title>([^<]*)</title>")
_ID = re.compile(rb"<id>[0-9]+</id>")
_TEXT = re.compile(rb"(<text[^>]*>)(.*?)(</text>)", re.DOTALL)
_SECTION = re.compile(rb"^(?===[^=])", re.MULTILINE)


@dataclass(frozen=True)
class BenchDump:
    """A generated dump in both forms; `xml_bytes` and `bytes` are those of the plain form."""

    plain: Path
    multistream: Path
    xml_bytes: int

    @property
    def megabytes(self) -> float:
        return self.xml_bytes / MEGABYTE


def make_dump(source: Path, megabytes: int) -> BenchDump:
    """The dump of at least so many MB of XML, below `ROOT / CACHE`; made at the first call only."""
    name = f"dump-{_digest(source)}-{megabytes}mb"
    folder = CACHE / "dumps"
    plain = folder / f"{name}-pages-articles.xml.bz2"
    multistream = folder / f"{name}-pages-articles-multistream.xml.bz2"
    index = folder / f"{name}-pages-articles-multistream-index.txt.bz2"
    size = ROOT / folder / f"{name}.bytes"
    if not size.exists():
        tell(f"making {megabytes} MB of XML, in both forms")
        (ROOT / folder).mkdir(parents=True, exist_ok=True)
        pieces = Pieces(source, megabytes * MEGABYTE)
        written = _write(ROOT / plain, lambda file: _write_plain(file, pieces))
        _write(ROOT / multistream, lambda file: _write_multistream(file, pieces, ROOT / index))
        size.write_text(str(written), "utf-8")
    return BenchDump(plain, multistream, int(size.read_text("utf-8")))


def make_shuffled(source: Path, megabytes: int) -> Path:
    """XML without compression, below `ROOT / CACHE`, in which no two articles have one text."""
    path = ROOT / CACHE / "dumps" / f"shuffled-{_digest(source)}-{megabytes}mb.xml"
    if not path.exists():
        tell(f"making {megabytes} MB of XML out of shuffled sections")
        path.parent.mkdir(parents=True, exist_ok=True)
        pieces = Shuffled(source, megabytes * MEGABYTE)
        _write(path, lambda file: sum(map(file.write, _all(pieces))))
    return path


class Pieces:
    """The generated XML in pieces: the header, then pages up to `size` bytes; `done` are so far."""

    def __init__(self, source: Path, size: int) -> None:
        with bz2.open(source) as file:
            xml = file.read(size)
        self.size = size
        self.header = xml[: xml.index(b"<page>")].rstrip() + b"\n"
        self.done = 0
        self._pages = [b"  " + page.strip() + b"\n" for page in _PAGE.findall(xml)]

    def __iter__(self) -> Iterator[Page]:
        self.done, number = len(self.header), 0
        while self.done < self.size:
            copy, place = divmod(number, len(self._pages))
            number += 1
            page = self._page(self._pages[place], number, copy)
            self.done += len(page.xml)
            yield page

    def _page(self, xml: bytes, number: int, copy: int) -> Page:
        return _renamed(xml, number, copy)


class Shuffled(Pieces):
    """Articles as long as the dump's, each of whose sections is drawn from those of all."""

    def __init__(self, source: Path, size: int) -> None:
        super().__init__(source, size)
        self._draw = random.Random(0)
        self._sections = [part for page in self._pages for part in _parts(page)[1:]]

    def _page(self, xml: bytes, number: int, copy: int) -> Page:
        page = _renamed(xml, number, copy)
        lead, *sections = _parts(page.xml)
        if not lead or lead.startswith(b"#"):  # a redirect
            return page
        drawn = self._draw.choices(self._sections, k=len(sections))
        last = f"\nこれは{number}番目のページである。".encode()
        text = b"".join([lead, *drawn, last])
        xml = _TEXT.sub(lambda found: found[1] + text + found[3], page.xml, count=1)
        return Page(number, page.title, xml)


def _parts(page: bytes) -> list[bytes]:
    """A page's lead and its sections, with their headings."""
    found = _TEXT.search(page)
    return _SECTION.split(found[2]) if found else [b""]


@dataclass(frozen=True)
class Page:
    """A page of the generated dump; `title` as it stands in XML."""

    number: int
    title: bytes
    xml: bytes


def _renamed(xml: bytes, number: int, copy: int) -> Page:
    """A page under another id and, in later copies, another title."""
    found = _TITLE.search(xml)
    title = (found[1] if found else b"") + (f" {copy}".encode() if copy else b"")
    xml = _TITLE.sub(lambda _: b"<title>" + title + b"</title>", xml, count=1)
    return Page(number, title, _ID.sub(b"<id>%d</id>" % number, xml, count=1))


def _write_plain(file: IO[bytes], pieces: Pieces) -> int:
    """One bzip2 stream; the size of its XML."""
    compressor = bz2.BZ2Compressor()
    written = 0
    for piece in _all(pieces):
        file.write(compressor.compress(piece))
        written += len(piece)
    file.write(compressor.flush())
    return written


def _all(pieces: Pieces) -> Iterator[bytes]:
    yield pieces.header
    for page in pieces:
        yield page.xml
    yield FOOTER


def _write_multistream(file: IO[bytes], pieces: Pieces, index: Path) -> int:
    """Wikimedia's form, a stream for the header, 100 pages each and the footer; its index beside.

    The index has a line `offset:id:title` for each page, offsets being those of its stream.
    """
    lines: list[bytes] = []
    offset = file.write(bz2.compress(pieces.header))
    for group in _grouped(pieces):
        lines += [b"%d:%d:%s\n" % (offset, page.number, page.title) for page in group]
        offset += file.write(bz2.compress(b"".join(page.xml for page in group)))
    offset += file.write(bz2.compress(FOOTER))
    index.write_bytes(bz2.compress(b"".join(lines)))
    return offset


def _grouped(pieces: Pieces) -> Iterator[Sequence[Page]]:
    group: list[Page] = []
    for page in pieces:
        group.append(page)
        if len(group) == STREAM_PAGES:
            yield group
            group = []
    if group:
        yield group


def _write(path: Path, write: Callable[[IO[bytes]], int]) -> int:
    """A file that has its name once it is whole."""
    staged = path.with_name(f"{path.name}.part")
    with staged.open("wb") as file:
        written = write(file)
    staged.replace(path)
    return written


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]
