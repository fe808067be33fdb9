from __future__ import annotations

from collections.abc import Callable

import pytest
from tiny_training import logged_rows, make_recipe

from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import session

MakeRun = Callable[..., RunDirectory]


def test_every_step_is_logged_with_its_own_figures(make_run: MakeRun) -> None:
    run = make_run()
    session.run(make_recipe(execution={"log_every": 5}), run, QUIET)
    rows = logged_rows(run)
    train = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in train] == [1, 5, 10, 12]
    assert [row["tokens"] for row in train] == [64, 320, 640, 768]
    assert train[0]["loss"] == pytest.approx(4.16, abs=0.1)  # ln 64: nothing is learnt yet
    assert train[0]["learning_rate"] == 0.0
    assert [row["step"] for row in rows if row["kind"] == "valid"] == [4, 8, 12]
    assert rows[-1]["loss"] < 3.95


def test_every_row_tells_what_a_watcher_wants(make_run: Callable[..., RunDirectory]) -> None:
    run = make_run()
    session.run(make_recipe(), run, QUIET)
    rows = [row for row in logged_rows(run) if row["kind"] == "train"]
    for row in rows:
        assert 0 < row["mfu"] < 1
        assert row["memory"] > 1e7
    assert rows[0]["seconds_left"] > 0
    assert rows[-1]["seconds_left"] == 0
