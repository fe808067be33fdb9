"""The fastest matrix products of a machine, which training's speed is compared with (no torch).

NVIDIA's own figures for dense products with fp32 accumulation, in 10¹² operations a second:
bf16 or fp16, and TF32 (0 where there is none). Of the data sheets of T4, V100, A10, A30, A40, A100,
L4, L40S, H100 and H200, and the architecture white papers of Turing, GA102, Ada and Blackwell.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GPUS: dict[str, tuple[float, float]] = {
    "B200": (2250, 1125),
    "H200": (989.4, 494.7),
    "H100 NVL": (835, 417.5),
    "H100 PCIe": (756, 378),
    "H100": (989.4, 494.7),
    "A100": (312, 156),
    "A40": (149.7, 74.8),
    "A30": (165, 82),
    "A10G": (70, 35),
    "A10": (125, 62.5),
    "L40S": (362, 183),
    "L4": (121, 60),
    "RTX 6000 Ada": (364.2, 182.1),
    "RTX A6000": (154.8, 77.4),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71, 35.6),
    "RTX 2080 Ti": (53.8, 0),
    "V100": (125, 0),
    "T4": (65, 0),
}
"""Part of a GPU's name → TFLOP/s; the first entry that fits holds."""

PRODUCT_SECONDS = 0.1


def known(name: str, precision: str) -> float | None:
    """FLOP/s of a GPU by its name; None where the table does not have it."""
    words = name.replace("-", " ").split()
    for part, (half, tf32) in GPUS.items():
        wanted = part.split()
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words))):
            return ((tf32 if precision == "fp32" else half) * 1e12) or None
    return None


@functools.lru_cache
def measured(device: torch.device, precision: str, threads: int) -> float:
    """FLOP/s of the best square product of `PRODUCT_SECONDS` in `precision` on `device`.

    `threads` says how many PyTorch uses on a CPU, on which the answer depends.
    """
    import torch

    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    size = 1024 if device.type == "cpu" else 8192
    left = torch.ones(size, size, dtype=kinds.get(precision, torch.float32), device=device)
    best, started = float("inf"), None
    while started is None or time.perf_counter() - started < PRODUCT_SECONDS:
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


def peak(device: torch.device, precision: str) -> float:
    """FLOP/s that `device` can reach in `precision`: from the table, else measured."""
    import torch

    found = None
    if device.type == "cuda":
        found = known(torch.cuda.get_device_name(device), precision)
    return found or measured(device, precision, torch.get_num_threads())
