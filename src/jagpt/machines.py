"""What machines can do: the known GPUs, and whether this processor multiplies bf16.

Peaks are the makers' figures for dense products (no sparsity) with sums in fp32, in FLOP/s, from
the data sheets and architecture papers of NVIDIA.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jagpt.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]
GIB = 1 << 30
TERA = 1e12


@dataclass(frozen=True)
class Gpu:
    """A GPU. `half` is the peak in fp16 (and bf16, where the GPU has it), `single` that of products
    of fp32 numbers as PyTorch makes them in training (TF32 from Ampere on); `memory` in bytes;
    `link` in bytes a second and direction to the other GPUs of its machine."""

    name: str
    family: str
    half: float
    single: float
    memory: int
    link: float
    bf16: bool = True

    def peak(self, precision: Precision) -> float:
        """FLOP/s of dense products; bf16 where there is none costs what fp32 does."""
        if precision == "fp32" or (precision == "bf16" and not self.bf16):
            return self.single
        return self.half


def _gpu(
    name: str,
    family: str,
    half: float,
    single: float,
    gib: int,
    link: float,
    *,
    bf16: bool = True,
) -> Gpu:
    return Gpu(name, family, half * TERA, single * TERA, gib * GIB, link * 1e9, bf16)


GPUS = {
    gpu.name: gpu
    for gpu in (
        _gpu("RTX 2080 Ti", "turing", 53.8, 13.4, 11, 8, bf16=False),
        _gpu("T4", "turing", 65, 8.1, 15, 8, bf16=False),
        _gpu("V100", "volta", 125, 15.7, 32, 150, bf16=False),
        _gpu("A100 40GB", "ampere", 312, 156, 40, 300),
        _gpu("A100", "ampere", 312, 156, 80, 300),
        _gpu("A40", "ampere", 149.7, 74.8, 48, 56),
        _gpu("A30", "ampere", 165, 82, 24, 100),
        _gpu("A10", "ampere", 125, 62.5, 24, 16),
        _gpu("A10G", "ampere", 70, 35, 24, 16),
        _gpu("RTX A6000", "ampere", 154.8, 77.4, 48, 16),
        _gpu("RTX 3090", "ampere", 71, 35.6, 24, 16),
        _gpu("L4", "ada", 121, 60.5, 24, 16),
        _gpu("L40S", "ada", 362, 183, 48, 16),
        _gpu("RTX 6000 Ada", "ada", 364.2, 182.1, 48, 16),
        _gpu("RTX 4090", "ada", 165.2, 82.6, 24, 16),
        _gpu("H100 PCIe", "hopper", 756, 378, 80, 32),
        _gpu("H100 NVL", "hopper", 835, 417.5, 94, 300),
        _gpu("H100", "hopper", 989.4, 494.7, 80, 450),
        _gpu("H200", "hopper", 989.4, 494.7, 141, 450),
        _gpu("B200", "blackwell", 2250, 1125, 180, 900),
        _gpu("RTX 5090", "blackwell", 209.5, 104.8, 32, 32),
    )
}


def gpu(name: str) -> Gpu:
    """The GPU that a name means, however it is spelt; `UsageError` lists the known ones."""
    spelt = {_plain(known): known for known in GPUS}
    plain = _plain(name)
    if plain in spelt:
        return GPUS[spelt[plain]]
    near = difflib.get_close_matches(plain, spelt, n=1)
    meant = f"did you mean {spelt[near[0]]!r}? " if near else ""
    raise UsageError(f"--gpu {name}: not known; {meant}known are {', '.join(GPUS)}")


def find_gpu(device_name: str) -> Gpu | None:
    """The GPU behind the name that its driver gives (`NVIDIA A100-SXM4-80GB`); None if unknown."""
    words = device_name.replace("-", " ").split()
    for name in sorted(GPUS, key=len, reverse=True):
        wanted = name.split()
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words))):
            return GPUS[name]
    return None


def cpu_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AVX512-BF16 or AMX)."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _plain(name: str) -> str:
    """Letters and digits alone, without the maker's words."""
    words = re.sub(r"nvidia|geforce|tesla|rtx|sxm[0-9]?|[^a-z0-9]", "", name.lower())
    return words.removesuffix("80gb") if words.startswith(("a100", "h100")) else words
