"""A GPU is waited for where a step is logged, measured or saved, and nowhere else.

There is none here: the loop runs on the CPU with what it does on a GPU, and each operation that
would make the host wait is counted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_training import make_recipe
from torch.utils._python_dispatch import TorchDispatchMode

from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import network, reporter, session
from jagpt.training.parallel import Learner
from jagpt.training.reporter import Reporter
from jagpt.training.trainer import Trainer

WAITS = ("_local_scalar_dense", "equal", "is_nonzero", "nonzero", "masked_select", "unique")
LOGGED = {1, 4, 8}


class Waits(TorchDispatchMode):
    """Counts what would make the host wait, by the step under way."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.found = 0, defaultdict[int, list[str]](list)

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.partition(".")[0]
        if name in WAITS:
            self.found[self.step].append(name)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    counted = Waits()
    gradient, begin, learn = Trainer.gradient, Reporter.__init__, Learner.__init__

    def gradient_of_a_step(self: Trainer, state: Any, break_off: Any) -> Any:
        counted.step = state.step + 1
        return gradient(self, state, break_off)

    def report_of_a_gpu(self: Reporter, *values: Any) -> None:
        begin(self, *values)
        self._device = torch.device("cuda")

    def learn_as_on_a_gpu(self: Learner, *values: Any) -> None:
        learn(self, *values)
        self._root.at_once = False

    def listed(self: torch.Tensor) -> Any:  # on a CPU no operation of PyTorch's
        counted.found[counted.step].append("tolist")
        return tolist(self)

    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", listed)
    monkeypatch.setattr(Trainer, "gradient", gradient_of_a_step)
    monkeypatch.setattr(Reporter, "__init__", report_of_a_gpu)
    monkeypatch.setattr(Learner, "__init__", learn_as_on_a_gpu)
    monkeypatch.setattr(reporter, "memory", lambda _device: 0)
    monkeypatch.setattr(network.cpu, "adapt", lambda *_, **__: None)
    return counted


@pytest.mark.parametrize(
    "values",
    [
        {"optimizer": "adamw"},
        {"optimizer": "muon", "average": "tail", "average_share": 1.0},
        {"precision": "bf16", "average": "ema", "clip_norm": None},
        {"batch_size": "auto", "grad_accum_steps": None, "sequences_per_step": 4},
    ],
    ids=lambda values: "-".join(map(str, values.values())),
)
def test_between_logged_steps_nothing_waits(
    make_run: Callable[..., RunDirectory], waits: Waits, values: dict[str, Any]
) -> None:
    every = {"validate_every": 8, "checkpoint_every": 8, "execution": {"log_every": 4}}
    with waits:
        session.run(make_recipe(max_steps=8, **every, **values), make_run(), QUIET)
    steps = {step for step, names in waits.found.items() if step and names}
    assert steps == LOGGED


def test_a_step_that_is_judged_at_once_is_waited_for(
    make_run: Callable[..., RunDirectory], waits: Waits
) -> None:
    every = {"validate_every": 8, "checkpoint_every": 8, "execution": {"log_every": 4}}
    with waits:
        recipe = make_recipe(max_steps=8, on_bad_step="skip", **every)
        session.run(recipe, make_run(), QUIET)
    assert set(range(1, 9)) <= set(waits.found)
