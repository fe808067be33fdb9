from __future__ import annotations

from types import SimpleNamespace

import fakes
import pytest
import torch

from jagpt import devices
from jagpt.errors import JagptError, UsageError

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


@pytest.mark.parametrize("kind", ["mps", "xpu"])
def test_other_makers_gpus_are_refused_where_there_are_none(kind: str) -> None:
    with pytest.raises(UsageError, match=rf'execution.device: found "{kind}", but .*PyTorch'):
        devices.choose(kind)


def test_auto_takes_apples_gpu_in_fp32_and_a_cuda_one_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fakes.mps(monkeypatch)
    device = devices.choose("auto")
    assert device == devices.choose("mps", "bf16") == torch.device("mps")
    assert devices.best_precision(device)[0] == "fp32"
    assert devices.peak(device, "fp32") == 7.4e12
    fakes.cuda(monkeypatch, {"NVIDIA L4": (8, 9)})
    assert devices.choose("auto") == torch.device("cuda")


def test_bf16_needs_macos_14_on_apples_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.mps(monkeypatch, macos=13)
    assert devices.choose("mps") == torch.device("mps")
    with pytest.raises(UsageError, match=r'train.precision: found "bf16", which .*macOS 14'):
        devices.choose("mps", "bf16")


def test_rocm_is_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.cuda(monkeypatch, {"AMD Instinct MI300X": (9, 4)}, built=("gfx90a", "gfx942"))
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", "7.1", raising=False)
    gpu = SimpleNamespace(gcnArchName="gfx942:sramecc+:xnack-")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: gpu)
    assert devices.choose("auto") == devices.choose("cuda", "bf16") == torch.device("cuda")
    gpu.gcnArchName = "gfx803"
    with pytest.raises(UsageError, match=r"not built for AMD Instinct MI300X \(gfx803;"):
        devices.choose("cuda")


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((5, 2), ("sm_75", "sm_80"), False),
        ((8, 9), ("sm_75", "sm_80", "sm_86"), True),
        ((8, 0), ("sm_86",), False),
        ((12, 0), ("sm_80", "sm_90a"), False),
        ((12, 0), ("sm_80", "compute_90"), True),
    ],
)
def test_a_gpu_for_which_pytorch_has_no_code_is_named_and_auto_leaves_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], built: tuple[str, ...], runs: bool
) -> None:
    fakes.cuda(monkeypatch, {"GeForce GTX 980": capability}, built=built)
    if runs:
        assert devices.choose("cuda") == devices.choose("auto") == torch.device("cuda")
        assert devices.passed_over() is None
        return
    assert devices.choose("auto") == CPU
    assert "GeForce GTX 980 (compute capability" in (devices.passed_over() or "")
    with pytest.raises(UsageError, match=r"was not built for GeForce GTX 980 .*install a build"):
        devices.choose("cuda")


def test_a_driver_that_is_missing_or_too_old_is_told_in_pytorchs_first_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fakes.cuda(monkeypatch, {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    said = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU\nand"

    def init() -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(torch.cuda, "init", init)
    with pytest.raises(UsageError, match=r"here: Found no NVIDIA driver on your system; or use"):
        devices.choose("cuda")
    assert devices.passed_over() is None
    said = "The NVIDIA driver on your system is too old (found version 11040). Please update"
    assert devices.choose("auto") == CPU
    assert "driver on your system is too old" in (devices.passed_over() or "")


@pytest.mark.parametrize("value", ["", "-1"])
def test_a_variable_that_hides_every_gpu_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    fakes.cuda(monkeypatch, {})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    with pytest.raises(UsageError, match=rf'CUDA_VISIBLE_DEVICES="{value}" hides every GPU: unset'):
        devices.choose("cuda")
    assert devices.choose("auto") == CPU
    assert devices.passed_over() is None


def test_a_gpu_that_others_fill_is_named_before_and_when_memory_is_used_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = torch.device("cuda")
    fakes.cuda(monkeypatch, {"NVIDIA L4": (8, 9)}, free=2 << 30)
    assert "other processes hold about 5.37 GB of this GPU's 8.59 GB" in (
        devices.taken_by_others(gpu) or ""
    )
    full = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    with (
        pytest.raises(JagptError, match="out of memory: other processes hold"),
        devices.explained(gpu, "--device"),
    ):
        raise full
    fakes.cuda(monkeypatch, {"NVIDIA L4": (8, 9)}, free=7 << 30)
    assert devices.taken_by_others(gpu) is None
    with (
        pytest.raises(JagptError, match='out of memory: set --device to "cpu"'),
        devices.explained(gpu, "--device"),
    ):
        raise full


def test_an_operator_that_mps_lacks_is_told_with_the_way_out() -> None:
    lacks = NotImplementedError(
        "The operator 'aten::cummax.helper' is not currently implemented for the MPS device. If you"
    )
    with (
        pytest.raises(JagptError, match=r"lacks aten::cummax.helper on MPS: set PYTORCH_ENABLE"),
        devices.explained(torch.device("mps"), "execution.device"),
    ):
        raise lacks
    with pytest.raises(NotImplementedError), devices.explained(CPU, "execution.device"):
        raise lacks


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
    fakes.cuda(monkeypatch, {"a GPU": capability}, bf16=bf16)
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
