"""Documents of plain text files: one document per file, per line, or per block of lines."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from itertools import chain

from jagpt.compressed import FORMATS, Reader
from jagpt.corpus import aozora
from jagpt.corpus.documents import SourceDocument, identity
from jagpt.corpus.encodings import AUTO, SAMPLE_BYTES, UTF_8, check_library, guessed, likely
from jagpt.errors import DataError

DOCUMENT_BYTES = 64 * 1024 * 1024
"""Longest document: anything longer was surely meant to be split."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_documents(
    reader: Reader,
    layout: str,
    *,
    encoding: str = UTF_8,
    markup: str = "plain",
    split_characters: int | None = None,
) -> Iterator[SourceDocument]:
    """The documents of a file, in order. A block's first line is its title and not in its text,
    unless it is the only one.

    Text in Aozora Bunko's `markup` has its title; documents longer than `split_characters` are cut.
    Raises `DataError` with file and offset (in the decompressed bytes) where the text is not in its
    encoding or a document is over the limit, and whatever `Reader` raises.
    """
    for title, text in _LAYOUTS[layout](Lines(reader, encoding=encoding)):
        if markup == "aozora":
            title, text = aozora.read(text)
        for piece in cut(text, split_characters) if split_characters else (text,):
            if piece:
                yield SourceDocument(identity(title, piece), title, piece)


def cut(text: str, most: int) -> Iterator[str]:
    """`text` in pieces of `most` characters or fewer, about as long as each other.

    They end at the end of a line or, in a long line, of a sentence; without any 。, anywhere.
    """
    start = 0
    while (rest := len(text) - start) > most:
        wanted = -(-rest // -(-rest // most))
        end = _last(text, "\n", start, start + wanted) or _last(text, "。", start, start + wanted)
        end = end or start + wanted
        yield text[start:end].strip("\n")
        start = end
    yield text[start:].strip("\n")


def _last(text: str, mark: str, start: int, end: int) -> int | None:
    """After the last `mark` in the second half of this stretch."""
    found = text.rfind(mark, (start + end) // 2, end)
    return found + 1 if found >= 0 else None


class Lines:
    """The lines of a file without their ends (LF or CR LF; only LF with `exact`), in one pass."""

    def __init__(self, reader: Reader, *, exact: bool = False, encoding: str = UTF_8) -> None:
        self.reader = reader
        self.encoding = encoding
        """The encoding that the text is read in; a guess replaces `auto`."""
        self._return = "" if exact else "\r"
        self._guessed = False
        self.number = 0
        """Lines returned so far."""
        self.offset = 0
        """Bytes before what was returned last."""

    def __iter__(self) -> Iterator[str]:
        blocks = iter(self.reader)
        if self.encoding == AUTO:
            blocks = self._guess(blocks)
        self._decoder = getincrementaldecoder(self.encoding)()
        waiting = bytearray()
        for number, block in enumerate(blocks):
            searched = len(waiting)
            waiting += self._without_mark(block) if number == 0 else block
            end = waiting.rfind(b"\n", searched) + 1
            if end:
                yield from self._lines(bytes(waiting[:end]))
                self.offset += end
                del waiting[:end]
            if len(waiting) > DOCUMENT_BYTES:
                raise self.too_long()
        if waiting:
            yield from self._lines(bytes(waiting) + b"\n")

    def _guess(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The same blocks, once the encoding is known from the first one."""
        check_library()
        first: list[bytes] = []
        for block in blocks:
            first.append(block)
            if sum(map(len, first)) >= SAMPLE_BYTES:
                break
        found = guessed(b"".join(first))
        if found is None:
            raise DataError(
                f"{self.reader.path}: its encoding cannot be detected; set the source's `encoding` "
                "to its name, or convert the file to UTF-8"
            )
        self.encoding, self._guessed = found, True
        return chain(first, blocks)

    def too_long(self) -> DataError:
        return DataError(
            f"{self.reader.path}: the document before or at byte {self.offset} is longer than "
            f"{DOCUMENT_BYTES // 2**20} MiB; split it (for text files, another `layout` may "
            "help: line, block)"
        )

    def _without_mark(self, data: bytes) -> bytes:
        if data.startswith(_UTF16):
            raise DataError(
                f"{self.reader.path}: this is UTF-16; expected UTF-8 "
                "(convert it with iconv -f UTF-16 -t UTF-8)"
            )
        if data.startswith(_BOM):
            self.offset = len(_BOM)
            return data[len(_BOM) :]
        return data

    def _lines(self, data: bytes) -> Iterator[str]:
        """The lines of `data`, which ends with a newline.

        What shifts ISO-2022-JP to kanji may stand lines above, but no character spans lines.
        """
        if (nul := data.find(b"\0")) >= 0:
            place = self.offset + nul
            raise DataError(f"{self.reader.path}: not text: byte {place} is 0{self._hint()}")
        try:
            text = self._decoder.decode(data, final=True)
        except UnicodeDecodeError as error:
            raise self._not_in_encoding(data, error) from None
        for line in text.split("\n")[:-1]:
            self.number += 1
            yield line.removesuffix(self._return)

    def _not_in_encoding(self, data: bytes, error: UnicodeDecodeError) -> DataError:
        place, found = self.offset + error.start, data[error.start : error.start + 4].hex(" ")
        line = self.number + data.count(b"\n", 0, error.start) + 1
        name = "UTF-8" if self.encoding == UTF_8 else self.encoding
        said = ", which it was taken for" if self._guessed else ""
        return DataError(
            f"{self.reader.path}: not {name}{said} at byte {place} (line {line}: {found})"
            f"{self._hint()}; {likely(data, self.encoding)}"
        )

    def _hint(self) -> str:
        endings = ", ".join(FORMATS)
        return "" if self.reader.format else f" (a compressed file's name must end in {endings})"


def _whole_file(lines: Lines) -> Iterator[tuple[str, str]]:
    kept: list[str] = []
    size = 0
    for line in lines:
        kept.append(line)
        size += len(line) + 1
        if size > DOCUMENT_BYTES:
            raise lines.too_long()
    text = "\n".join(kept).strip()
    if text:
        yield "", text


def _each_line(lines: Lines) -> Iterator[tuple[str, str]]:
    for line in lines:
        if text := line.strip():
            yield "", text


def _each_block(lines: Lines) -> Iterator[tuple[str, str]]:
    block: list[str] = []
    size = 0
    for line in lines:
        if line.strip():
            block.append(line.rstrip())
            size += len(line) + 1
            if size > DOCUMENT_BYTES:
                raise lines.too_long()
        elif block:
            yield _block(block)
            block, size = [], 0
    if block:
        yield _block(block)


def _block(lines: list[str]) -> tuple[str, str]:
    """Title and text; a single line is text, since a title alone would not be a document."""
    if len(lines) == 1:
        return "", lines[0].strip()
    return lines[0].strip(), "\n".join(lines[1:])


_LAYOUTS: dict[str, Callable[[Lines], Iterator[tuple[str, str]]]] = {
    "file": _whole_file,
    "line": _each_line,
    "block": _each_block,
}
