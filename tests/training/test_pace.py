from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_training import make_recipe

from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit, TrainingOrder
from jagpt.training import stage
from jagpt.training.batches import Batches
from jagpt.training.metrics import METRICS, read_rows
from jagpt.training.pace import Pace, memory

CPU = torch.device("cpu")


def test_the_rest_takes_as_long_a_step_as_what_is_done() -> None:
    pace = Pace()
    for seconds in (1.0, 3.0):
        pace.add(seconds)
    assert pace.lap() == (2, 4.0)
    pace.add(5.0)
    assert pace.lap() == (1, 5.0)
    assert pace.left(10) == pytest.approx(30.0)
    pace.saving = 2.0
    assert pace.reserve() == 1.5 * 5.0 + 4.0


def test_memory_is_that_of_this_process() -> None:
    before = memory(CPU)
    held = torch.ones(20_000_000)
    assert memory(CPU) - before > 0.9 * held.nbytes


def test_every_row_tells_what_a_watcher_wants(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run()
    stage.run(make_recipe(), run, QUIET)
    rows = [row for row in read_rows(run.logs / METRICS) if row["kind"] == "train"]
    for row in rows:
        assert 0 < row["mfu"] < 1
        assert row["memory"] > 1e7
    assert rows[0]["seconds_left"] > 0
    assert rows[-1]["seconds_left"] == 0


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_are_the_orders_sequences(inputs: dict[str, Path], ahead: bool) -> None:
    split = TokenSplit.open(inputs["tokens"], "train")
    order = TrainingOrder(split, block_size=16, order="documents", seed=1, shuffle_buffer=1)
    batches = Batches(order, CPU, ahead=ahead)
    for first, following in ((0, 8), (8, 16), (40, 48), (48, None)):
        found = batches.get(first, 4, following)
        assert torch.equal(found, torch.from_numpy(order.sequences(first, 4)))
    batches.close()
