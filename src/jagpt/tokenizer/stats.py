"""How well a tokenizer fits its corpus."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jagpt import units
from jagpt.corpus.shards import read_rows, split_shards
from jagpt.records import Count, Record, remake

if TYPE_CHECKING:
    from jagpt.tokenizer.encoder import Encoder

MEASURED_CHARACTERS = 5_000_000
"""How much of the split is measured."""

LONGEST = 20


@dataclass(frozen=True)
class TokenizerStats(Record):
    """Figures over some documents of a split; shares are of all tokens.

    `vocabulary_use` is the share of the vocabulary that occurs.
    """

    FILE = "stats.json"
    KIND = "record of the tokenizer"
    REMEDY = remake("tokenizer")

    vocab_size: Count
    split: str
    documents: Count
    characters: Count
    bytes: Count
    tokens: Count
    characters_per_token: float
    bytes_per_token: float
    unknown_share: float
    byte_share: float
    vocabulary_use: float
    longest_pieces: tuple[str, ...]

    def shown(self) -> dict[str, str]:
        """The figures with labels, without what they were measured on."""
        return {
            "characters per token": f"{self.characters_per_token:.3f}",
            "bytes per token": f"{self.bytes_per_token:.3f}",
            "unknown tokens": units.percent(self.unknown_share),
            "byte pieces": units.percent(self.byte_share),
            "pieces in use": units.percent(self.vocabulary_use),
        }


def measure(encoder: Encoder, texts: Iterable[str], split: str) -> TokenizerStats:
    """The tokenizer's figures on `texts`, which are (the first) documents of `split`."""
    import numpy as np

    counts = np.zeros(encoder.vocab_size, dtype=np.int64)
    documents = characters = n_bytes = 0
    for text in texts:
        documents += 1
        characters += len(text)
        n_bytes += len(text.encode("utf-8"))
        counts += np.bincount(encoder.encode_array(text), minlength=encoder.vocab_size)
    tokens = int(counts.sum())
    is_byte = np.array([encoder.is_byte(number) for number in range(encoder.vocab_size)])
    return TokenizerStats(
        vocab_size=encoder.vocab_size,
        split=split,
        documents=documents,
        characters=characters,
        bytes=n_bytes,
        tokens=tokens,
        characters_per_token=_ratio(characters, tokens),
        bytes_per_token=_ratio(n_bytes, tokens),
        unknown_share=_ratio(int(counts[encoder.unk_id]), tokens),
        byte_share=_ratio(int(counts[is_byte].sum()), tokens),
        vocabulary_use=_ratio(int((counts > 0).sum()), encoder.vocab_size),
        longest_pieces=longest_pieces(encoder),
    )


def longest_pieces(encoder: Encoder) -> tuple[str, ...]:
    """The pieces with the most characters, without special and byte pieces."""
    pieces = [
        encoder.piece(number)
        for number in range(encoder.vocab_size)
        if not encoder.is_byte(number) and not encoder.is_special(number)
    ]
    return tuple(sorted(pieces, key=lambda piece: (-len(piece), piece))[:LONGEST])


def first_texts(corpus: Path, split: str) -> Iterator[str]:
    """The split's first documents, few enough to be measured quickly."""
    left = MEASURED_CHARACTERS
    for shard in split_shards(corpus, split):
        for row in read_rows(shard, ("text",)):
            if left <= 0:
                return
            left -= len(row["text"])
            yield row["text"]


def _ratio(part: int, whole: int) -> float:
    return round(part / whole, 6) if whole else 0.0
