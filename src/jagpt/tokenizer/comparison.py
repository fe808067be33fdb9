"""Several tokenizers measured on one text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path

from jagpt.compressed import Reader
from jagpt.corpus.text_files import Lines, cut
from jagpt.errors import DataError, UsageError
from jagpt.recipe import Tokenizer
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokenizer.imported import model_file
from jagpt.tokenizer.stats import TokenizerStats, measure

WHERE = "--compare"
"""The beginning of messages about a tokenizer."""

TEXT_CHARACTERS = 1_000_000
"""Longer blocks are measured in pieces: a file may have no blank line."""


def compare(
    origins: Sequence[str], texts: Callable[[], Iterable[str]], what: str
) -> dict[str, TokenizerStats]:
    """Each tokenizer's figures on the same texts; `what` names them.

    An origin is a tokenizer folder, a SentencePiece model or a hub id, with any special ids. Raises
    `UsageError`, `DataError` or `StorageError` if it is none of these or cannot be read,
    and `DataError` if there is no text.
    """
    if "" in origins:
        raise UsageError(f"{WHERE}: expected a folder, a .model file or a hub id, found no name")
    models = {origin: model_file(Tokenizer(from_=origin), WHERE) for origin in origins}
    encoders = {
        origin: Encoder(pieces.read(path), path, foreign=True) for origin, path in models.items()
    }
    found = {origin: measure(encoder, texts(), what) for origin, encoder in encoders.items()}
    if not all(stats.characters for stats in found.values()):
        raise DataError(f"{what}: it contains no text to compare tokenizers on")
    return found


def file_texts(path: Path) -> Iterator[str]:
    """The blocks of lines between blank lines of a text file, compressed or not; long ones in
    pieces of `TEXT_CHARACTERS` or fewer.

    Raises `DataError` if it is missing, damaged or not UTF-8.
    """
    block: list[str] = []
    size = 0
    with closing(Reader(path)) as reader:
        for line in chain(Lines(reader), [""]):
            blank = not line.strip()
            if not blank:
                block.append(line)
                size += len(line) + 1
            if block and (blank or size > TEXT_CHARACTERS):
                yield from cut("\n".join(block), TEXT_CHARACTERS)
                block, size = [], 0
