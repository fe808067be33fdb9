"""From the nats of each document to figures and their intervals.

Shapes: D documents. The nats of all tokens are summed first; the mean and its exp are taken last.

A stream's first token follows nothing, so no model can predict it. Loss and perplexity are
over the other N − 1 tokens, as in the original. Bits per character and per byte must pay for the
whole text: there the first token is charged log(vocab_size), the cost of a blind guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from jagpt.evaluation.result import Figures, Interval, Limits
from jagpt.units import perplexity

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RESAMPLES = 1000
LEVEL = 0.95
SEED = 1000
FEWEST_PAIRS = 10
"""Fewest documents for which the interval of a difference is given."""
DRAWN_AT_ONCE = 1 << 20
"""Documents drawn in one call, which bounds the bootstrap's memory."""


@dataclass(frozen=True)
class DocumentNats:
    """What each document cost: `nats` (D,) over its `tokens` (D,) labels, and the size of its raw
    text in `characters` (D,) and `bytes` (D,). `blind` is the nats charged for the first token.
    """

    nats: Floats
    tokens: Ints
    characters: Ints
    bytes: Ints
    blind: float

    @property
    def loss(self) -> float:
        """Mean nats per token over all documents."""
        return float(self.nats.sum() / self.tokens.sum())

    @property
    def paid(self) -> Floats:
        """Nats (D,) that pay for the whole text: the first token is charged `blind`."""
        nats = self.nats.copy()
        nats[0] += self.blind
        return nats

    def figures(self) -> Figures:
        """Counts, loss, perplexity and bits with their intervals."""
        nats, tokens = float(self.nats.sum()), int(self.tokens.sum())
        characters, size = int(self.characters.sum()), int(self.bytes.sum())
        bits = (nats + self.blind) / math.log(2)
        return Figures(
            documents=len(self.nats),
            tokens=tokens,
            characters=characters,
            bytes=size,
            nats=nats,
            loss=nats / tokens,
            perplexity=perplexity(nats / tokens),
            bits_per_character=bits / characters,
            bits_per_byte=bits / size,
            interval=self.interval(),
        )

    def interval(self) -> Interval | None:
        """Bootstrap intervals over documents (percentiles); None if there is only one document.

        Documents are drawn with replacement, from a fixed seed: an estimate of what another
        sample of as many documents of the same kind would give. Efron & Tibshirani 1993, chapter
        13.
        """
        if len(self.nats) < 2:
            return None
        sums = _resampled(
            self.nats, self.paid, self.tokens, self.characters, self.bytes
        )  # (RESAMPLES, 5)
        with np.errstate(divide="ignore", invalid="ignore"):
            loss = sums[:, 0] / sums[:, 2]
            by_character, by_byte = sums[:, 1] / sums[:, 3], sums[:, 1] / sums[:, 4]
        low, high = _bounds(loss)
        return Interval(
            level=LEVEL,
            resamples=RESAMPLES,
            loss=(low, high),
            perplexity=(perplexity(low), perplexity(high)),
            bits_per_character=_bounds(by_character / math.log(2)),
            bits_per_byte=_bounds(by_byte / math.log(2)),
        )


def paired_bounds(differences: Floats, sizes: Ints) -> Limits | None:
    """Bootstrap interval of Σ differences / Σ sizes over documents, (D,) each.

    A document is drawn with both models' costs, so that what makes it hard for both cancels out.
    None below `FEWEST_PAIRS` documents, where percentiles of resampled means are too narrow.
    """
    if len(differences) < FEWEST_PAIRS:
        return None
    sums = _resampled(differences, sizes)
    return _bounds(sums[:, 0] / sums[:, 1])


def _resampled(*columns: Floats | Ints) -> Floats:
    """Sums (RESAMPLES, C) of columns of D documents, (D,) each, over as many draws of D of them."""
    table = np.stack([column.astype(np.float64) for column in columns], axis=1)  # (D, C)
    random, count = np.random.default_rng(SEED), len(table)
    sums = np.zeros((RESAMPLES, table.shape[1]))
    for row in sums:
        for start in range(0, count, DRAWN_AT_ONCE):
            drawn = random.integers(0, count, min(DRAWN_AT_ONCE, count - start))
            row += table[drawn].sum(axis=0)
    return sums


def _bounds(values: Floats) -> Limits:
    """The middle `LEVEL` of the finite values."""
    tail = 50 * (1 - LEVEL)
    low, high = np.percentile(values[np.isfinite(values)], [tail, 100 - tail])
    return float(low), float(high)


def wilson(right: int, count: int) -> list[float]:
    """95 % interval of a share (Wilson 1927), which also works at 0 and 1."""
    z, share = 1.959964, right / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return [max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)]
