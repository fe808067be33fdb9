"""How fast the original's loop is at any shape, for studies that compare time too."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from training_sides import shape_of
from turns import Process

MICRO_BATCHES = 2
MICRO_BATCHES_A_STEP = 16
"""Of the original's step."""


def plain_speed(shape: str, rounds: int) -> float:
    """Tokens/s of the original's loop in fp32 with dropout, the median of some steps.

    `shape` is layers, heads, width, block and batch with commas between.
    """
    serve = str(Path(__file__).parent / "training_sides.py")
    command = [sys.executable, serve, "original", shape, "auto", str(MICRO_BATCHES)]
    process = Process("original", command)
    try:
        process.work()
        taken = [process.work() for _ in range(rounds)]
    finally:
        process.end()
    tokens, count = shape_of(shape).tokens, MICRO_BATCHES_A_STEP
    return statistics.median(
        count * tokens / (count * numbers["micro"] + numbers["optimizer"]) for numbers in taken
    )
