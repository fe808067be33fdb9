"""`search/trials.json`: what a search over a recipe's settings has tried (no torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jagpt.errors import JagptError
from jagpt.records import Count, Versioned, optional
from jagpt.text import one_line, shortened

BEST = "best.toml"
"""Next to it: the recipe with the best settings so far."""


@dataclass(frozen=True)
class Tried:
    """A trial: the values of its keys, and the best valid loss (nats per token), None if it
    `failed`, and how."""

    settings: dict[str, float | int]
    loss: float | None
    steps: Count
    seconds: float
    failed: str | None = optional()

    @property
    def rank(self) -> float:
        """The loss, with failed trials last."""
        return math.inf if self.loss is None else self.loss


@dataclass(frozen=True, kw_only=True)
class Trials(Versioned):
    """A search's trials in their order; `made_of` is the fingerprint of everything that they
    share.
    """

    FILE = "trials.json"
    KIND = "record of a search"
    REMEDY = "delete the folder, and the search starts over"
    VERSION = 1

    made_of: str
    trials: tuple[Tried, ...] = ()

    def check(self, folder: Path) -> None:
        """`JagptError` if all of them failed; they are in `folder`."""
        if self.trials and self.best is None:
            reason = shortened(one_line(self.trials[0].failed or "no valid loss"), 300)
            raise JagptError(
                f"every trial failed: {reason}; correct that, delete {folder} and run the same "
                "command again"
            )

    def ranked(self) -> list[tuple[int, Tried]]:
        """The trials with their numbers from 1, the lowest loss first."""
        return sorted(enumerate(self.trials, 1), key=lambda item: item[1].rank)

    @property
    def best(self) -> Tried | None:
        """The trial with the lowest loss, the first of several; None if all failed."""
        found = min(self.trials, key=lambda trial: trial.rank, default=None)
        return None if found is None or found.loss is None else found
