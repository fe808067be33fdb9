"""What PyTorch computes on: device, threads, precision, and the speed of its matrix products."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from jagpt.errors import UsageError
from jagpt.machines import Precision, cpu_bf16, find_gpu, no_bf16

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of the numbers that are multiplied."""
PRODUCT_SECONDS = 0.1
SLOW_PRODUCT = 0.005
"""Seconds of a product of 256 × 256 × 256 above which no larger one is tried."""
HALF_PRODUCTS = (7, 0)
"""Compute capability from which NVIDIA's GPUs have units for products in fp16 (V100)."""


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
            "train.precision: found \"fp16\", which needs a GPU; on a CPU use \"auto\" or "
            "\"fp32\" (--set train.precision=auto)"
        )  # fmt: skip
    if precision == "bf16" and device.type == "cuda" and not multiplies_bf16(device):
        raise no_bf16("this GPU")
    return device


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16; what does not emulates it, slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_bf16()


def best_precision(device: torch.device) -> tuple[Precision, str]:
    """What `auto` means on `device`, and why."""
    here = "this GPU" if device.type == "cuda" else "this processor"
    if multiplies_bf16(device):
        return "bf16", f"{here} multiplies bf16"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= HALF_PRODUCTS:
        return "fp16", f"{here} has no bf16, but fp16"
    return "fp32", f"{here} has no bf16"


def emulation_warning(device: torch.device, precision: str, key: str) -> str | None:
    """What to say of a precision, wished for by `key`, that the processor only emulates."""
    if device.type != "cpu" or precision != "bf16" or multiplies_bf16(device):
        return None
    factor = product_speed(device, "fp32") / product_speed(device, "bf16")
    return (
        f"warning: {key} is bf16, which this processor only emulates: products take "
        f"{factor:.1f} times as long as in fp32"
    )


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
        dtype=None if precision == "fp32" else DTYPES[precision],
        enabled=precision != "fp32",
        cache_enabled=keep_copies,
    )


def product_speed(device: torch.device, precision: str) -> float:
    """FLOP/s of the best square product on `device`; measured once a process."""
    return _measured(device, precision, torch.get_num_threads())


@functools.lru_cache
def _measured(device: torch.device, precision: str, _threads: int) -> float:
    """On a CPU the answer depends on the threads that PyTorch uses."""
    sizes = (256, 1024) if device.type == "cpu" else (8192,)
    for size in sizes:
        seconds = _best_seconds(device, precision, size)
        if seconds > SLOW_PRODUCT:  # emulated: a larger product would take minutes
            break
    return 2 * size**3 / seconds


def _best_seconds(device: torch.device, precision: str, size: int) -> float:
    """The shortest of the square products that fit into `PRODUCT_SECONDS`, warmed up."""
    left = torch.ones(size, size, dtype=DTYPES[precision], device=device)
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
    return best


def peak(device: torch.device, precision: str) -> float:
    """FLOP/s that `device` can reach in `precision`: from the table, else measured."""
    known = find_gpu(torch.cuda.get_device_name(device)) if device.type == "cuda" else None
    return product_speed(device, precision) if known is None else known.peak(precision)
