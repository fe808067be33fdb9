"""How often each document occurs in an epoch, by the weight of its source.

Shapes: D documents of the split.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jagpt.errors import DataError
from jagpt.tokens.dataset import TokenSplit, hashed
from jagpt.tokens.shards import Ints

PARTS = 10_000
"""Weights are counted in integer fractions of one, so that nothing is rounded."""


class Weights:
    """How often the documents of a split occur in each epoch: a pure function of its arguments.

    A document of weight w occurs floor((e + 1) w + u) - floor(e w + u) times in epoch e, with its
    own u between 0 and 1: in E epochs it occurs E w times, rounded to an integer, and the
    documents of a source are spread evenly over the epochs.
    """

    def __init__(self, split: TokenSplit, weights: Mapping[str, float], seed: int) -> None:
        self._parts = _parts(split, weights)
        numbers = np.arange(split.n_documents, dtype=np.uint64)
        self._offsets = (hashed(numbers, seed, 0) % np.uint64(PARTS)).astype(np.int64)
        self._lengths = np.diff(split.document_starts)

    @classmethod
    def of(cls, split: TokenSplit, weights: Mapping[str, float], seed: int) -> Weights | None:
        """None if each document occurs once.

        `weights` are those of sources that have one other than 1; `DataError` for one that is not
        in the split.
        """
        return cls(split, weights, seed) if weights else None

    @property
    def tokens_per_epoch(self) -> int:
        """Average tokens per epoch."""
        return int((self._parts * self._lengths).sum()) // PARTS

    def counts(self, epoch: int) -> Ints:
        """How often each document occurs in that epoch (D,)."""
        done = epoch * self._parts + self._offsets
        counts: Ints = (done + self._parts) // PARTS - done // PARTS
        return counts

    def tokens(self, epoch: int) -> int:
        """Tokens of that epoch."""
        return int((self.counts(epoch) * self._lengths).sum())


def _parts(split: TokenSplit, weights: Mapping[str, float]) -> Ints:
    """Each document's weight in parts (D,)."""
    known = {source: round(weight * PARTS) for source, weight in weights.items()}
    sources = [name.partition(":")[0] for shard in split.shards for name in shard.document_ids()]
    if missing := known.keys() - set(sources):
        raise DataError(
            f"{split.directory}: the recipe gives the source {', '.join(sorted(missing))} a "
            "weight, "
            f"but none of its documents is in the {split.split} split; leave out its `weight`"
        )
    return np.array([known.get(source, PARTS) for source in sources], dtype=np.int64)
