"""Documents of plain text files: UTF-8, one document a file, a line, or a block of lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from jagpt.compressed import FORMATS, Reader
from jagpt.corpus.documents import SourceDocument, identity
from jagpt.errors import DataError

DOCUMENT_BYTES = 64 * 1024 * 1024
"""Longest document: what is longer was surely meant to be parted."""

_BOM = b"\xef\xbb\xbf"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


def read_documents(reader: Reader, layout: str) -> Iterator[SourceDocument]:
    """The documents of a file, in order. A block's first line is its title and not in its text,
    unless it is the only one.

    Raises `DataError` with file and offset (in the decompressed bytes) where the text is not UTF-8
    or a document is over the limit, and whatever `Reader` raises.
    """
    for title, text in _LAYOUTS[layout](Lines(reader)):
        yield SourceDocument(identity(title, text), title, text)


class Lines:
    """The lines of a file without their ends (LF or CR LF; LF alone with `exact`), once over."""

    def __init__(self, reader: Reader, *, exact: bool = False) -> None:
        self.reader = reader
        self._return = "" if exact else "\r"
        self.offset = 0
        """Bytes before what was handed out last."""

    def __iter__(self) -> Iterator[str]:
        waiting = bytearray()
        for number, block in enumerate(self.reader):
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

    def too_long(self) -> DataError:
        return DataError(
            f"{self.reader.path}: the document before or at byte {self.offset} is longer than "
            f"{DOCUMENT_BYTES // 2**20} MiB; part it (for text files, another `layout` may do: "
            "line, block)"
        )

    def _without_mark(self, data: bytes) -> bytes:
        if data.startswith(_UTF16):
            raise DataError(
                f"{self.reader.path}: this is UTF-16; UTF-8 is wanted "
                "(iconv -f UTF-16 -t UTF-8 makes it)"
            )
        if data.startswith(_BOM):
            self.offset = len(_BOM)
            return data[len(_BOM) :]
        return data

    def _lines(self, data: bytes) -> Iterator[str]:
        """The lines of `data`, which ends with a line's end."""
        if (nul := data.find(b"\0")) >= 0:
            place = self.offset + nul
            raise DataError(f"{self.reader.path}: not text: byte {place} is 0{self._hint()}")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            found = data[error.start : error.start + 4].hex(" ")
            raise DataError(
                f"{self.reader.path}: not UTF-8 at byte {self.offset + error.start} ({found})"
                f"{self._hint()}; convert it, for instance with iconv"
            ) from None
        for line in text.split("\n")[:-1]:
            yield line.removesuffix(self._return)

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
    """Title and text; a single line is text, since a title alone would be no document."""
    if len(lines) == 1:
        return "", lines[0].strip()
    return lines[0].strip(), "\n".join(lines[1:])


_LAYOUTS: dict[str, Callable[[Lines], Iterator[tuple[str, str]]]] = {
    "file": _whole_file,
    "line": _each_line,
    "block": _each_block,
}
