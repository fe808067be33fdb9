"""How fast a side of the training benchmark is at any shape, for studies that compare time too."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from training_sides import Shape
from turns import Process

MICRO_BATCHES_A_STEP = 16
"""Of the original's step."""


def step_speeds(shape: Sequence[int], sides: Sequence[str], rounds: int) -> dict[str, float]:
    """Tokens/s of each side's whole steps of one micro-batch, the median of rounds in turns.

    `shape` is layers, heads, width, block, batch and vocabulary.
    """
    serve = str(Path(__file__).parent / "training_sides.py")
    name = ",".join(map(str, shape))
    processes: dict[str, Process] = {}
    taken: dict[str, list[float]] = {side: [] for side in sides}
    try:
        for number in range(1 + rounds):
            for side in sides:
                if side not in processes:
                    command = [sys.executable, serve, side, name, "auto", "1", "bf16"]
                    processes[side] = Process(side, command)
                numbers = processes[side].work()
                if number:  # the first warms up
                    taken[side].append(numbers["micro"] + numbers["optimizer"])
    finally:
        for process in processes.values():
            process.end()
    tokens = Shape(*shape).tokens
    return {side: tokens / statistics.median(seconds) for side, seconds in taken.items()}
