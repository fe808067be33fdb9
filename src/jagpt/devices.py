"""What PyTorch computes on: device, threads, precision, and the speed of its matrix products."""

from __future__ import annotations

import functools
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from jagpt import units
from jagpt.errors import JagptError, UsageError
from jagpt.machines import Precision, cpu_bf16, find_gpu, no_bf16

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The type of the numbers that are multiplied."""
GPU_KINDS = ("cuda", "xpu", "mps")
"""GPUs of NVIDIA and AMD (ROCm), Intel, Apple; `auto` takes the first one available."""
OWN_CONTEXT = 1 << 30
"""About how many bytes of a GPU CUDA itself may hold for this process."""
PRODUCT_SECONDS = 0.1
SLOW_PRODUCT = 0.005
"""If a product of 256 × 256 × 256 takes longer than this many seconds, no larger one is tried."""
HALF_PRODUCTS = (7, 0)
"""Compute capability from which NVIDIA's GPUs have units for products in fp16 (V100)."""


def choose(wanted: str, precision: str = "fp32", *, key: str = "execution.device") -> torch.device:
    """The device that a name of `GPU_KINDS`, `cpu` or `auto` means here.

    `UsageError` if this machine lacks it, or the `precision` of training there; the message
    names `key`, which asked for it. `auto` is a GPU that PyTorch can use, or else the CPU.
    """
    kind = wanted
    if wanted == "auto":
        kind = next((name for name in GPU_KINDS if lacking(name) is None), "cpu")
    elif wanted != "cpu" and (reason := lacking(wanted)) is not None:
        raise UsageError(f'{key}: found "{wanted}", but {reason}; or use "auto" or "cpu"')
    device = torch.device(kind)
    refuse_precision(device, precision)
    return device


def refuse_precision(device: torch.device, precision: str) -> None:
    """`UsageError` if `device` cannot train in `precision`; a CPU may emulate bf16."""
    if precision == "fp16" and device.type == "cpu":
        raise UsageError(
            "train.precision: found \"fp16\", which needs a GPU; on a CPU use \"auto\" or "
            "\"fp32\" (--set train.precision=auto)"
        )  # fmt: skip
    if precision != "bf16":
        return
    if device.type == "mps" and not torch.backends.mps.is_macos_or_newer(14, 0):
        raise no_bf16("PyTorch before macOS 14")
    if device.type in ("cuda", "xpu") and not multiplies_bf16(device):
        number = "" if device.index is None else f" {device.index}"
        raise no_bf16(f"GPU{number} ({name(device)})")


def lacking(kind: str) -> str | None:
    """Why PyTorch cannot compute on a GPU of `kind` here, and what to do; None if it can."""
    mine = "this machine's PyTorch"
    with warnings.catch_warnings(action="ignore"):  # PyTorch warns about what is reported here
        if kind == "mps":
            if not torch.backends.mps.is_built():
                return f"{mine} is a build without MPS, which exists only on Apple silicon"
            if not torch.backends.mps.is_available():
                return f"{mine} sees no Apple GPU here: update macOS"
            return None
        if kind == "xpu":
            if torch.xpu.is_available():
                return None
            return f"{mine} sees no Intel GPU here: install its driver and an XPU build of PyTorch"
        if not (torch.version.cuda or torch.version.hip):
            return f"{mine} is a build without CUDA: if there is a GPU, install a build with CUDA"
        return _no_cuda() if not torch.cuda.is_available() else not_built_for(0)


def passed_over() -> str | None:
    """The warning for a GPU that is present but that `auto` cannot use."""
    reason = lacking("cuda")
    if reason is None or not ("too old" in reason or "was not built for" in reason):
        return None
    return f"warning: training on the CPU: {reason}"


def _no_cuda() -> str:
    """Why a build with CUDA (or ROCm) finds no GPU."""
    for variable in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"):
        value = os.environ.get(variable)
        if value is not None and value.strip() in ("", "-1"):
            return f'{variable}="{value}" hides every GPU: unset it'
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        said = str(error).strip().split("\n", maxsplit=1)[0].split(". ", maxsplit=1)[0].rstrip(".")
    else:
        said = "no GPU"
    return f"this machine's PyTorch sees no CUDA device here: {said}"


def not_built_for(index: int) -> str | None:
    """Why the installed PyTorch has no code for the GPU `index`; None if it has."""
    built = torch.cuda.get_arch_list()
    if torch.version.hip:
        mine = str(torch.cuda.get_device_properties(index).gcnArchName).partition(":")[0]
        fits = mine in built
    else:
        major, minor = torch.cuda.get_device_capability(index)
        mine = f"compute capability {major}.{minor}"
        fits = any(_runs(code, major, minor) for code in built)
    if fits or not built:
        return None
    return (
        f"PyTorch {torch.__version__} was not built for {torch.cuda.get_device_name(index)} "
        f"({mine}; it has {', '.join(built)}): install a build that has it "
        "(https://pytorch.org/get-started/locally/)"
    )


def _runs(code: str, major: int, minor: int) -> bool:
    """Whether code for `sm_80` runs on a GPU, or that for `compute_80` can be translated for it."""
    kind, _, number = code.partition("_")
    version = int(number.rstrip("af"))
    if kind == "compute":
        return version <= 10 * major + minor
    return version // 10 == major and version % 10 <= minor


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bf16; otherwise it is emulated, slowly."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "xpu":
        return bool(torch.xpu.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and cpu_bf16()


def best_precision(device: torch.device) -> tuple[Precision, str]:
    """What `auto` means on `device`, and why."""
    here = "this processor" if device.type == "cpu" else "this GPU"
    if device.type == "mps":
        return "fp32", f"nothing is faster on {here}"
    if multiplies_bf16(device):
        return "bf16", f"{here} multiplies bf16"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= HALF_PRODUCTS:
        return "fp16", f"{here} has fp16 but no bf16"
    return "fp32", f"{here} has no bf16"


def emulation_warning(device: torch.device, precision: str, key: str) -> str | None:
    """The warning for a precision, requested by `key`, that the processor only emulates."""
    if device.type != "cpu" or precision != "bf16" or multiplies_bf16(device):
        return None
    factor = product_speed(device, "fp32") / product_speed(device, "bf16")
    return (
        f"warning: {key} is bf16, which this processor only emulates: matrix products "
        f"take {factor:.1f} times as long as in fp32"
    )


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch on `count` threads inside the block; unchanged if None."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def autocast(device: torch.device, precision: str, *, keep_copies: bool = True) -> torch.autocast:
    """Matrix products in `precision` inside the block; fp32 changes nothing.

    With `keep_copies`, the weights' copies in that type live until the block ends.
    """
    return torch.autocast(
        device.type,
        dtype=None if precision == "fp32" else DTYPES[precision],
        enabled=precision != "fp32",
        cache_enabled=keep_copies,
    )


def product_speed(device: torch.device, precision: str) -> float:
    """FLOP/s of the best square product on `device`; measured once per process."""
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
    # at least one that counts, however long the process was suspended
    while started is None or best == float("inf") or after - started < PRODUCT_SECONDS:
        before = time.perf_counter()
        product = left @ left
        if device.type != "cpu":
            product[0, 0].item()
        after = time.perf_counter()
        if started is None:  # the first one warms up
            started = after
        else:
            best = min(best, after - before)
    return best


def peak(device: torch.device, precision: str) -> float:
    """FLOP/s that `device` can reach in `precision`: from the table, else measured."""
    known = None if device.type == "cpu" else find_gpu(name(device))
    return product_speed(device, precision) if known is None else known.peak(precision)


def name(device: torch.device) -> str:
    """The name that the driver gives a GPU; otherwise `cpu`."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    if device.type == "xpu":
        return str(torch.xpu.get_device_name(device))
    return str(torch.backends.mps.get_name()) if device.type == "mps" else device.type


def taken_by_others(device: torch.device) -> str | None:
    """The warning for a GPU of which other processes hold more than a tenth."""
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device) - OWN_CONTEXT
    if others < total / 10:
        return None
    return (
        f"other processes hold about {units.size(others)} of this GPU's {units.size(total)} "
        "(`nvidia-smi` lists them): end them, or choose another GPU with CUDA_VISIBLE_DEVICES"
    )


@contextmanager
def explained(device: torch.device, key: str) -> Iterator[None]:
    """What a GPU cannot do, in plain words; `key` is what chooses another device."""
    try:
        yield
    except NotImplementedError as error:
        found = re.search(r"operator '([\w:.]+)'.*MPS", str(error))
        if device.type != "mps" or found is None:
            raise
        raise JagptError(
            f"PyTorch {torch.__version__} lacks {found[1]} on MPS: set "
            f'PYTORCH_ENABLE_MPS_FALLBACK=1, which runs it on the CPU, or {key} to "cpu"'
        ) from error
    except RuntimeError as error:
        if device.type == "cpu" or not is_out_of_memory(error):
            raise
        why = taken_by_others(device) or f'set {key} to "cpu"'
        raise JagptError(f"the GPU is out of memory: {why}") from error


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether PyTorch means by this that memory ran out, on any device."""
    said = str(error)
    return (
        isinstance(error, torch.OutOfMemoryError)
        or "can't allocate memory" in said
        or "out of memory" in said
    )
