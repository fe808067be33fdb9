"""Weights: how often the documents of a source appear in an epoch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from jagpt import files
from jagpt.errors import DataError
from jagpt.tokens.dataset import TokenSplit, TrainingOrder
from jagpt.tokens.index import TokenIndex
from jagpt.tokens.shards import Shard, ShardWriter
from jagpt.tokens.weights import Weights

LENGTH = 7
"""Of each document, which is its own number again and again, so that it is known in a stream."""
N_WIKI, N_NOTES = 90, 50


@pytest.fixture
def split(tmp_path: Path) -> TokenSplit:
    """90 documents of `wiki` and 50 of `notes` in two shards."""
    sources = ["wiki"] * N_WIKI + ["notes"] * N_NOTES
    sizes = []
    for number, first in enumerate((0, 100)):
        name = f"train-{number:05d}"
        with (
            files.staged_file(tmp_path / f"{name}.bin") as staged,
            staged.open("wb") as binary,
        ):
            writer = ShardWriter(binary, "<u2")
            for place in range(first, min(first + 100, len(sources))):
                writer.add(f"{sources[place]}:{place}:x", "字" * LENGTH, [place] * LENGTH)
        writer.finish(tmp_path / f"{name}.idx")
        sizes.append(Shard(tmp_path, name, "<u2").size())
    TokenIndex("<u2", 1000, 3, "fingerprint", {"train": sizes}).write(tmp_path)
    return TokenSplit.open(tmp_path, "train")


def order_of(split: TokenSplit, weights: dict[str, float], seed: int = 3) -> TrainingOrder:
    return TrainingOrder(
        split, block_size=11, order="documents", seed=seed, shuffle_buffer=1,
        weights=Weights.of(split, weights, seed),
    )  # fmt: skip


def labels(split: TokenSplit, weights: dict[str, float], epochs: int) -> Counter[int]:
    """How often each document's tokens are labels in whole epochs' sequences (and a bit more)."""
    per_epoch = [Weights(split, weights, 3).tokens(epoch) for epoch in range(epochs)]
    count = sum(per_epoch) // 11
    return Counter(order_of(split, weights).sequences(0, count)[:, :-1].ravel().tolist())


@pytest.mark.parametrize("weight", [0.1, 0.25, 0.3333, 1.0, 1.5, 2.0, 10.0])
def test_a_document_comes_as_often_as_its_weight_says(split: TokenSplit, weight: float) -> None:
    weights = Weights(split, {"notes": weight}, seed=1)
    total = np.zeros(split.n_documents, dtype=np.int64)
    for epoch in range(1, 13):
        total += weights.counts(epoch - 1)
        assert (total[:N_WIKI] == epoch).all()
        assert set(total[N_WIKI:].tolist()) <= {int(epoch * weight), int(epoch * weight) + 1}
        assert abs(total[N_WIKI:].sum() - epoch * weight * N_NOTES) < 3 * N_NOTES**0.5
    assert weights.tokens_per_epoch == int((N_WIKI + weight * N_NOTES) * LENGTH)


def test_the_stream_holds_each_document_as_often(split: TokenSplit) -> None:
    found = labels(split, {"notes": 2.5, "wiki": 0.5}, epochs=4)
    assert sum(found.values()) > 4 * LENGTH * 165
    for place in range(N_WIKI + N_NOTES):
        wanted = 2 if place < N_WIKI else 10
        assert abs(found[place] - wanted * LENGTH) <= LENGTH  # the stream ends within a document
    whole = Counter(count // LENGTH for count in found.values())
    assert whole[2] + whole[10] >= N_WIKI + N_NOTES - 6


def test_an_epochs_documents_are_packed_whole(split: TokenSplit) -> None:
    order = order_of(split, {"notes": 0.1})
    sequences = order.sequences(0, 200)
    assert sequences.shape == (200, 12)
    for sequence in sequences.tolist():
        runs = [len(list(same)) for same in _runs(sequence)]
        assert all(length % LENGTH == 0 for length in runs[1:-1])


def _runs(values: list[int]) -> list[list[int]]:
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1].append(value)
        else:
            runs.append([value])
    return runs


def test_any_part_is_the_same_however_it_is_asked_for(split: TokenSplit) -> None:
    weights = {"notes": 1.7, "wiki": 0.3}
    whole = order_of(split, weights).sequences(0, 600)
    for first, count in ((590, 10), (0, 1), (100, 57), (599, 1)):
        again = order_of(split, weights).sequences(first, count)
        assert (again == whole[first : first + count]).all()
    assert (order_of(split, weights, seed=4).sequences(0, 600) != whole).any()


def test_weights_of_one_change_nothing(split: TokenSplit) -> None:
    assert Weights.of(split, {}, 1) is None
    plain = order_of(split, {}).sequences(0, 300)
    assert (order_of(split, {"notes": 1.0}).sequences(0, 300) == plain).all()


def test_a_source_that_is_not_there_is_told(split: TokenSplit) -> None:
    with pytest.raises(DataError, match="none of its documents is in the train split"):
        Weights(split, {"nots": 2.0, "wiki": 3.0}, 1)
