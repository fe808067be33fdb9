"""`tokens/index.json`: what is needed to read the shards, and which tokenizer made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from jagpt.records import Count, FileName, Versioned

FORMAT_VERSION = 1
REMEDY = "run the tokens stage again (jagpt tokens … --force)"


@dataclass(frozen=True)
class ShardSize:
    """The entry of one shard in `index.json`; characters and bytes are those of the raw texts."""

    name: FileName
    documents: Count
    tokens: Count
    characters: Count
    bytes: Count


@dataclass(frozen=True)
class TokenIndex(Versioned):
    """What is needed to read the shards, and which tokenizer made them."""

    FILE = "index.json"
    KIND = "token index"
    REMEDY = REMEDY
    VERSION = FORMAT_VERSION

    dtype: Literal["<u2", "<u4"]
    vocab_size: Count
    end_id: Annotated[int, Field(ge=-1, lt=1 << 31)]
    tokenizer: str
    splits: Mapping[str, Sequence[ShardSize]]

    @property
    def counts(self) -> dict[str, int]:
        """Tokens of each split."""
        return {name: sum(one.tokens for one in shards) for name, shards in self.splits.items()}


def dtype_for(vocab_size: int) -> Literal["<u2", "<u4"]:
    """The smallest token type that holds every id of a vocabulary."""
    return "<u2" if vocab_size <= 1 << 16 else "<u4"
