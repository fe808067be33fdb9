"""What machines can do: the GPUs of `gpus.toml`, the cores here, and whether they multiply bf16."""

from __future__ import annotations

import difflib
import functools
import os
import platform
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from jagpt import __version__
from jagpt.errors import UsageError
from jagpt.records import Count

Precision = Literal["fp32", "bf16", "fp16"]
GIB = 1 << 30
TERA = 1e12
_MAKERS_WORDS = r"nvidia|apple|amd|instinct|radeon|geforce|tesla|rtx|gpu|sxm[0-9]?|[^a-z0-9]"


@dataclass(frozen=True)
class Gpu:
    """A GPU. `half` is the peak in fp16 (and bf16, where the GPU has it), `single` that of products
    of fp32 numbers as PyTorch makes them in training (TF32 from Ampere on); `memory` in bytes;
    `link` in bytes per second and direction to the other GPUs of its machine."""

    name: str
    family: str
    half: float
    single: float
    memory: int
    link: float
    bf16: bool = True

    @property
    def precision(self) -> Precision:
        """What `train.precision = "auto"` means on it."""
        if self.bf16:
            return "bf16"
        return "fp16" if self.half > self.single else "fp32"

    def peak(self, precision: str) -> float:
        """FLOP/s of dense products; without bf16 support, bf16 costs as much as fp32."""
        if precision == "fp32" or (precision == "bf16" and not self.bf16):
            return self.single
        return self.half


def _known() -> Iterator[Gpu]:
    table = tomllib.loads((resources.files("jagpt") / "gpus.toml").read_text("utf-8"))
    for family, rows in table.items():
        bf16 = rows.pop("bf16", True)
        for name, (half, single, gib, link) in rows.items():
            sizes = (half * TERA, single * TERA, gib * GIB, link * 1e9)
            yield Gpu(name, family, *sizes, bf16)


GPUS = {gpu.name: gpu for gpu in _known()}


def gpu(name: str) -> Gpu:
    """The GPU of a name, however it is spelt; `UsageError` names similar or all known ones."""
    spelt = {_plain(known): known for known in GPUS}
    plain = _plain(name)
    if plain in spelt:
        return GPUS[spelt[plain]]
    if near := difflib.get_close_matches(plain, spelt):
        meant = " or ".join(repr(spelt[one]) for one in near)
        raise UsageError(f"--gpu {name}: not known; did you mean {meant}?")
    raise UsageError(f"--gpu {name}: not known; known are {', '.join(GPUS)}")


def find_gpu(device_name: str) -> Gpu | None:
    """The GPU behind the name that its driver gives (`NVIDIA A100-SXM4-80GB`); None if unknown."""
    words = device_name.casefold().replace("-", " ").split()
    for name in sorted(GPUS, key=len, reverse=True):
        wanted = name.casefold().split()
        if any(words[i : i + len(wanted)] == wanted for i in range(len(words))):
            return GPUS[name]
    return None


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def no_bf16(where: str) -> UsageError:
    """The error for a recipe that asks for an arithmetic that its GPU does not have."""
    return UsageError(
        f'train.precision: found "bf16", which {where} lacks; use "auto" or "fp16" '
        "(--set train.precision=auto)"
    )


@dataclass(frozen=True)
class Host:
    """This machine: its system, processor, cores, and the versions of what computes."""

    platform: str
    processor: str
    cores: Count | None
    versions: Mapping[str, str]


def host() -> Host:
    """This machine."""
    versions = {"jagpt": __version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "sentencepiece", "pyarrow", "numpy"):
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return Host(platform.platform(), processor(), os.cpu_count(), versions)


def processor() -> str:
    """The processor's own name, if the system reports it."""
    return _cpuinfo().get("model name") or platform.processor() or platform.machine()


def cpu_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AVX512-BF16 or AMX)."""
    return bool({"avx512_bf16", "amx_bf16"} & set(_cpuinfo().get("flags", "").split()))


def cpu_vnni() -> bool:
    """Whether the processor sums products of 8-bit numbers without loss (VNNI)."""
    return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & set(_cpuinfo().get("flags", "").split()))


@functools.cache
def _cpuinfo() -> Mapping[str, str]:
    """What Linux says about the first processor, by its own names; nothing elsewhere."""
    try:
        first, _, _ = Path("/proc/cpuinfo").read_text().partition("\n\n")
    except OSError:
        return {}
    rows = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in rows}


def _plain(name: str) -> str:
    """Letters and digits only, without the maker's words."""
    words = re.sub(_MAKERS_WORDS, "", name.lower())
    return words.removesuffix("80gb") if words.startswith(("a100", "h100")) else words
