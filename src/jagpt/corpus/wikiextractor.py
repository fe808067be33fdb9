"""Documents of WikiExtractor's output files, character for character.

A document's text is what is between its `<doc …>` and `</doc>` lines: the title, a blank line,
the paragraphs. So `split = "first-lines"` gives exactly the lines that the original workflow's
shell pipeline made from these files. Files written with `--json` give the same text as those
without it. https://github.com/attardi/wikiextractor/wiki/File-Format
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

from jagpt.compressed import Reader
from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.rows import Columns, RowError, clean, json_object
from jagpt.corpus.text_files import DOCUMENT_BYTES, Lines
from jagpt.errors import DataError

_BEGIN = "<doc "
_END = "</doc>"
_HEAD = re.compile(
    r'<doc id="(?P<id>[^"]*)"(?: revid="(?P<revid>[^"]*)")? url="(?P<url>[^"]*)"'
    r' title="(?P<title>.*?)"(?: language="[^"]*" revision="(?P<revision>[^"]*)")?>'
)
"""Titles are not escaped; the last two attributes are those of its `cirrus-extract`."""
_COLUMNS = Columns(text="text", title="title", id="id", url="url", revision="revid")


def read_documents(reader: Reader) -> Iterator[SourceDocument]:
    """The documents of a file in either form, in order.

    Raises `DataError` with file and line if it is neither, or a document does not end.
    """
    lines = enumerate(Lines(reader, exact=True), start=1)
    for number, line in lines:
        if line:
            rest = chain([(number, line)], lines)
            form = _json_documents if line.startswith("{") else _text_documents
            yield from form(reader, rest)


# --- <doc> … </doc> -------------------------------------------------------------------------------


def _text_documents(reader: Reader, lines: Iterator[tuple[int, str]]) -> Iterator[SourceDocument]:
    for number, line in lines:
        if not line:
            continue
        head = _HEAD.fullmatch(line)
        if head is None:
            raise DataError(
                f'{reader.path}: line {number}: expected <doc id="…" url="…" title="…">, as '
                f"WikiExtractor writes it; found {line[:40]!r}"
            )
        yield _document(head, _body(reader, number, lines))


def _body(reader: Reader, start: int, lines: Iterator[tuple[int, str]]) -> str:
    """The lines of the document that begins at line `start`, up to its end."""
    kept: list[str] = []
    size = 0
    for number, line in lines:
        if line == _END:
            return "\n".join(kept).strip("\n")
        if line.startswith(_BEGIN) and _HEAD.fullmatch(line):
            raise DataError(
                f"{reader.path}: line {number}: a document begins before {_END} has ended that of "
                f"line {start}; extract the dump again"
            )
        kept.append(line)
        size += len(line) + 1
        if size > DOCUMENT_BYTES:
            raise DataError(
                f"{reader.path}: the document of line {start} is longer than "
                f"{DOCUMENT_BYTES // 2**20} MiB"
            )
    raise DataError(
        f"{reader.path}: cut short: it ends within the document of line {start}; "
        "extract the dump again"
    )


def _document(head: re.Match[str], text: str) -> SourceDocument:
    revision = head["revid"] or head["revision"] or ""
    return SourceDocument(
        id=head["id"],
        title=head["title"],
        text=text,
        url=head["url"] or None,
        revision=int(revision) if re.fullmatch("[0-9]{1,18}", revision) else None,
    )


# --- --json ---------------------------------------------------------------------------------------


def _json_documents(reader: Reader, lines: Iterator[tuple[int, str]]) -> Iterator[SourceDocument]:
    for number, line in lines:
        if not line.strip():
            continue
        place = f"{reader.path}: line {number}"
        row = json_object(line, place)
        try:
            document = _COLUMNS.document({"revid": None, "url": None, **row, "text": ""})
            yield replace(document, text=_titled(document.title, row))
        except RowError as error:
            raise DataError(f"{place}: {error}") from None


def _titled(title: str, row: dict[str, Any]) -> str:
    """The text below its title, as in the other form; older versions include the title."""
    text = row.get("text")
    if not isinstance(text, str):
        raise RowError(f"no text in column 'text'; found {type(text).__name__}")
    text = clean(text)
    # a text itself has no blank line after its first line: WikiExtractor omits those
    titled = text if text.startswith(f"{title}\n\n") else f"{title}\n\n{text}"
    return titled.strip("\n")
