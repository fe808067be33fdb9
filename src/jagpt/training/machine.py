"""The device of a rank, PyTorch's switches, and the facts of the host."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from jagpt import devices, units
from jagpt.errors import UsageError
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.training.cpu import allocator
from jagpt.training.ranks import Ranks

if TYPE_CHECKING:
    from jagpt.training.distributed import Group


def device_of(recipe: Recipe, ranks: Ranks) -> torch.device:
    """The device to train on; `UsageError` names the key that this machine cannot satisfy.

    Of several processes on a machine, each takes the GPU of its own number.
    """
    chosen = devices.choose(recipe.execution.device)
    if chosen.type != "cpu" and ranks.size > 1:
        chosen = _own_gpu(chosen, ranks)
    devices.refuse_precision(chosen, recipe.train.precision)
    return chosen


def _own_gpu(chosen: torch.device, ranks: Ranks) -> torch.device:
    if chosen.type != "cuda":
        raise UsageError(
            f"{ranks.name}several processes can train on NVIDIA's or AMD's GPUs or on CPUs, not "
            f"on {chosen.type}: start one, or use the CPU (--set execution.device=cpu)"
        )
    count = torch.cuda.device_count()
    if ranks.local >= count:
        raise UsageError(
            f"{ranks.name}{ranks.local + 1} or more processes on this machine, but it has "
            f"{units.counted(count, 'GPU')}, and each process needs its own: start {count}, or use "
            "the CPU (--set execution.device=cpu)"
        )
    if (reason := devices.not_built_for(ranks.local)) is not None:
        raise UsageError(f"{ranks.name}{reason}; or exclude it with CUDA_VISIBLE_DEVICES")
    torch.cuda.set_device(ranks.local)
    return torch.device("cuda", ranks.local)


def remarks(recipe: Recipe, device: torch.device, size: int) -> list[str]:
    """Warnings about the device, for `size` processes."""
    train = recipe.train
    on_processor = device.type == "cpu" and recipe.execution.device == "auto"
    found = [
        devices.passed_over() if on_processor else None,
        devices.emulation_warning(device, train.precision, "train.precision"),
    ]
    if (taken := devices.taken_by_others(device)) is not None:
        found.append(f"warning: {taken}")
    if device.type == "mps" and train.deterministic:
        found.append(
            "warning: train.deterministic: Apple's GPU sums some gradients in any order, so two "
            "runs of one recipe are not bit-identical"
        )
    if size > 1 and device.type == "cuda":
        names = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
        if len(names) > 1:
            found.append(
                f"warning: GPUs of different kinds ({', '.join(sorted(names))}): each step waits "
                "for the slowest; use CUDA_VISIBLE_DEVICES to exclude some"
            )
    return [remark for remark in found if remark is not None]


@contextmanager
def settings(recipe: Recipe, device: torch.device) -> Iterator[None]:
    """PyTorch's process-wide switches as the recipe needs them, restored afterwards.

    Only the C library's allocator stays as set here.
    """
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    products = torch.get_float32_matmul_precision()
    if recipe.train.deterministic and device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # MPS has none for the embeddings' gradient, and newer versions of PyTorch refuse it there.
    torch.use_deterministic_algorithms(recipe.train.deterministic and device.type != "mps")
    # Every tensor is written before it is read, so filling them first only costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    elif device.type == "cpu":
        allocator.map_large_blocks()
    try:
        with devices.threads(recipe.execution.threads):
            yield
    finally:
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.set_float32_matmul_precision(products)


def facts(device: torch.device, group: Group) -> dict[str, Any]:
    """What must be equal for a bitwise resume: world size, machine type, threads, versions."""
    import numpy
    import transformers

    return {
        "world_size": group.size,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "threads": torch.get_num_threads(),
        "device": devices.name(device),
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def warn_of_changes(before: Mapping[str, Any], now: Mapping[str, Any], progress: Progress) -> None:
    """Report which conditions of a bitwise resume have changed."""
    changed = [
        f"{key} {before[key]} → {now[key]}" for key in now if before.get(key, now[key]) != now[key]
    ]
    if changed:
        progress.say(
            f"warning: this differs from before ({'; '.join(changed)}): training continues with "
            "the "
            "same samples, but its bits may differ from an uninterrupted run"
        )
