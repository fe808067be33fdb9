"""Engines: they take token ids and give drawn tokens, step by step.

An engine that gives logits derives from `SteppingEngine` and writes `begin`: the filters and draws
are then the same for all. One with a sampler of its own implements `Engine.draw` itself.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from jagpt.generation.sampling import Sampler

if TYPE_CHECKING:
    from torch import Tensor

    from jagpt.runtimes import Drawing
    from jagpt.runtimes.base import Floats


@dataclass(frozen=True)
class Drawn:
    """A token and its natural log-probability under the model; `end` if it ends the text."""

    id: int
    logprob: float
    end: bool = False


class Engine(Protocol):
    """A model that is ready to continue texts.

    `context` is the most tokens that prompt and continuation may have together, None for no limit;
    `vocab_size` the ids that it knows.
    """

    @property
    def name(self) -> str: ...

    @property
    def context(self) -> int | None: ...

    @property
    def vocab_size(self) -> int: ...

    def draw(self, prompt: Sequence[int], drawing: Drawing) -> Iterator[list[Drawn | None]]:
        """The next token of each row, step by step, until all have ended or `drawing.new_tokens`.

        A row that has ended gives None. Closing the iterator ends the work and frees its memory.
        """
        ...


class Session(Protocol):
    """Rows that continue one prompt, with what the engine keeps of them."""

    def step(self, ids: Sequence[int] | None) -> Tensor | Floats:
        """Logits (rows, V) of the token after `ids`, one per row; None for that after the
        prompt.
        """
        ...


class SteppingEngine(ABC):
    """An engine that gives logits; the tokens are drawn here."""

    name: str
    context: int | None
    vocab_size: int

    @abstractmethod
    def begin(self, prompt: Sequence[int], rows: int) -> Session:
        """A session of `rows` equal rows; it computes at its first step."""

    def draw(self, prompt: Sequence[int], drawing: Drawing) -> Iterator[list[Drawn | None]]:
        """See `Engine.draw`."""
        session, sampler = self.begin(prompt, drawing.rows), Sampler(drawing, prompt)
        ended = [False] * drawing.rows
        ids: list[int] | None = None
        for _ in range(drawing.new_tokens):
            found = self.sample(sampler, session.step(ids))
            drawn = [
                None if done else Drawn(token, logprob, token in drawing.end_ids)
                for done, (token, logprob) in zip(ended, found, strict=True)
            ]
            yield drawn
            ended = [token is None or token.end for token in drawn]
            if all(ended):
                return
            ids = [token for token, _ in found]

    def sample(self, sampler: Sampler, logits: Tensor | Floats) -> list[tuple[int, float]]:
        """A token and its log-probability for each row of `logits` (R, V)."""
        return sampler.draw(logits)
