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


def test_threads_are_as_before_after_the_block() -> None:
    before = torch.get_num_threads()
    with devices.threads(before + 1):
        assert torch.get_num_threads() == before + 1
    with devices.threads(None):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before
