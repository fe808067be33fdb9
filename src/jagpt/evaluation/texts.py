"""Any text: its documents as they are in a file, and as a model's tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from jagpt import files
from jagpt.compressed import FORMATS, Reader
from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.parquet import ParquetDocuments
from jagpt.corpus.rows import NO_TEXT, Columns, exact, read_json_lines
from jagpt.corpus.text_files import Lines
from jagpt.errors import DataError, UsageError
from jagpt.models import ModelFolder
from jagpt.models.tokenizer import token_ids
from jagpt.tokens.index import dtype_for

LAYOUTS = ("file", "line")
JSON_LINES = (".jsonl", ".ndjson", ".json")
ENCODED_AT_ONCE = 64
COMPARED_LINES, COMPARED_CHARACTERS = 100, 300
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Text:
    """The documents of a file as they are, with LF at the end of lines.

    `sha256` is the file's; `had_crlf` says that lines ended with CR LF in it.
    """

    path: Path
    sha256: str
    documents: list[str]
    had_crlf: bool = False

    @cached_property
    def sizes(self) -> tuple[Ints, Ints]:
        """Characters (D,) and bytes of UTF-8 (D,) of each document."""
        characters = [len(document) for document in self.documents]
        size = [len(document.encode()) for document in self.documents]
        return np.array(characters, dtype=np.int64), np.array(size, dtype=np.int64)


def read(path: Path, layout: str = "file", column: str = "text") -> Text:
    """The text of a file: Parquet and JSON Lines by `column`, plain text by `layout` (one document
    per file or per line); compressed or not. Empty documents are skipped.

    Raises `DataError` if the file is empty, not text, damaged, or lacks the column.
    """
    if layout not in LAYOUTS:
        raise UsageError(f"--layout {layout}: expected {' or '.join(LAYOUTS)}")
    files.regular_file(path, missing="no such file; expected a text to measure")
    kind = Path(path.stem).suffix if path.suffix.lower() in FORMATS else path.suffix
    if kind.lower() == ".parquet":
        documents = [row.text for row in ParquetDocuments(path, _AsItStands(column))]
        digest = files.sha256(path)
    else:
        reader = Reader(path)
        rows = _json_texts(reader, column) if kind.lower() in JSON_LINES else _plain(reader, layout)
        documents, digest = list(rows), reader.sha256
    read_as = [_with_lf(document) for document in documents]
    had_crlf = read_as != documents
    documents = [document for document in read_as if document]
    if not documents:
        raise DataError(f"{path}: it contains no text")
    return Text(path, digest, documents, had_crlf)


def _with_lf(document: str) -> str:
    """A CR is not part of a line: models are trained on LF only."""
    return document.replace("\r\n", "\n").removesuffix("\r")


def _json_texts(reader: Reader, column: str) -> Iterator[str]:
    for row in read_json_lines(reader, _AsItStands(column)):
        yield row.text


def _plain(reader: Reader, layout: str) -> Iterator[str]:
    lines = Lines(reader, exact=True)
    if layout == "line":
        yield from lines
    else:
        yield "\n".join(lines)


class _AsItStands(Columns):
    """A column of text without the corpus's clean-up: what is measured is the text itself."""

    def document(self, row: Mapping[str, Any]) -> SourceDocument:
        tidy = super().document(row)
        if tidy.problem == NO_TEXT:
            return tidy
        return replace(tidy, text=exact(row[self.text], self.text))


@dataclass(frozen=True)
class Encoded:
    """A text's tokens (N,), concatenated; `document_starts` (D + 1,) int64, the last is N."""

    tokens: npt.NDArray[Any]
    document_starts: Ints

    @property
    def n_tokens(self) -> int:
        return len(self.tokens)

    def slice(self, start: int, stop: int) -> npt.NDArray[Any]:
        """Tokens `start` … `stop` (exclusive)."""
        return self.tokens[start:stop]


def disagreement(text: Text, subject: ModelFolder) -> str | None:
    """A warning if the folder's tokenizer does not give the ids of its own SentencePiece model.

    transformers may load a folder as a different class than the one it was made with.
    """
    from jagpt.tokenizer import model as pieces
    from jagpt.tokenizer.encoder import Encoder

    found = sorted(subject.tokenizer_folder.glob("*.model"))
    if len(found) != 1:
        return None
    try:
        encoder = Encoder(pieces.read(found[0]), found[0], foreign=True)
    except DataError:  # of another library, or damaged: the tokenizer did without it
        return None
    lines = [line for document in text.documents for line in document.split("\n") if line.strip()]
    lines = [line[:COMPARED_CHARACTERS] for line in lines[:COMPARED_LINES]]
    theirs = token_ids(subject.tokenizer, lines) if lines else []
    odd = sum(encoder.encode(line) != ids for line, ids in zip(lines, theirs, strict=True))
    if not odd:
        return None
    return (
        f"{subject.name}: {type(subject.tokenizer).__name__} gives different ids than the folder's "
        f"own {found[0].name} for {odd} of {len(lines)} lines: the model may have been trained "
        "with "
        "the latter, and these figures may be worse than its own"
    )


def encode(text: Text, subject: ModelFolder, end_token: bool) -> Encoded:
    """The text in the model's tokens, with an end token after each document if requested and
    available.

    `DataError` if a token is not one of the model's.
    """
    closing = [subject.end_id] if end_token and subject.end_id is not None else []
    kind = dtype_for(subject.vocab_size)
    parts, lengths = [], []
    for start in range(0, len(text.documents), ENCODED_AT_ONCE):
        some = text.documents[start : start + ENCODED_AT_ONCE]
        for ids in token_ids(subject.tokenizer, some):
            if ids and max(ids) >= subject.vocab_size:
                raise DataError(
                    f"{subject.name}: its tokenizer gives the id {max(ids):,}, but the model "
                    f"has {subject.vocab_size:,} rows: they do not belong together"
                )
            parts.append(np.array([*ids, *closing], dtype=kind))
            lengths.append(len(parts[-1]))
    starts = np.concatenate([[0], np.cumsum(np.array(lengths, dtype=np.int64))])
    encoded = Encoded(np.concatenate(parts), starts.astype(np.int64))
    if encoded.n_tokens < 2:
        raise DataError(f"{text.path}: fewer than 2 tokens, so there is nothing to predict")
    return encoded
