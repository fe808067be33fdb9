"""Reading tokens: slices, orders of training, windows of validation."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from jagpt.errors import DataError
from jagpt.tokens import dataset
from jagpt.tokens.dataset import (
    TokenSplit,
    TrainingOrder,
    buffer_shuffled,
    hashed,
    shuffled,
    validation_windows,
)

from .conftest import VOCAB_SIZE, Documents, random_shards

Open = Callable[[list[Documents]], TokenSplit]
ORDERS = ("documents", "blocks", "buffer")


def order_of(split: TokenSplit, order: str, block_size: int = 37, seed: int = 1) -> TrainingOrder:
    return TrainingOrder(split, block_size=block_size, order=order, seed=seed, shuffle_buffer=20)  # type: ignore[arg-type]


def flat(shards: list[Documents]) -> list[int]:
    return [token for documents in shards for tokens in documents for token in tokens]


def test_a_split_is_its_shards_end_to_end(open_split: Open) -> None:
    shards = random_shards(4, 25)
    split, tokens = open_split(shards), flat(shards)
    assert (split.n_tokens, split.n_documents) == (len(tokens), 100)
    assert (split.n_characters, split.n_bytes) == (len(tokens), 3 * len(tokens))
    generator = np.random.default_rng(0)
    for _ in range(200):
        start, stop = sorted(generator.integers(0, len(tokens) + 1, 2).tolist())
        found = split.slice(start, stop)
        assert found.dtype == np.int64
        assert found.tolist() == tokens[start:stop]


def test_documents_are_found_over_all_shards(open_split: Open) -> None:
    shards = random_shards(3, 10)
    split = open_split(shards)
    for number in range(30):
        assert split.document(number).tolist() == shards[number // 10][number % 10]
        assert split.document_id(number) == f"source:{number // 10}-{number % 10}"


@pytest.mark.parametrize("order", ORDERS)
def test_any_part_of_the_stream_is_the_same_however_it_is_asked_for(
    open_split: Open, order: str
) -> None:
    shards = random_shards(3, 40)
    whole = order_of(open_split(shards), order).sequences(0, 400)
    assert whole.shape == (400, 38)
    again = order_of(open_split(shards), order)
    for first, count in ((390, 10), (0, 1), (100, 57), (399, 1)):
        assert (again.sequences(first, count) == whole[first : first + count]).all()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_see_together_what_one_sees_alone(open_split: Open, order: str, ranks: int) -> None:
    split = open_split(random_shards(2, 60))
    alone = order_of(split, order).sequences(48, 8)
    share = 8 // ranks
    parts = [order_of(split, order).sequences(48 + rank * share, share) for rank in range(ranks)]
    assert (np.concatenate(parts) == alone).all()


@pytest.mark.parametrize("together", [8, 1 << 16])
@pytest.mark.parametrize("block_size", [1, 7, 37, 500])
def test_every_token_is_an_input_and_a_label_once_an_epoch(
    open_split: Open, monkeypatch: pytest.MonkeyPatch, block_size: int, together: int
) -> None:
    monkeypatch.setattr(dataset, "SHUFFLED_TOGETHER", together)
    shards = random_shards(3, 40)
    split, tokens = open_split(shards), flat(shards)
    order = order_of(split, "documents", block_size)
    epochs = block_size  # so many fill whole sequences
    sequences = order.sequences(0, len(tokens))
    assert Counter(sequences[:, :-1].ravel().tolist()) == Counter(tokens * epochs)
    labels = Counter(sequences[:, 1:].ravel().tolist()) - Counter(tokens * epochs)
    assert labels.total() <= 1  # the very first input is no label, and the last label no input
    one, other = order.sequences(0, 3), order.sequences(round(order.sequences_per_epoch), 3)
    assert (one != other).any()


def test_documents_stay_whole_when_they_are_shuffled(open_split: Open) -> None:
    bounds = np.cumsum([0, *(k % 9 + 1 for k in range(45))]).tolist()
    split = open_split([[list(range(*pair)) for pair in itertools.pairwise(bounds)]])
    after_ends = []
    for sequence in order_of(split, "documents", 7).sequences(0, 99).tolist():
        for here, following in itertools.pairwise(sequence):
            if here + 1 in bounds:
                assert following in bounds
                after_ends.append(following - here)
            else:
                assert following == here + 1
    assert Counter(after_ends).most_common(1)[0][1] < len(after_ends) / 2


def test_sequences_of_one_document_do_not_come_together(open_split: Open) -> None:
    split = open_split([[[k] * 100 for k in range(1, 81)]])
    first = order_of(split, "documents", 10).sequences(0, 800)[:, 0]
    together = (first[1:] == first[:-1]).mean()
    assert together < 0.05  # 0.89 in packed order, 1/80 by chance


@pytest.mark.parametrize("order", ["blocks", "buffer"])
def test_blocks_are_fixed_and_each_comes_once_an_epoch(open_split: Open, order: str) -> None:
    shards = random_shards(3, 40)
    split, tokens = open_split(shards), flat(shards)
    blocks = [tuple(tokens[k : k + 38]) for k in range(0, len(tokens) - 37, 37)]
    stream = order_of(split, order)
    assert stream.sequences_per_epoch == len(blocks)
    for epoch in range(3):
        found = stream.sequences(epoch * len(blocks), len(blocks))
        assert Counter(tuple(block) for block in found.tolist()) == Counter(blocks)
    first, second = stream.sequences(0, len(blocks)), stream.sequences(len(blocks), len(blocks))
    assert (first != second).any()


@pytest.mark.parametrize("order", ORDERS)
def test_the_seed_changes_the_order(open_split: Open, order: str) -> None:
    split = open_split(random_shards(2, 60))
    one, other = (order_of(split, order, seed=seed).sequences(0, 30) for seed in (1, 2))
    assert (one != other).any()


@pytest.mark.parametrize(("count", "buffer"), [(1000, 64), (50, 50), (50, 64), (7, 1), (1, 5)])
def test_the_buffer_is_the_originals(count: int, buffer: int) -> None:
    size = min(count, buffer)
    held, leaving = list(range(size)), []
    draws = hashed(np.arange(size, count).astype(np.uint64), 3, 2) % np.uint64(size)
    for item, place in zip(range(size, count), draws.tolist(), strict=True):
        leaving.append(held[place])
        held[place] = item
    leaving += [held[place] for place in shuffled(size, 4, 2)]
    assert buffer_shuffled(count, buffer, 3, 2).tolist() == leaving


def test_a_shuffle_is_even_and_fixed_for_good() -> None:
    assert shuffled(1, 0, 0).tolist() == [0]
    assert shuffled(8, 1000, 3).tolist() == FIXED
    places = np.array([shuffled(10, seed, 0) for seed in range(2000)])
    for column in places.T:
        assert np.bincount(column, minlength=10).min() > 130
        assert np.bincount(column, minlength=10).max() < 270


FIXED = [5, 3, 6, 4, 2, 1, 0, 7]


def test_a_stream_is_fixed_for_good(open_split: Open) -> None:
    split = open_split([[[k % VOCAB_SIZE, 1, 2] for k in range(300)]])
    digests = {
        order: hashlib.sha256(
            order_of(split, order).sequences(0, 60).astype("<i8").tobytes()
        ).hexdigest()[:16]
        for order in ORDERS
    }
    assert digests == STREAMS


STREAMS = {
    "documents": "4e33d5c44e811496",
    "blocks": "23c3f179875e87f8",
    "buffer": "b595e2c9001257e7",
}


@pytest.mark.parametrize("order", ORDERS)
def test_a_block_longer_than_the_split_is_refused_with_both_numbers(
    open_split: Open, order: str
) -> None:
    split = open_split([[[5] * 100]])
    with pytest.raises(DataError, match=r"100 tokens, .* block of 100 .* block_size to 99 or less"):
        order_of(split, order, block_size=100)
    assert order_of(split, order, block_size=99).sequences(0, 3).shape == (3, 100)


@pytest.mark.parametrize("block_size", [1, 10, 99, 100, 500])
def test_windows_label_every_token_but_the_first_once(open_split: Open, block_size: int) -> None:
    split = open_split([[list(range(60))], [list(range(60, 100))]])
    windows = list(validation_windows(split, block_size))
    assert [token for window in windows for token in window[1:].tolist()] == list(range(1, 100))
    assert [token for window in windows for token in window[:-1].tolist()] == list(range(99))
    assert {len(window) for window in windows[:-1]} <= {block_size + 1}


def test_windows_stop_after_the_labels_wanted(open_split: Open) -> None:
    split = open_split([[list(range(100))]])
    windows = list(validation_windows(split, 10, max_tokens=25))
    assert [len(window) - 1 for window in windows] == [10, 10, 5]


def test_a_split_without_a_label_is_refused(open_split: Open) -> None:
    with pytest.raises(DataError, match="1 token, but at least 2"):
        next(validation_windows(open_split([[[5]]]), 10))
