from __future__ import annotations

import pytest
import torch

from jagpt.training.pace import Pace, memory

CPU = torch.device("cpu")


def test_the_rest_takes_as_long_a_step_as_what_is_done() -> None:
    pace = Pace()
    assert pace.reserve(saving=2.0) is None
    for seconds in (1.0, 3.0):
        pace.add(seconds)
    assert pace.lap() == (2, 4.0)
    pace.add(5.0)
    assert pace.lap() == (1, 5.0)
    assert pace.left(10) == pytest.approx(30.0)
    assert pace.reserve(saving=2.0) == 1.5 * 5.0 + 4.0


def test_memory_is_that_of_this_process() -> None:
    before = memory(CPU)
    held = torch.ones(20_000_000)
    assert memory(CPU) - before > 0.9 * held.nbytes
