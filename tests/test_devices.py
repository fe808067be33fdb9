from __future__ import annotations

import pytest
import torch

from jagpt import devices
from jagpt.errors import UsageError

CPU = torch.device("cpu")


def test_a_cpus_peak_is_measured_once() -> None:
    first = devices.peak(CPU, "fp32")
    assert first > 1e8
    assert devices.peak(CPU, "fp32") == first


@pytest.mark.parametrize(
    ("built_for", "reason"), [(None, "is a build without CUDA"), ("13.0", "sees no CUDA device")]
)
def test_a_device_that_is_not_here_is_refused_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, built_for: str | None, reason: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built_for)
    assert devices.choose("auto") == CPU
    with pytest.raises(UsageError, match=rf'--device: found "cuda", but .* PyTorch {reason}'):
        devices.choose("cuda", key="--device")


@pytest.mark.parametrize(
    ("bf16", "capability", "precision"),
    [
        (True, (9, 0), "bf16"),
        (False, (7, 5), "fp16"),
        (False, (7, 0), "fp16"),
        (False, (6, 1), "fp32"),
    ],
)
def test_auto_is_the_best_that_a_gpu_multiplies(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, capability: tuple[int, int], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    found, reason = devices.best_precision(torch.device("cuda"))
    assert found == precision
    assert "this GPU" in reason


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "fp32")])
def test_auto_on_a_processor_is_bf16_only_where_it_is_multiplied(
    monkeypatch: pytest.MonkeyPatch, bf16: bool, precision: str
) -> None:
    monkeypatch.setattr(devices, "cpu_bf16", lambda: bf16)
    assert devices.best_precision(CPU)[0] == precision


def test_a_precision_that_is_only_emulated_gets_a_warning_with_the_factor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    speeds = {"fp32": 30e9, "bf16": 2e9}
    monkeypatch.setattr(devices, "product_speed", lambda _device, precision: speeds[precision])
    monkeypatch.setattr(devices, "cpu_bf16", lambda: False)
    told = devices.emulation_warning(CPU, "bf16", "train.precision")
    assert told is not None
    assert "train.precision is bf16" in told
    assert "15.0 times as long" in told
    assert devices.emulation_warning(CPU, "fp32", "train.precision") is None
    monkeypatch.setattr(devices, "cpu_bf16", lambda: True)
    assert devices.emulation_warning(CPU, "bf16", "train.precision") is None


def test_threads_are_as_before_after_the_block() -> None:
    before = torch.get_num_threads()
    with devices.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with devices.threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
