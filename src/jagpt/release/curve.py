"""The curve of the validation loss, drawn from what the last checkpoint remembers."""

from __future__ import annotations

from pathlib import Path

CURVE = "valid_loss_curve.png"


def draw(points: list[tuple[int, float]], target: Path) -> None:
    """Write a picture of (tokens seen, loss in nats a token) to `target`, the same each time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot([tokens for tokens, _ in points], [loss for _, loss in points], marker="o")
    axes.set_xlabel("tokens")
    axes.set_ylabel("valid loss (nats a token)")
    axes.grid(alpha=0.3)
    figure.savefig(target, dpi=100, format="png", metadata={"Software": None})
