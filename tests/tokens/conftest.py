"""Token folders with random content, cut into shards at will."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jagpt import files
from jagpt.tokens.dataset import TokenSplit
from jagpt.tokens.index import TokenIndex
from jagpt.tokens.shards import Shard, ShardWriter

VOCAB_SIZE, END_ID = 1000, 3
Documents = list[list[int]]


def write_tokens(directory: Path, shards: list[Documents], dtype: str = "<u2") -> None:
    """Token shards of the train split with these documents."""
    sizes = []
    for number, documents in enumerate(shards):
        name = f"train-{number:05d}"
        with (
            files.staged_file(directory / f"{name}.bin") as staged,
            staged.open("wb") as binary,
        ):
            writer = ShardWriter(binary, dtype)
            for place, tokens in enumerate(documents):
                writer.add(f"source:{number}-{place}", "字" * len(tokens), tokens)
        writer.finish(directory / f"{name}.idx")
        sizes.append(Shard(directory, name, dtype).size())
    TokenIndex(dtype, VOCAB_SIZE, END_ID, "fingerprint", {"train": sizes}).write(directory)


def random_shards(n_shards: int, n_documents: int, longest: int = 60) -> list[Documents]:
    """Documents of random tokens and length, also empty ones."""
    generator = np.random.default_rng(5)
    return [
        [
            generator.integers(0, VOCAB_SIZE, generator.integers(0, longest)).tolist()
            for _ in range(n_documents)
        ]
        for _ in range(n_shards)
    ]


@pytest.fixture
def open_split(tmp_path: Path) -> Callable[[list[Documents]], TokenSplit]:
    """Write shards and open them."""

    def write_and_open(shards: list[Documents]) -> TokenSplit:
        write_tokens(tmp_path, shards)
        return TokenSplit.open(tmp_path, "train")

    return write_and_open
