"""The plot of the losses, in the run's logs and in its release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Points = Sequence[tuple[int, float]]
"""Tokens trained on, and the loss in nats per token."""


def draw(target: Path, valid: Points, train: Points | None = None) -> None:
    """Draw losses against tokens into the PNG `target`; the same points give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if train is not None:
        axes.plot(*_columns(train), label="train", linewidth=0.8, alpha=0.6)
    axes.plot(*_columns(valid), label="valid", marker="o")
    axes.set_xlabel("tokens")
    axes.set_ylabel("valid loss (nats per token)" if train is None else "loss (nats per token)")
    axes.grid(alpha=0.3)
    if train is not None:
        axes.legend()
    figure.savefig(target, dpi=100, format="png", metadata={"Software": None})


def _columns(points: Points) -> tuple[list[int], list[float]]:
    return [tokens for tokens, _ in points], [loss for _, loss in points]
