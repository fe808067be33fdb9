"""The plot of the losses, in the run's logs and in its release."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jagpt import safepath
from jagpt.charts import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = Sequence[tuple[int, float]]
"""Tokens trained on, and the loss in nats per token."""


def draw(target: Path, valid: Points, train: Points | None = None) -> None:
    """Draw losses against tokens into the PNG `target`; the same points give the same bytes."""
    with safepath.no_settings("matplotlibrc"):  # it could have programs started, such as LaTeX
        import matplotlib
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = _figure(valid, train)
        figure.savefig(target, dpi=100, format="png", metadata={"Software": None})


def _figure(valid: Points, train: Points | None) -> Figure:
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
    return figure


def _columns(points: Points) -> tuple[list[float], list[float]]:
    kept = drawable(points)
    return [tokens for tokens, _ in kept], [loss for _, loss in kept]
