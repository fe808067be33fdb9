"""Several models as one: the mean of their probabilities.

Shapes: B sequences, T tokens of context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np

from jagpt.errors import UsageError
from jagpt.evaluation.measures import Floats, Ints
from jagpt.evaluation.scoring import Scorer
from jagpt.models import ModelFolder
from jagpt.models.tokenizer import other_ids

NAME = "ensemble (mean of the probabilities)"


class Ensemble:
    """Scorers of models that share their ids, used together as one `scoring.Scores`."""

    def __init__(self, scorers: Sequence[Scorer]) -> None:
        self._scorers = scorers
        self.vocab_size = min(scorer.vocab_size for scorer in scorers)

    @contextmanager
    def session(self) -> Iterator[None]:
        """As for a `Scorer`, around all of them."""
        with ExitStack() as stack:
            for scorer in self._scorers:
                stack.enter_context(scorer.session())
            yield

    def nats(self, sequences: Ints, skipped: int = 0) -> Floats:
        """−log of the mean probability of the labels `sequences[:, 1 + skipped:]` (B, T − skipped).

        A label's mean only needs its own probabilities, not those of the whole vocabulary.
        """
        found = np.stack([scorer.nats(sequences, skipped) for scorer in self._scorers])
        nats: Floats = np.log(len(found)) - np.logaddexp.reduce(-found, axis=0)
        return nats

    def batch_size(self, length: int) -> int:
        """Sequences of `length` tokens that go through every model together."""
        return min(scorer.batch_size(length) for scorer in self._scorers)


def check(subjects: Sequence[ModelFolder]) -> None:
    """Refuse models whose ids mean different pieces: their probabilities cannot be averaged."""
    if len(subjects) < 2:
        raise UsageError("--ensemble: the mean of several models; give --model more than once")
    first, *others = subjects
    for other in others:
        if odd := other_ids(first.tokenizer, other.tokenizer):
            raise UsageError(
                f"--ensemble: {other.name} gives {odd:,} pieces different ids than {first.name}, "
                "so their probabilities cannot be averaged; measure them without --ensemble"
            )
