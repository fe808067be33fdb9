"""Pages of a MediaWiki export (XML, formats 0.3 to 0.11), first raw, then parsed.

The XML is cut into raw pages by the tags `<page>` and `</page>`, which cannot occur inside a
page's text (it is escaped): that costs little compared with decompression. Parsing a page is
left to whatever converts it, perhaps in other processes. A dump can be read completely, from a
place within it to its end, or just a piece of it.

Format: https://www.mediawiki.org/wiki/Help:Export#Export_format
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any, NoReturn
from urllib.parse import quote
from xml.parsers import expat

from jagpt.compressed import CUT_SHORT, GAP, Loss, Reader
from jagpt.errors import DataError

VERSIONS = tuple(f"0.{minor}" for minor in range(3, 12))
HEADER_BYTES = 1024 * 1024
"""Longest header before the first page; Wikimedia's is 3 KB."""
PAGE_BYTES = 64 * 1024 * 1024
"""A page over this limit is not read; MediaWiki's own limit of 2 MiB of text is 12 MiB in XML."""
HEAD_BYTES = 64 * 1024
"""How much of such a page is kept, to name it."""
LONGEST_TITLE = 1024
"""Characters of a page's title; MediaWiki's own limit is 255 bytes."""
DEEPEST_ELEMENT = 32
"""Levels of elements; MediaWiki writes six."""

_PAGE = re.compile(rb"<page(?=[\s>])")  # it may have attributes
_PAGE_END, _END = b"</page>", b"</mediawiki>"
_SPACE = re.compile(rb"[ \t\r\n]*")
_REDIRECT = re.compile(
    r"\s*#(?:redirect(?:ion)?|転送|リダイレクト|weiterleitung|redirección|rinvia|doorverwijzing"
    r"|przekieruj|перенаправление|넘겨주기|重定向)\s*+:?\s*+\[\[",
    re.IGNORECASE,
)
MARKED_BY_TEXT = ("0.3",)
"""Formats that mark redirects only by their text."""


@dataclass(frozen=True)
class Header:
    """What a dump says about its wiki. `namespaces` maps lower-case names to numbers."""

    version: str
    dbname: str | None
    base: str | None
    namespaces: Mapping[str, int] = field(default_factory=dict)

    def url(self, title: str) -> str | None:
        """The URL of the page with that title; None if the dump does not give its own."""
        if self.base is None or not self.base.startswith(("https://", "http://")):
            return None
        place, wiki, _ = self.base.partition("/wiki/")
        if not wiki:
            place, wiki = self.base.rpartition("/")[0], "/"
        return place + wiki + title_in_url(title)

    def namespace(self, title: str) -> int:
        """The namespace that a full title's prefix names (formats before 0.6 do not say it)."""
        prefix, colon, _ = title.partition(":")
        return self.namespaces.get(_namespace_name(prefix), 0) if colon else 0


@dataclass(frozen=True, slots=True)
class RawPage:
    """A page's XML; only its beginning if `size`, its length in bytes, is over the limit."""

    xml: bytes
    size: int

    @property
    def whole(self) -> bool:
        return len(self.xml) == self.size


@dataclass(frozen=True, slots=True)
class Page:
    """A page in its last revision. `problem` says why there is no `wikitext`."""

    id: str
    title: str
    namespace: int
    redirect: bool
    revision: int | None
    wikitext: str
    problem: str | None = None


# --- cutting --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Between two pages of a dump: its header, pages before, bytes of XML before."""

    header: Header
    pages: int
    offset: int


class Dump:
    """A dump's header and, by iteration, its raw pages, in one pass.

    Given the `place` where its reader begins, it continues from there. A `piece` may end after any
    page; `closed` tells whether it ended with the closing tag.

    Raises `DataError` if the file is damaged or cut short (see `Reader`), is not a MediaWiki
    export, has its own document type or entities, or ends without its closing tag. With a
    `skip_damaged` reader, it continues at the next page, and adds what is lost to its `losses`;
    without a complete header nothing can be read.
    """

    def __init__(self, reader: Reader, place: Place | None = None, *, piece: bool = False) -> None:
        self.reader = reader
        self.pages = place.pages if place else 0
        """Pages read so far."""
        self.closed = False
        self._piece = piece
        self._blocks = iter(reader)
        self._buffer = bytearray()
        self._offset = place.offset if place else 0  # of the buffer's first byte, in bytes of XML
        self.header = place.header if place else self._read_header()

    @property
    def place(self) -> Place:
        """The current place."""
        return Place(self.header, self.pages, self._offset)

    def __iter__(self) -> Iterator[RawPage]:
        while True:
            try:
                page = self._next_page()
            except _GapError as gap:
                if self.closed or self._resume(gap):
                    continue
                return
            if page is None:
                return
            yield page
            self.pages += 1

    def _next_page(self) -> RawPage | None:
        """None at the end."""
        self._skip_space()
        if self.closed:
            self._check_end()
            return None
        if _PAGE.match(self._buffer):
            return self._read_page()
        if self._buffer.startswith(_END):
            self._drop(len(_END))
            self.closed = True
            return self._next_page()
        if self._buffer or not self._piece:
            self._refuse_between()
        return None

    def _more(self) -> bool:
        """Add a block to the buffer; False at the end of the file."""
        try:
            block = next(self._blocks, None)
        except DataError as error:
            raise DataError(f"{error} (found {self._place()})") from None
        if block == GAP:
            raise _GapError("cut by damage", drop=True)
        self._buffer += block or b""
        return block is not None

    def _resume(self, gap: _GapError) -> bool:
        """Move to the next page or the closing tag; False if there is none."""
        start, lost = self._offset, 0
        if gap.drop:  # what comes next does not belong to what is in the buffer
            lost += self._discard(len(self._buffer))
        while (found := self._next_tag()) is None:
            lost += self._discard(max(0, len(self._buffer) - len(_END) + 1))
            try:
                if not self._more():
                    break
            except _GapError:
                lost += self._discard(len(self._buffer))
        lost += self._discard(len(self._buffer) if found is None else found)
        if found is None:
            self._lose(start, lost, f"{CUT_SHORT}: no </mediawiki>")
        elif lost:
            self._lose(start, lost, gap.problem)
        return found is not None

    def _next_tag(self) -> int | None:
        """Where the next page or the closing tag begins in the buffer."""
        page, end = _PAGE.search(self._buffer), self._buffer.find(_END)
        found = [n for n in (page.start() if page else -1, end) if n >= 0]
        return min(found, default=None)

    def _discard(self, count: int) -> int:
        """Drop this many bytes; returns how many of them were not white space around the rest."""
        lost = len(self._buffer[:count].strip())
        self._drop(count)
        return lost

    def _lose(self, start: int, count: int, problem: str) -> None:
        self.reader.losses.add(Loss("between pages", start, count, problem))

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._offset += count

    def _place(self) -> str:
        return f"after page {self.pages}, at byte {self._offset} of its XML"

    def _read_header(self) -> Header:
        """Everything before the first page (or the closing tag), parsed."""
        try:
            while (found := self._next_tag()) is None:
                if len(self._buffer) > HEADER_BYTES or not self._more():
                    break
        except _GapError:
            problem = self.reader.losses.places[0].problem
            raise DataError(
                f"{self.reader.path}: {problem} before the first page, in the header; nothing can "
                "be read without that: download the dump again"
            ) from None
        length = len(self._buffer) if found is None else found
        header = _parse_header(bytes(self._buffer[:length]), str(self.reader.path))
        if found is None and length > HEADER_BYTES:
            raise DataError(
                f"{self.reader.path}: no <page> in the first {HEADER_BYTES} bytes of its XML; "
                "expected a MediaWiki export (pages-articles)"
            )
        self._drop(length)
        return header

    def _skip_space(self) -> None:
        """Move to the next tag, with enough in the buffer to identify it."""
        while True:
            space = _SPACE.match(self._buffer)
            self._drop(space.end() if space else 0)
            if len(self._buffer) >= len(_END) or not self._more():
                return

    def _read_page(self) -> RawPage:
        searched = 0
        while (end := self._buffer.find(_PAGE_END, searched)) < 0:
            searched = max(0, len(self._buffer) - len(_PAGE_END) + 1)
            if len(self._buffer) > PAGE_BYTES:
                return self._skip_page()
            if not self._more():
                self._refuse_cut()
        size = end + len(_PAGE_END)
        page = RawPage(bytes(self._buffer[: size if size <= PAGE_BYTES else HEAD_BYTES]), size)
        self._drop(size)
        return page

    def _skip_page(self) -> RawPage:
        """Skip a page that is too long to hold."""
        head, start = bytes(self._buffer[:HEAD_BYTES]), self._offset
        while (end := self._buffer.find(_PAGE_END)) < 0:
            self._drop(len(self._buffer) - len(_PAGE_END) + 1)
            if not self._more():
                self._refuse_cut()
        self._drop(end + len(_PAGE_END))
        return RawPage(head, self._offset - start)

    def _check_end(self) -> None:
        """Only white space may follow the closing tag."""
        if self._buffer:
            raise DataError(
                f"{self.reader.path}: continues after </mediawiki> ({bytes(self._buffer[:20])!r}, "
                f"{self._place()}); put each export into its own file, and select them all with "
                "a pattern"
            )

    def _refuse_between(self) -> NoReturn:
        if len(self._buffer) < len(_END):
            self._refuse_cut()
        if self.reader.skip_damaged:
            raise _GapError("neither <page> nor </mediawiki>", drop=False)
        raise DataError(
            f"{self.reader.path}: damaged {self._place()}: expected <page> or </mediawiki>, found "
            f"{bytes(self._buffer[:20])!r}; download the dump again"
        )

    def _refuse_cut(self) -> NoReturn:
        if self.reader.skip_damaged:
            raise _GapError(CUT_SHORT, drop=True)
        raise DataError(
            f"{self.reader.path}: cut short {self._place()}: the file ends at byte "
            f"{self.reader.offset} without </mediawiki>; download the dump again"
        )


class _GapError(Exception):
    """Something is missing here; `drop` says whether it began before the buffer's end."""

    def __init__(self, problem: str, *, drop: bool) -> None:
        super().__init__(problem)
        self.problem = problem
        self.drop = drop


# --- parsing --------------------------------------------------------------------------------------


def _parse_header(xml: bytes, name: str) -> Header:
    """The header from the XML before the first page."""
    if not xml.strip():
        raise DataError(f"{name}: it is empty; expected a MediaWiki export")
    handler = _HeaderHandler(name)
    parser = _parser(handler)
    parser.StartDoctypeDeclHandler = handler.doctype
    try:
        parser.Parse(xml, False)
    except expat.ExpatError as error:
        raise DataError(
            f"{name}: not XML ({error}); expected a MediaWiki export, found {xml[:20]!r}"
        ) from None
    except ValueError as error:
        line, column = parser.CurrentLineNumber, parser.CurrentColumnNumber
        raise DataError(
            f"{name}: line {line}, column {column}: {error}; MediaWiki exports never contain that"
        ) from None
    return handler.header()


def parse_page(raw: RawPage, header: Header) -> Page:
    """The page in its last revision; one that cannot be read has a `problem` instead of text."""
    if not raw.whole:
        return _unread_page(raw.xml, header, "too large")
    handler = _PageHandler()
    try:
        _parser(handler).Parse(raw.xml, True)
        return handler.page(header)
    except expat.ExpatError as error:
        reason = expat.errors.messages.get(error.code, "bad XML")
        return _unread_page(raw.xml, header, f"malformed ({reason})")
    except ValueError as error:
        return _unread_page(raw.xml, header, f"malformed ({error})")


def title_in_url(title: str) -> str:
    """A page's title as MediaWiki writes it in an address."""
    return quote(title.replace(" ", "_"), safe="/:;@$!*(),~")


def is_redirect(wikitext: str) -> bool:
    """Whether a page's text says that it redirects, in any language that we know."""
    return _REDIRECT.match(wikitext) is not None


def _unread_page(xml: bytes, header: Header, problem: str) -> Page:
    """What the beginning of a page's XML says about it."""
    head = xml[:HEAD_BYTES].decode("utf-8", errors="replace")

    def value(tag: str) -> str:
        match = re.search(f"<{tag}>([^<]{{0,1000}})</{tag}>", head)
        return unescape(match[1]) if match else ""

    title, namespace = value("title"), value("ns")
    number = int(namespace) if re.fullmatch("-?[0-9]{1,6}", namespace) else header.namespace(title)
    return Page(value("id"), title, number, False, None, "", problem)


class _Handler:
    """The text of the elements in `wanted`, by their path below the root, of one XML document."""

    wanted: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.path: list[str] = []
        self.parts: list[str] = []
        self.values: dict[str, str] = {}
        self.collecting = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Raises `ValueError` if elements are nested deeper than in any export."""
        self.path.append(tag)
        if len(self.path) > DEEPEST_ELEMENT:
            raise ValueError(f"elements nested deeper than {DEEPEST_ELEMENT} levels")
        place = "/".join(self.path[1:])
        self.collecting = place in self.wanted
        self.parts = []
        self.started(place, attributes)

    def text(self, data: str) -> None:
        if self.collecting:
            self.parts.append(data)

    def end(self, tag: str) -> None:
        if self.collecting:
            place = "/".join(self.path[1:])
            self.values[place] = "".join(self.parts)
            self.collecting = False
        self.path.pop()

    def started(self, place: str, attributes: dict[str, str]) -> None:
        """An element begins at `place`."""


class _HeaderHandler(_Handler):
    wanted = frozenset({"siteinfo/dbname", "siteinfo/base", "siteinfo/namespaces/namespace"})

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.version = ""
        self.namespaces: dict[str, int] = {}
        self.number = 0

    def doctype(self, *_: Any) -> NoReturn:
        raise DataError(
            f"{self.name}: has a document type (<!DOCTYPE …>), which MediaWiki exports never have"
        )

    def started(self, place: str, attributes: dict[str, str]) -> None:
        if len(self.path) == 1:
            self._check_root(self.path[0], attributes)
        elif place == "siteinfo/namespaces/namespace":
            key = attributes.get("key", "")
            self.number = int(key) if re.fullmatch("-?[0-9]{1,6}", key) else 0

    def end(self, tag: str) -> None:
        super().end(tag)
        name = self.values.pop("siteinfo/namespaces/namespace", "")
        if name:
            self.namespaces[_namespace_name(name)] = self.number

    def _check_root(self, tag: str, attributes: dict[str, str]) -> None:
        if tag != "mediawiki":
            raise DataError(
                f"{self.name}: XML, but not a MediaWiki export: it begins with <{tag}>, "
                "expected <mediawiki>"
            )
        self.version = attributes.get("version", "")
        if self.version not in VERSIONS:
            raise DataError(
                f"{self.name}: MediaWiki export format {self.version or 'without a version'}; "
                f"{VERSIONS[0]} to {VERSIONS[-1]} can be read"
            )

    def header(self) -> Header:
        if not self.path and not self.version:
            raise DataError(f"{self.name}: not XML: it has no element")
        dbname, base = (self.values.get(f"siteinfo/{key}") for key in ("dbname", "base"))
        return Header(self.version, dbname or None, base or None, self.namespaces)


class _PageHandler(_Handler):
    wanted = frozenset(
        {"title", "ns", "id", "redirect", "revision/id", "revision/model", "revision/text"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.deleted = False

    def started(self, place: str, attributes: dict[str, str]) -> None:
        if place == "revision":  # of several, the last one counts
            self.values = {k: v for k, v in self.values.items() if not k.startswith("revision/")}
            self.deleted = False
        elif place == "revision/text":
            self.deleted = "deleted" in attributes

    def page(self, header: Header) -> Page:
        """Raises `ValueError` if an essential element is missing or not a number."""
        values = self.values
        title, text = values.get("title", ""), values.get("revision/text", "")
        points = is_redirect(text)
        number = values.get("id", "").strip()
        if not title:
            raise ValueError("no title")
        if len(title) > LONGEST_TITLE:
            raise ValueError(f"title longer than {LONGEST_TITLE} characters")
        if not re.fullmatch("[0-9]{1,18}", number):
            raise ValueError("no page id")
        namespace = values.get("ns", "").strip() or str(header.namespace(title))
        if not re.fullmatch("-?[0-9]{1,6}", namespace):
            raise ValueError("no namespace")
        revision = values.get("revision/id", "").strip()
        problem = None
        if self.deleted or "revision/text" not in values:
            problem = "no text"
        elif values.get("revision/model", "wikitext") != "wikitext":
            problem = "not wikitext"
        return Page(
            id=number,
            title=title,
            namespace=int(namespace),
            redirect="redirect" in values or (points and header.version in MARKED_BY_TEXT),
            revision=int(revision) if re.fullmatch("[0-9]{1,18}", revision) else None,
            wikitext="" if points else text,  # a page that MediaWiki did not treat as a redirect
            problem=problem,
        )


def _parser(handler: _Handler) -> expat.XMLParserType:
    parser = expat.ParserCreate("utf-8")
    parser.buffer_text = True
    parser.buffer_size = 256 * 1024
    parser.StartElementHandler = handler.start
    parser.CharacterDataHandler = handler.text
    parser.EndElementHandler = handler.end
    return parser


def _namespace_name(name: str) -> str:
    return name.strip().replace("_", " ").casefold()
