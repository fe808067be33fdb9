"""How fast a run goes, and how much time to reserve for stopping in time."""

from __future__ import annotations

import psutil
import torch


class Pace:
    """Seconds of steps since the last row and in total, and of the longest step."""

    def __init__(self) -> None:
        self._slowest = 0.0
        self._steps, self._seconds = 0, 0.0
        self._all_steps, self._all_seconds = 0, 0.0

    def add(self, seconds: float) -> None:
        """One more step has been taken."""
        self._slowest = max(self._slowest, seconds)
        self._steps += 1
        self._seconds += seconds

    def lap(self) -> tuple[int, float]:
        """Steps and seconds since the last lap."""
        lap = self._steps, max(self._seconds, 1e-9)
        self._all_steps, self._all_seconds = self._all_steps + lap[0], self._all_seconds + lap[1]
        self._steps, self._seconds = 0, 0.0
        return lap

    def left(self, steps: int) -> float:
        """Seconds that this many more steps take at the pace of all laps."""
        return steps * self._all_seconds / max(self._all_steps, 1)

    def reserve(self, saving: float) -> float | None:
        """Seconds that one more step may take, and a checkpoint that took `saving`.

        None before the first step.
        """
        return 1.5 * self._slowest + 2 * saving if self._slowest else None


def memory(device: torch.device) -> int:
    """Bytes: the peak that PyTorch held on a GPU so far, what it holds on Apple's; else what this
    process holds now."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if device.type == "xpu":
        return int(torch.xpu.max_memory_allocated(device))
    if device.type == "mps":
        return int(torch.mps.driver_allocated_memory())
    return int(psutil.Process().memory_info().rss)
