"""Killed, stopped and interrupted runs: the same command goes on to the same bytes."""

from __future__ import annotations

import hashlib
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Process, jagpt

from .conftest import settings

LATER = ("checkpoints", "evaluation", "model", "release", "report.html")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def steps_logged(run: Path) -> int:
    log = run / "logs" / "metrics.jsonl"
    return log.read_text().count('"train"') if log.exists() else 0


def interrupted(run: Path, with_signal: signal.Signals) -> int:
    """The exit code of a run whose training gets a signal after a few steps."""
    (run / "logs" / "metrics.jsonl").unlink()
    each_step = settings(execution__log_every="1")
    process = Process("run", "quickstart", "--run-dir", run, *each_step)
    deadline = time.monotonic() + 120
    while steps_logged(run) < 13 and process.runs and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(with_signal)
    return process.wait(60).returncode


@pytest.mark.parametrize(
    ("with_signal", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 130)],
)
def test_a_run_that_was_stopped_in_training_ends_with_the_same_bytes(
    finished: Path, copied: Callable[..., Path], with_signal: signal.Signals, code: int
) -> None:
    run = copied(*LATER)
    assert interrupted(run, with_signal) == code
    assert not (run / "evaluation").exists()
    status = {row["stage"]: row["status"] for row in json.loads(
        jagpt("status", run, "--json").stdout
    )["stages"]}  # fmt: skip
    assert status["tokens"] == "done"
    assert status["train"] == "unfinished"
    done = jagpt("run", "quickstart", "--run-dir", run, *settings())
    assert done.returncode == 0, done.stderr
    for folder in ("checkpoints", "evaluation", "model", "release"):
        unbroken = {p.relative_to(finished): digest(p) for p in (finished / folder).rglob("*.*")
                    if p.is_file()}  # fmt: skip
        resumed = {p.relative_to(run): digest(p) for p in (run / folder).rglob("*.*")
                   if p.is_file()}  # fmt: skip
        assert resumed == unbroken


def test_a_longer_run_at_a_constant_rate_goes_on(copied: Callable[..., Path]) -> None:
    run = copied(*LATER)
    constant = {"train__schedule": "constant", "train__max_steps": "20"}
    assert jagpt("train", "quickstart", "--run-dir", run, *settings(**constant)).returncode == 0
    constant["train__max_steps"] = "30"
    longer = jagpt("train", "quickstart", "--run-dir", run, *settings(**constant))
    assert longer.returncode == 0, longer.stderr
    assert "continuing from the checkpoint of step 20" in longer.stderr
    assert not (run / "superseded").exists()


def test_another_rate_starts_again_if_that_is_agreed_and_a_longer_run_goes_on_from_the_plateau(
    copied: Callable[..., Path],
) -> None:
    run = copied("evaluation", "model", "release", "report.html")
    other = ("train", "quickstart", "--run-dir", run, *settings(train__learning_rate="1e-4"))
    asked = jagpt(*other)
    assert (asked.returncode, (run / "superseded").exists()) == (2, False), asked.stderr
    assert "train: 30 steps that took" in asked.stderr
    longer = jagpt("train", "quickstart", "--run-dir", run, *settings(train__max_steps="32"))
    assert longer.returncode == 0, longer.stderr
    assert "the first 20 of 30 steps stay the same" in longer.stderr
    assert len(list((run / "superseded").iterdir())) == 1
    agreed = jagpt(*other, "--yes")
    assert agreed.returncode == 0, agreed.stderr
    assert "[train] learning_rate: " in agreed.stderr
    assert len(list((run / "superseded").iterdir())) == 2


def test_a_time_limit_stops_with_75_and_later_stages_do_not_start(
    copied: Callable[..., Path],
) -> None:
    run = copied(*LATER)
    stopped = jagpt(
        "run", "quickstart", "--run-dir", run, *settings(execution__max_hours="0.000001")
    )
    assert stopped.returncode == 75
    assert "max_hours" in stopped.stderr
    assert not (run / "evaluation").exists()
