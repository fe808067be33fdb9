"""The model of time: one efficiency per family of GPUs, and the published runs behind it.

    seconds = FLOPs / (GPUs · peak · efficiency)

A family's efficiency is the median of what its fitted runs reached. `published.toml` says which
runs those are and how they were chosen before anything was fitted; the others are for checking.
"""

from __future__ import annotations

import statistics
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from jagpt.machines import Precision, gpu
from jagpt.models.size import flops_per_token

LIKE = {"blackwell": "hopper", "cdna": "ampere", "rdna": "turing", "apple": "turing"}
"""Families without a published run here → the family whose efficiency is used instead."""


@dataclass(frozen=True)
class Run:
    """A published training run; `seconds` of wall-clock for `tokens` tokens."""

    name: str
    gpu: str
    gpus: int
    precision: Precision
    date: str
    parameters: int
    n_layer: int
    n_embd: int
    block_size: int
    tokens: int
    seconds: float
    fitted: bool
    source: str

    @property
    def family(self) -> str:
        return gpu(self.gpu).family

    @property
    def flops(self) -> float:
        """Floating-point operations of the whole run."""
        return self.tokens * flops_per_token(
            self.parameters, self.n_layer, self.n_embd, self.block_size
        )

    @property
    def efficiency(self) -> float:
        """Share of the GPUs' peak that it reached."""
        return self.flops / (self.seconds * self.gpus * gpu(self.gpu).peak(self.precision))

    @property
    def predicted(self) -> float:
        """Seconds by the model of time."""
        return self.seconds * self.efficiency / efficiency(self.family).middle


@dataclass(frozen=True)
class Efficiency:
    """Share of the peak that training reaches: the fitted median, and the range of all runs."""

    middle: float
    low: float
    high: float
    runs: int


@cache
def runs() -> tuple[Run, ...]:
    """All published runs, in the order of the file."""
    text = (resources.files("jagpt.plan") / "published.toml").read_text("utf-8")
    return tuple(Run(**value) for value in tomllib.loads(text)["run"])


@cache
def efficiency(family: str) -> Efficiency:
    """The efficiency of a family of GPUs."""
    family = LIKE.get(family, family)
    own = [run for run in runs() if run.family == family]
    reached = [run.efficiency for run in own]
    fitted = [run.efficiency for run in own if run.fitted]
    return Efficiency(statistics.median(fitted), min(reached), max(reached), len(own))
