"""What is asked of every runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Drawing:
    """How a prompt is continued.

    `rows` continuations of at most `new_tokens` each are made, numbered from `first_row`; the seed
    and a row's number decide its random numbers. A `temperature` of None takes the likeliest token.
    """

    new_tokens: int
    rows: int = 1
    first_row: int = 0
    seed: int = 0
    temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    end_ids: frozenset[int] = frozenset()
    suppressed: tuple[int, ...] = ()


class Runtime(ABC):
    """A loaded model. `context` is the most tokens of a text, `vocab_size` the ids it knows.

    `normalized`: its logits are log-probabilities, which is all it offers. `costly`: each row
    of logits is a separate call, so ask for few.
    """

    name: str
    context: int
    vocab_size: int
    normalized = False
    costly = False

    @abstractmethod
    def logits(self, ids: Sequence[int], rows: Sequence[int]) -> Floats:
        """Logits (R, V) of the tokens that follow `ids[: row + 1]`, for each of `rows`."""

    @abstractmethod
    def nats(self, ids: Sequence[int]) -> float:
        """Sum of −log p of every token of `ids` except the first, given those before it."""

    @abstractmethod
    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        """The `count` likeliest tokens after `ids`, one after the other, whatever they are."""

    def encode(self, text: str) -> list[int] | None:
        """The ids that the format's own tokenizer gives; None if it has none."""
        return None

    def close(self) -> None:
        """Release what the runtime holds."""
        return


class Steps(ABC):
    """Rows that continue one prompt, with what the runtime keeps of them."""

    @abstractmethod
    def step(self, ids: Sequence[int] | None) -> Floats:
        """Logits (R, V) after `ids`, one per row; None for those after the prompt."""


class StepRuntime(Runtime):
    """A runtime that gives logits for any tokens, step by step."""

    @abstractmethod
    def begin(self, prompt: Sequence[int], rows: int) -> Steps:
        """`rows` equal rows that continue `prompt`; computed at the first step."""

    @abstractmethod
    def all_logits(self, ids: Sequence[int]) -> Floats:
        """Logits (T, V) after each of `ids`."""

    def logits(self, ids: Sequence[int], rows: Sequence[int]) -> Floats:
        return self.all_logits(ids)[list(rows)]

    def nats(self, ids: Sequence[int]) -> float:
        return sum(token_nats(self.all_logits(ids), ids))

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        steps = self.begin(ids, 1)
        found: list[int] = []
        last: list[int] | None = None
        while len(found) < count:
            last = [int(steps.step(last)[0].argmax())]
            found += last
        return found


class DrawingRuntime(Runtime):
    """A runtime that draws tokens itself."""

    @abstractmethod
    def draw(
        self, prompt: Sequence[int], drawing: Drawing
    ) -> Iterator[list[tuple[int, float] | None]]:
        """(token, its log-probability) of each row, step by step; None for a row that has ended."""


def token_nats(logits: Floats, ids: Sequence[int]) -> list[float]:
    """−log p of each token of `ids` except the first, after those before it; `logits` (T, V)."""
    import numpy as np

    scores = logits[:-1].astype(np.float64)
    highest = scores.max(-1)
    norms = highest + np.log(np.exp(scores - highest[:, None]).sum(-1))
    chosen = scores[np.arange(len(ids) - 1), list(ids[1:])]
    found: list[float] = (norms - chosen).tolist()
    return found
