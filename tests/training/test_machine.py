"""The device of a rank, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable

import fakes
import pytest
import torch
from tiny_training import make_recipe
from torch.utils._python_dispatch import TorchDispatchMode

from jagpt.errors import JagptError, UsageError
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import machine, session
from jagpt.training.ranks import Ranks
from jagpt.training.trainer import Trainer

CPU = torch.device("cpu")
MPS = torch.device("mps")


def test_each_process_takes_the_gpu_of_its_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.cuda(monkeypatch, {"NVIDIA L4": (8, 9), "NVIDIA L40": (8, 9)})
    assert machine.device_of(make_recipe(), Ranks(1, 2, 1)) == torch.device("cuda", 1)
    with pytest.raises(UsageError, match=r"rank 2: 3 or more processes .* 2 GPUs"):
        machine.device_of(make_recipe(), Ranks(2, 3, 2))


def test_gpus_of_different_kinds_are_told_and_one_without_the_precision_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpus = {"NVIDIA GeForce RTX 3090": (8, 6), "Tesla P100": (6, 0)}
    fakes.cuda(monkeypatch, gpus, built=("sm_60", "sm_86"), bf16=False)
    (remark,) = machine.remarks(make_recipe(), torch.device("cuda", 0), size=2)
    assert "different kinds (NVIDIA GeForce RTX 3090, Tesla P100)" in remark
    assert machine.remarks(make_recipe(), torch.device("cuda", 0), size=1) == []
    with pytest.raises(UsageError, match=r'found "bf16", which GPU 1 \(Tesla P100\) lacks'):
        machine.device_of(make_recipe(precision="bf16"), Ranks(1, 2, 1))
    fakes.cuda(monkeypatch, gpus, built=("sm_86",))
    with pytest.raises(UsageError, match=r"rank 1: .* not built for Tesla P100.*exclude it"):
        machine.device_of(make_recipe(), Ranks(1, 2, 1))


def test_apples_gpu_takes_one_process_and_has_its_own_rules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fakes.mps(monkeypatch)
    assert machine.device_of(make_recipe(), Ranks()) == MPS
    with pytest.raises(UsageError, match=r"several processes .* not on mps: start one"):
        machine.device_of(make_recipe(), Ranks(1, 2, 1))
    recipe = make_recipe(deterministic=True)
    (remark,) = machine.remarks(recipe, MPS, size=1)
    assert "two runs of one recipe are not bit-identical" in remark
    with machine.settings(recipe, MPS):
        assert not torch.are_deterministic_algorithms_enabled()
    with machine.settings(recipe, CPU):
        assert torch.are_deterministic_algorithms_enabled()


def test_an_operator_that_the_device_lacks_ends_training_with_a_line(
    make_run: Callable[[], RunDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(*_: object) -> None:
        raise NotImplementedError(
            "The operator 'aten::x' is not currently implemented for the MPS device."
        )

    monkeypatch.setattr(machine, "device_of", lambda *_: MPS)
    monkeypatch.setattr(session, "_train", lacks)
    with pytest.raises(JagptError, match=r"aten::x on MPS: .*or execution.device to \"cpu\""):
        session.run(make_recipe(), make_run(), QUIET)


class NoFp64(TorchDispatchMode):
    """PyTorch without fp64, as MPS is."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        found = func(*args, **(kwargs or {}))
        several = found if isinstance(found, tuple | list) else (found,)
        assert all(getattr(one, "dtype", None) != torch.float64 for one in several), func
        return found


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_no_step_needs_fp64(
    make_run: Callable[[], RunDirectory], monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    for name in ("gradient", "take", "checked_numbers"):
        step = getattr(Trainer, name)

        def without(*args: object, step: Callable[..., object] = step) -> object:
            with NoFp64():
                return step(*args)

        monkeypatch.setattr(Trainer, name, without)
    session.run(make_recipe(optimizer=optimizer, average="tail", clip_norm=1.0), make_run(), QUIET)


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no Apple GPU here: not run")
def test_training_runs_on_apples_gpu(make_run: Callable[[], RunDirectory]) -> None:
    session.run(make_recipe(execution={"device": "mps"}), make_run(), QUIET)


def test_fp16_is_not_fused_on_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    from jagpt.training import optimizers

    made: dict[str, bool] = {}
    monkeypatch.setattr(optimizers, "AdamW", lambda _groups, **options: made.update(options))
    monkeypatch.setattr(optimizers, "_with_shares", lambda optimizer, _train: optimizer)
    network = torch.nn.Linear(2, 2)
    optimizers.make_optimizer(make_recipe(precision="fp16").train, network)
    assert made["fused"]
    monkeypatch.setattr(torch.nn.Parameter, "device", MPS)
    optimizers.make_optimizer(make_recipe(precision="fp16").train, network)
    assert not made["fused"]
