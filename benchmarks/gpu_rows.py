"""What the checks of `benchmarks/gpu.py` share: the machine, rows, a small network's recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from kill import VOCAB_SIZE

from jagpt.models.build import SpecialIds
from jagpt.recipe import Recipe, parse

TINY = {"n_layer": 2, "n_head": 2, "n_embd": 64, "n_positions": 64}
SPECIAL = SpecialIds(1, 2, 3)


@dataclass(frozen=True)
class Row:
    """One thing that was looked at; `outcome` is "ok", "FAILED", "", or "skipped: why"."""

    check: str
    what: str
    found: str
    wanted: str
    outcome: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> tuple[str, ...]:
        return self.check, self.what, self.found, self.wanted, self.outcome


@dataclass(frozen=True)
class Bench:
    """Where the checks run, and the seconds that each took."""

    device: torch.device
    folder: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"


def skipped(check: str, why: str) -> Row:
    return Row(check, "", "", "", f"skipped: {why}")


def judged(check: str, what: str, found: float, most: float, **figures: Any) -> Row:
    """A deviation beside the most that it may be."""
    outcome = "ok" if found <= most else "FAILED"
    figures = {"found": found, "most": most, **figures}
    return Row(check, what, f"{found:.1e}", f"≤ {most:.0e}", outcome, figures)


def recipe_of(bench: Bench, model: Mapping[str, Any], **train: Any) -> Recipe:
    """A network of this shape on the bench's device; more steps than are taken."""
    values = {
        "max_steps": 100_000, "validate_every": 100_000, "checkpoint_every": 100_000,
        "batch_size": 2, "grad_accum_steps": 1, "precision": "fp32", **train,
    }  # fmt: skip
    settings = [f"model.{key}={value}" for key, value in model.items()]
    settings += [f"train.{key}={str(value).lower()}" for key, value in values.items()]
    settings += [f"execution.device={bench.device.type}", "execution.tensorboard=false"]
    text = 'name = "gpu"\n[[corpus.source]]\nname = "none"\nkind = "text"\npath = "none.txt"\n'
    return parse(text, overrides=settings)


def sequences(batch: int, length: int, vocab_size: int = VOCAB_SIZE, seed: int = 0) -> torch.Tensor:
    """Random tokens (batch, length + 1)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(4, vocab_size, (batch, length + 1), generator=generator)
