"""Tokens as training and evaluation read them: a pure function of the data, a seed and a number.

Shapes: N tokens of the split, D documents, B sequences, T tokens per block.

A training stream is endless and numbered: `TrainingOrder.sequences(first, count)` gives any part of
it, the same for every caller, so that a run resumes anywhere, and ranks share the work by asking
for their own numbers. Randomness is a sort by a hash of (seed, epoch, item), not a generator's
state.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from jagpt import units
from jagpt.errors import DataError, TooLittleTextError
from jagpt.tokens.index import TokenIndex
from jagpt.tokens.shards import Ints, Shard

if TYPE_CHECKING:
    from jagpt.tokens.weights import Weights

Order = Literal["documents", "blocks", "buffer"]
Made = TypeVar("Made")
SHUFFLED_TOGETHER = 1 << 16
"""Packed sequences: documents are shuffled before, so more would only take time."""


class TokenSplit:
    """The tokens of one split, memory-mapped, concatenated over its shards.

    `document_starts` (D + 1,) int64: where documents start in the split; the last is N.
    """

    def __init__(self, split: str, directory: Path, index: TokenIndex) -> None:
        self.split, self.directory = split, directory
        self.vocab_size, self.end_id, self.tokenizer = (
            index.vocab_size,
            index.end_id,
            index.tokenizer,
        )
        sizes = index.splits[split]
        self.shards = [Shard(directory, size.name, index.dtype) for size in sizes]
        for shard, size in zip(self.shards, sizes, strict=True):
            shard.compare(size)
        self.n_tokens = sum(len(shard.tokens) for shard in self.shards)
        self.n_documents = sum(len(shard.starts) - 1 for shard in self.shards)
        self.n_characters = sum(size.characters for size in sizes)
        self.n_bytes = sum(size.bytes for size in sizes)
        self._token_bounds = _bounds([len(shard.tokens) for shard in self.shards])
        self._document_bounds = _bounds([len(shard.starts) - 1 for shard in self.shards])

    @classmethod
    def open(cls, directory: Path, split: str) -> TokenSplit:
        """The split's shards; `DataError` if one is missing, truncated or of a different size."""
        index = TokenIndex.read(directory)
        if split not in index.splits:
            names = ", ".join(index.splits) or "none"
            raise DataError(f"{directory}: there is no split {split!r} here (found: {names})")
        return cls(split, directory, index)

    @cached_property
    def document_starts(self) -> Ints:
        parts = [
            shard.starts[:-1] + int(first)
            for shard, first in zip(self.shards, self._token_bounds, strict=False)
        ]
        return np.concatenate([*parts, self._token_bounds[-1:]])

    def document(self, number: int) -> Ints:
        """The tokens of document `number`, including its end token."""
        start, stop = self.document_starts[number : number + 2]
        return self.slice(int(start), int(stop))

    def document_id(self, number: int) -> str:
        """The corpus's id of document `number`."""
        shard = _find(self._document_bounds, number)
        return self.shards[shard].document_id(number - int(self._document_bounds[shard]))

    def slice(self, start: int, stop: int) -> Ints:
        """Tokens `start` … `stop` (exclusive) of the split as int64."""
        if not 0 <= start <= stop <= self.n_tokens:
            raise IndexError(f"tokens {start}…{stop} of a split of {self.n_tokens}")
        return self.gather(np.array([start]), np.array([stop - start]))

    def gather(self, starts: Ints, lengths: Ints) -> Ints:
        """The spans of `lengths[i]` tokens from `starts[i]`, concatenated, as int64."""
        owners, starts, lengths = self._cut_at_shards(starts, lengths)
        begins = starts - self._token_bounds[owners]
        out, filled = np.empty(int(lengths.sum()), dtype=np.int64), 0
        pieces = zip(owners.tolist(), begins.tolist(), lengths.tolist(), strict=True)
        for owner, begin, length in pieces:
            tokens = self.shards[owner].tokens
            out[filled : filled + length] = tokens[begin : begin + length]
            filled += length
        if filled and int(out.max()) >= self.vocab_size:
            wrong = int(np.argmax(out >= self.vocab_size))
            piece = int(np.searchsorted(np.cumsum(lengths), wrong, side="right"))
            place = int(begins[piece]) + wrong - int(lengths[:piece].sum())
            raise self.shards[owners[piece]].unknown_token(place, self.vocab_size)
        return out

    def check(self) -> None:
        """Read every shard (1 GB/s or more); `DataError` names file and offset of a change."""
        for shard in self.shards:
            shard.check()

    def _cut_at_shards(self, starts: Ints, lengths: Ints) -> tuple[Ints, Ints, Ints]:
        """The spans, cut at shard boundaries: each piece's shard, start and length."""
        bounds, ends = self._token_bounds, starts + lengths
        first = np.searchsorted(bounds, starts, side="right") - 1
        last = np.searchsorted(bounds, ends, side="left") - 1
        counts = np.maximum(last - first + 1, 0)
        span = np.repeat(np.arange(len(starts)), counts)
        owners = _ranges(first, counts)
        pieces = np.maximum(starts[span], bounds[owners])
        return owners, pieces, np.minimum(ends[span], bounds[owners + 1]) - pieces


class TrainingOrder:
    """The endless, numbered stream of training sequences over a split.

    `documents`: each epoch the documents are shuffled and packed end to end, as often as `weights`
    say (once without), and all epochs are cut into sequences of tokens kT … (k+1)T (inclusive), so
    that each token is once an input and once a label each time. Sequences that begin in an epoch
    are shuffled too, 65,536 at a time: neighbours often belong to one document, and a batch of them
    would teach less.
    `blocks`: the split is cut once into blocks of T, which are shuffled each epoch; an incomplete
    last block is left out. A block's last label is the next block's first token.
    `buffer`: the same blocks through the original's shuffle buffer: it fills with the first
    `shuffle_buffer` blocks; each further one replaces a random one, which is emitted; what remains
    at the epoch's end is emitted shuffled.

    `DataError` if the split is too short for one sequence.
    """

    def __init__(
        self,
        split: TokenSplit,
        *,
        block_size: int,
        order: Order,
        seed: int,
        shuffle_buffer: int,
        weights: Weights | None = None,
    ) -> None:
        if split.n_tokens <= block_size:
            raise TooLittleTextError(
                f"{split.directory}: the {split.split} split has {split.n_tokens:,} tokens, too "
                f"few for one block of {block_size:,} and its last label; "
                f"set [train] block_size to {max(split.n_tokens - 1, 0):,} or less, or add text"
            )
        self.split, self.block_size = split, block_size
        self._stream: _Stream = (
            _DocumentStream(split, block_size, seed, weights)
            if order == "documents"
            else _BlockStream(
                split, block_size, seed, shuffle_buffer if order == "buffer" else None
            )
        )

    @property
    def sequences_per_epoch(self) -> float:
        """Sequences in one pass over the split; not an integer for `documents`."""
        return self._stream.sequences_per_epoch

    def sequences(self, first: int, count: int) -> Ints:
        """Sequences `first` … `first + count` as (count, T + 1) int64.

        Inputs are `[:, :-1]`, labels `[:, 1:]`.
        """
        return self._stream.sequences(first, count)


def validation_windows(
    split: TokenSplit, block_size: int, max_tokens: int | None = None
) -> Iterator[Ints]:
    """Consecutive windows of block_size + 1 tokens as (T + 1,) int64, the last one maybe shorter.

    A window's last token is the next one's first, so that each token except the split's first is
    a label once. At most `max_tokens` labels. `DataError` if the split contains no label.
    """
    if split.n_tokens < 2:
        raise DataError(
            f"{split.directory}: the {split.split} split has "
            f"{units.counted(split.n_tokens, 'token')}, but at least 2 are needed; raise "
            f"[corpus] {split.split}_share or add text"
        )
    labels = min(split.n_tokens - 1, max_tokens or split.n_tokens)
    for start in range(0, labels, block_size):
        yield split.slice(start, min(start + block_size, labels) + 1)


# --- streams --------------------------------------------------------------------------------------


class _Stream(Protocol):
    sequences_per_epoch: float

    def sequences(self, first: int, count: int) -> Ints: ...


@dataclass(frozen=True)
class _PackedEpoch:
    """An epoch: its documents' numbers in order (D,), and where each ends when packed (D,)."""

    order: Ints
    ends: Ints


class _DocumentStream:
    def __init__(
        self, split: TokenSplit, block_size: int, seed: int, weights: Weights | None
    ) -> None:
        self._split, self._block_size, self._seed = split, block_size, seed
        self._weights = weights
        tokens = split.n_tokens if weights is None else weights.tokens_per_epoch
        self.sequences_per_epoch = tokens / block_size
        self._starts = np.zeros(1, dtype=np.int64)  # for epochs of different length
        self._epochs: OrderedDict[int, _PackedEpoch] = OrderedDict()
        self._orders: OrderedDict[int, Ints] = OrderedDict()

    def sequences(self, first: int, count: int) -> Ints:
        starts = self._places(np.arange(first, first + count)) * self._block_size
        length = self._block_size + 1
        return self._spans(starts, length).reshape(count, length)

    def _places(self, numbers: Ints) -> Ints:
        """Which sequences in packed order come as `numbers`."""
        firsts = self._firsts(numbers)
        places = np.empty_like(numbers)
        for first in np.unique(firsts).tolist():
            here = firsts == first
            places[here] = first + self._order(first)[numbers[here] - first]
        return places

    def _firsts(self, numbers: Ints) -> Ints:
        """The first sequence of each one's group: `SHUFFLED_TOGETHER` that begin in one epoch."""
        epochs = self._epochs_at(numbers * self._block_size)
        firsts: Ints = numbers - (numbers - self._first_of(epochs)) % SHUFFLED_TOGETHER
        return firsts

    def _first_of(self, epochs: Ints) -> Ints:
        """The first sequence that begins in each epoch."""
        return -(-self._start_of(epochs) // self._block_size)

    def _epochs_at(self, tokens: Ints) -> Ints:
        """The epoch of each token, all epochs concatenated."""
        if self._weights is None:
            return tokens // self._split.n_tokens
        while self._starts[-1] <= tokens.max():
            self._measure_another(self._weights)
        return np.searchsorted(self._starts, tokens, side="right") - 1

    def _start_of(self, epochs: Ints) -> Ints:
        """The tokens before each epoch."""
        if self._weights is None:
            return epochs * self._split.n_tokens
        while len(self._starts) <= epochs.max():
            self._measure_another(self._weights)
        return self._starts[epochs]

    def _measure_another(self, weights: Weights) -> None:
        size = weights.tokens(len(self._starts) - 1)
        self._starts = np.append(self._starts, self._starts[-1] + size)

    def _spans(self, starts: Ints, length: int) -> Ints:
        """`length` tokens from each of `starts`, positions in all epochs concatenated, as one
        array.
        """
        stops = starts + length
        first, last = self._epochs_at(np.array([starts.min(), stops.max() - 1]))
        begins = self._start_of(np.arange(first, last + 2))
        parts = []
        for epoch, (begin, end) in enumerate(pairwise(begins.tolist()), start=int(first)):
            lows = np.maximum(starts - begin, 0)
            highs = np.minimum(stops - begin, end - begin)
            here = np.flatnonzero(lows < highs)
            if len(here):
                parts.append(self._pieces(epoch, here, lows[here], highs[here]))
        spans, begins, lengths = (np.concatenate(column) for column in zip(*parts, strict=True))
        whole = np.argsort(spans, kind="stable")  # one may continue in the next epoch
        return self._split.gather(begins[whole], lengths[whole])

    def _pieces(self, epoch: int, spans: Ints, lows: Ints, highs: Ints) -> tuple[Ints, Ints, Ints]:
        """The parts of documents in tokens lows[i] … highs[i] of an epoch: span, start and
        length.
        """
        packed = self._packed(epoch)
        first = np.searchsorted(packed.ends, lows, side="right")
        counts = np.searchsorted(packed.ends, highs, side="left") - first + 1
        documents = _ranges(first, counts)
        numbers, ends = packed.order[documents], packed.ends[documents]
        starts = self._split.document_starts[numbers]
        begins = ends - (self._split.document_starts[numbers + 1] - starts)
        skipped = np.maximum(np.repeat(lows, counts) - begins, 0)
        lengths = np.minimum(ends, np.repeat(highs, counts)) - begins - skipped
        return np.repeat(spans, counts), starts + skipped, lengths

    def _packed(self, epoch: int) -> _PackedEpoch:
        """The epoch's documents; two epochs are kept, as a sequence may straddle them."""

        def pack() -> _PackedEpoch:
            order = self._shuffled_documents(epoch)
            lengths = np.diff(self._split.document_starts)
            return _PackedEpoch(order, np.cumsum(lengths[order]))

        return _kept(self._epochs, epoch, pack)

    def _shuffled_documents(self, epoch: int) -> Ints:
        """The numbers of the epoch's documents in order, each as often as it comes."""
        if self._weights is None:
            return shuffled(self._split.n_documents, self._seed, epoch)
        numbers = np.repeat(np.arange(self._split.n_documents), self._weights.counts(epoch))
        return numbers[shuffled(len(numbers), self._seed, epoch)]

    def _order(self, first: int) -> Ints:
        """The order of the sequences in the group of `first`, counted from it."""
        following = self._first_of(self._epochs_at(np.array([first * self._block_size])) + 1)
        count = min(SHUFFLED_TOGETHER, int(following[0]) - first)
        # A different seed than for the documents, which may be equally many.
        return _kept(self._orders, first, lambda: shuffled(count, ~self._seed, first))


class _BlockStream:
    def __init__(
        self, split: TokenSplit, block_size: int, seed: int, shuffle_buffer: int | None
    ) -> None:
        self._split, self._block_size, self._seed = split, block_size, seed
        self._shuffle_buffer = shuffle_buffer
        self._n_blocks = (split.n_tokens - 1) // block_size
        self.sequences_per_epoch = float(self._n_blocks)
        self._orders: OrderedDict[int, Ints] = OrderedDict()

    def sequences(self, first: int, count: int) -> Ints:
        numbers = np.arange(first, first + count)
        epochs, places = np.divmod(numbers, self._n_blocks)
        blocks = np.empty(count, dtype=np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            blocks[here] = self._order(int(epoch))[places[here]]
        lengths = np.full(count, self._block_size + 1)
        tokens = self._split.gather(blocks * self._block_size, lengths)
        return tokens.reshape(count, self._block_size + 1)

    def _order(self, epoch: int) -> Ints:
        def draw() -> Ints:
            if self._shuffle_buffer is None:
                return shuffled(self._n_blocks, self._seed, epoch)
            return buffer_shuffled(self._n_blocks, self._shuffle_buffer, self._seed, epoch)

        return _kept(self._orders, epoch, draw)


def _kept(made: OrderedDict[int, Made], number: int, make: Callable[[], Made]) -> Made:
    """The cached value for `number`, computed if missing; the last two are kept."""
    if number not in made:
        made[number] = make()
        while len(made) > 2:
            made.popitem(last=False)
    made.move_to_end(number)
    return made[number]


# --- shuffling ------------------------------------------------------------------------------------


def shuffled(count: int, seed: int, epoch: int) -> Ints:
    """The numbers 0 … count in an order that depends only on (count, seed, epoch), as int64.

    Each number carries a hash in the high bits and itself in the low ones; sorting those is several
    times faster than an argsort, and ties cannot happen.
    """
    width = np.uint64(max(count - 1, 1).bit_length())
    low = (np.uint64(1) << width) - np.uint64(1)
    numbers = np.arange(count, dtype=np.uint64)
    keys = (hashed(numbers, seed, epoch) & ~low) | numbers
    keys.sort()
    return (keys & low).astype(np.int64)


def buffer_shuffled(count: int, buffer: int, seed: int, epoch: int) -> Ints:
    """The order in which 0 … count leave a shuffle buffer of `buffer` places, as int64.

    Item `buffer + t` takes a random place at time t, and the item that was there leaves. So what
    leaves at time t is what was last put into that place: found for all t at once by a stable sort
    by place, where each item's predecessor is its left neighbour.
    """
    buffer = min(buffer, count)
    arrivals = np.arange(buffer, count)
    draws = hashed(arrivals.astype(np.uint64), seed, epoch) % np.uint64(buffer)
    places = np.concatenate([np.arange(buffer), draws.astype(np.int64)])
    by_place = np.argsort(places, kind="stable")
    same = places[by_place[1:]] == places[by_place[:-1]]
    leaving = np.empty(count, dtype=np.int64)
    leaving[by_place[1:][same]] = by_place[:-1][same]
    is_last = np.append(~same, True)
    remaining = by_place[is_last]
    tail = remaining[shuffled(len(remaining), seed + 1, epoch)]
    return np.concatenate([leaving[buffer:], tail])


def hashed(numbers: npt.NDArray[np.uint64], seed: int, epoch: int) -> npt.NDArray[np.uint64]:
    """64 random-looking bits for each number, seed and epoch (splitmix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        start = _splitmix(np.array([seed % 2**64], dtype=np.uint64))
        start = _splitmix(start ^ np.uint64(epoch))
        return _splitmix(numbers * np.uint64(0x9E3779B97F4A7C15) + start)


def _splitmix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    mixed = state + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# --- spans ----------------------------------------------------------------------------------------


def _ranges(starts: Ints, lengths: Ints) -> Ints:
    """The numbers starts[i] … starts[i] + lengths[i] (exclusive) for each i, concatenated."""
    shifts = starts - (np.cumsum(lengths) - lengths)
    ranges: Ints = np.arange(int(lengths.sum())) + np.repeat(shifts, lengths)
    return ranges


def _bounds(sizes: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(np.array(sizes, dtype=np.int64))]).astype(np.int64)


def _find(bounds: Ints, number: int) -> int:
    return int(np.searchsorted(bounds, number, side="right")) - 1
