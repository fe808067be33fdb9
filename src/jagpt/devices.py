"""What PyTorch computes on: device, threads, precision, and the speed of its matrix products."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from jagpt.errors import UsageError
from jagpt.machines import Precision, find_gpu

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What matrix products are rounded to; those in fp32 are not."""
PRODUCT_SECONDS = 0.1


def choose(wanted: str, precision: str = "fp32", *, key: str = "execution.device") -> torch.device:
    """The device that `auto`, `cpu` or `cuda` means here; `UsageError` where this machine lacks it.

    The message names `key`, where the wish stands; `precision` is that of training.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        lacking = "sees no CUDA device here" if torch.version.cuda else "is a build without CUDA"
        raise UsageError(
            f'{key}: found "cuda", but this machine\'s PyTorch {lacking}; '
            'use "auto" or "cpu", or install a CUDA build of PyTorch'
        )
    device = torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")
    if precision == "fp16" and device.type == "cpu":
        raise UsageError(
            "train.precision: found \"fp16\", which needs a CUDA device; on a CPU use \"bf16\" or "
            "\"fp32\" (--set train.precision=bf16)"
        )  # fmt: skip
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise UsageError(
            "train.precision: found \"bf16\", which this GPU lacks; use \"fp16\" or \"fp32\" "
            "(--set train.precision=fp16)"
        )  # fmt: skip
    return device


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch on `count` threads inside the block; on as many as before if None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: torch.device, precision: str, *, keep_copies: bool = True) -> torch.autocast:
    """Matrix products in `precision` inside the block; nothing changes for fp32.

    With `keep_copies`, the weights' copies in that type live until the block ends.
    """
    return torch.autocast(
        device.type,
        dtype=DTYPES.get(precision),
        enabled=precision in DTYPES,
        cache_enabled=keep_copies,
    )


def product_speed(device: torch.device, precision: Precision) -> float:
    """FLOP/s of the best square product on `device`; measured once a process."""
    return _measured(device, precision, torch.get_num_threads())


@functools.lru_cache
def _measured(device: torch.device, precision: Precision, _threads: int) -> float:
    """Of `PRODUCT_SECONDS`; on a CPU the answer depends on the threads that PyTorch uses."""
    size = 1024 if device.type == "cpu" else 8192
    left = torch.ones(size, size, dtype=DTYPES.get(precision, torch.float32), device=device)
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
    known = find_gpu(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return product_speed(device, precision) if known is None else known.peak(precision)
