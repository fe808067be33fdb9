from __future__ import annotations

import pytest

from jagpt import machines
from jagpt.errors import UsageError


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("RTX 2080 Ti", "RTX 2080 Ti"),
        ("2080ti", "RTX 2080 Ti"),
        ("NVIDIA GeForce RTX 2080 Ti", "RTX 2080 Ti"),
        ("m3max", "Apple M3 Max"),
        ("4060 laptop", "RTX 4060 Laptop"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_a_gpu_is_known_however_it_is_spelt(spelt: str, name: str) -> None:
    assert machines.gpu(spelt).name == name


def test_no_two_gpus_are_spelt_alike() -> None:
    assert all(machines.gpu(name).name == name for name in machines.GPUS)


def test_an_unknown_gpu_lists_what_is_near_or_all_that_are_known() -> None:
    with pytest.raises(UsageError, match=r"H1000: not known; did you mean 'H100'"):
        machines.gpu("H1000")
    with pytest.raises(UsageError, match=r"K80: not known; known are V100, .*RTX 2080 Ti, .*B200"):
        machines.gpu("K80")


@pytest.mark.parametrize(
    ("driver", "name"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100-SXM4-40GB", "A100"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100 PCIe"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA L4", "L4"),
        ("Tesla T4", "T4"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("NVIDIA GeForce RTX 2080 Ti", "RTX 2080 Ti"),
        ("NVIDIA A10G", "A10G"),
        ("NVIDIA L40", "L40"),
        ("NVIDIA GeForce RTX 4060 Laptop GPU", "RTX 4060 Laptop"),
        ("NVIDIA GeForce RTX 3080 Ti Laptop GPU", "RTX 3080 Ti Laptop"),
        ("NVIDIA GeForce RTX 4070 SUPER", "RTX 4070 SUPER"),
        ("NVIDIA GeForce RTX 3060 Ti", "RTX 3060 Ti"),
        ("AMD Instinct MI300X", "MI300X"),
        ("NVIDIA L20", None),
        ("Quadro RTX T400", None),
        ("Quadro P400", None),
    ],
)
def test_a_drivers_name_is_recognised(driver: str, name: str | None) -> None:
    found = machines.find_gpu(driver)
    assert (found.name if found else None) == name


def test_peaks_are_those_of_the_precision() -> None:
    turing, ampere = machines.gpu("T4"), machines.gpu("A100")
    assert ampere.peak("bf16") == 2 * ampere.peak("fp32") == 312e12
    assert turing.peak("bf16") == turing.peak("fp32") < turing.peak("fp16")
