"""The fastest matrix products of a machine, which training's speed is compared with (no torch)."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

from jagpt.machines import Precision, find_gpu

if TYPE_CHECKING:
    import torch

PRODUCT_SECONDS = 0.1


@functools.lru_cache
def measured(device: torch.device, precision: Precision, threads: int) -> float:
    """FLOP/s of the best square product of `PRODUCT_SECONDS` in `precision` on `device`.

    `threads` says how many PyTorch uses on a CPU, on which the answer depends.
    """
    import torch

    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    size = 1024 if device.type == "cpu" else 8192
    left = torch.ones(size, size, dtype=kinds.get(precision, torch.float32), device=device)
    best, started, after = float("inf"), None, 0.0
    # one that counts at least, however long the process was suspended
    while started is None or best == float("inf") or after - started < PRODUCT_SECONDS:
        before = time.perf_counter()
        product = left @ left
        if device.type == "cuda":
            product[0, 0].item()
        after = time.perf_counter()
        if started is None:  # the first one warms up
            started = after
        else:
            best = min(best, after - before)
    return 2 * size**3 / best


def peak(device: torch.device, precision: Precision) -> float:
    """FLOP/s that `device` can reach in `precision`: from the table, else measured."""
    import torch

    known = find_gpu(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    if known is not None:
        return known.peak(precision)
    return measured(device, precision, torch.get_num_threads())
