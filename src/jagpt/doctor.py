"""What this machine offers to a run."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from jagpt import installation
from jagpt.machines import available_cores, cpu_bf16, host

_BY_PYTORCH = ("threads", "memory", "cuda", "rocm", "gpus", "no_gpu")


def examine_machine() -> dict[str, Any]:
    """Processor, memory, disk, GPU and optional programs, as plain JSON values (sizes in bytes).

    What PyTorch reports (`threads`, `memory`, GPUs) is None if it is not installed.
    """
    return {
        **vars(host()),
        **(_seen_by_pytorch() if installation.is_there("train") else dict.fromkeys(_BY_PYTORCH)),
        "disk_free": shutil.disk_usage(Path.cwd()).free,
        "cpu_bf16": cpu_bf16(),
        "git": _version("git", "--version"),
        "git_lfs": _version("git-lfs", "--version"),
        "extras": _extras(),
        "usable_cores": available_cores(),
    }


def _seen_by_pytorch() -> dict[str, Any]:
    import psutil
    import torch

    from jagpt import devices

    return {
        "threads": torch.get_num_threads(),
        "memory": psutil.virtual_memory().total,
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "gpus": _gpus(),
        "no_gpu": devices.lacking("mps" if sys.platform == "darwin" else "cuda"),
    }


def _extras() -> dict[str, bool]:
    """Extra of jagpt → whether all its packages are installed."""
    found: dict[str, bool] = {}
    for requirement, extra in installation.extras():
        found[extra] = found.get(extra, True) and _installed(requirement)
    return found


def _installed(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _gpus() -> list[dict[str, Any]]:
    """The GPUs of any kind that PyTorch sees; an Apple one shares the machine's memory."""
    import torch

    from jagpt import devices

    found = []
    for kind in devices.GPU_KINDS:
        if kind == "mps":
            if devices.lacking("mps") is None:
                memory = torch.mps.recommended_max_memory()
                found.append((torch.backends.mps.get_name(), memory, False))
            continue
        library = getattr(torch, kind)
        for index in range(library.device_count()):
            properties = library.get_device_properties(index)
            bf16 = kind == "xpu" or properties.major >= 8
            found.append((properties.name, properties.total_memory, bf16))
    return [{"name": name, "memory": memory, "bf16": bf16} for name, memory, bf16 in found]


def _version(program: str, flag: str) -> str | None:
    """First line of a program's version message; None if it is not installed."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - a fixed program found on the path
            [path, flag], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return next(iter(answer.stdout.splitlines()), None)
