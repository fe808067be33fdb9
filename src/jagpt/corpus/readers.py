"""Readers for a source's files: pages of dumps, or documents of all other kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from jagpt.compressed import Reader
from jagpt.corpus import cirrus, text_files, wikiextractor
from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.parquet import ParquetDocuments
from jagpt.corpus.rows import Columns, read_json_lines
from jagpt.recipe import Source


class Documents(Protocol):
    """A file's documents, in one pass: iterate, then ask for `offset` and `sha256`."""

    @property
    def path(self) -> Path: ...
    @property
    def offset(self) -> int:
        """Bytes of the file read so far."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the file, once everything is read."""

    def __iter__(self) -> Iterator[SourceDocument]: ...


def readers_of(source: Source, paths: Sequence[Path]) -> Iterator[Reader | Documents]:
    """The source's files, one after the other; a hub data set is one, and has no path."""
    if source.kind == "hf":
        from jagpt.corpus.hub_datasets import HubDocuments

        yield HubDocuments(source)
    for path in paths:
        if source.kind == "dump":
            yield Reader(path)
        elif source.kind == "parquet":
            yield ParquetDocuments(path, Columns.of(source))
        else:
            yield FileDocuments(source, path)


class FileDocuments:
    """The documents of a plain or compressed file, by the kind of its source."""

    def __init__(self, source: Source, path: Path) -> None:
        self.path = path
        self._source = source
        self._reader = Reader(path)

    @property
    def offset(self) -> int:
        return self._reader.offset

    @property
    def sha256(self) -> str:
        return self._reader.sha256

    def __iter__(self) -> Iterator[SourceDocument]:
        return _READ[self._source.kind](self._reader, self._source)


def _text(reader: Reader, source: Source) -> Iterator[SourceDocument]:
    return text_files.read_documents(
        reader,
        source.layout,
        encoding=source.encoding,
        markup=source.markup,
        split_characters=source.split_characters,
    )


def _json_lines(reader: Reader, source: Source) -> Iterator[SourceDocument]:
    return read_json_lines(reader, Columns.of(source))


def _cirrus(reader: Reader, source: Source) -> Iterator[SourceDocument]:
    return cirrus.read_documents(reader)


def _wikiextractor(reader: Reader, source: Source) -> Iterator[SourceDocument]:
    return wikiextractor.read_documents(reader)


_READ: dict[str, Callable[[Reader, Source], Iterator[SourceDocument]]] = {
    "text": _text,
    "jsonl": _json_lines,
    "wikitext": _json_lines,
    "cirrus": _cirrus,
    "wikiextractor": _wikiextractor,
}
