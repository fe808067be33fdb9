"""`make gpu` on a machine without one: its checks in small, what it skips, and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import gpu
from gpu_rows import Bench, Row


def test_every_check_runs_in_small_on_a_processor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gpu.main(["--device", "cpu", "--json", str(tmp_path / "found.json")])
    found = json.loads((tmp_path / "found.json").read_text("utf-8"))
    outcomes = {(row["check"], row["what"]): row["outcome"] for row in found["rows"]}
    assert "FAILED" not in outcomes.values()
    assert {check for check, _ in outcomes} == set(gpu.CHECKS)
    assert outcomes["bits", "two runs of 20 steps in fp32"] == "ok"
    assert outcomes["ranks", "FSDP2 over gloo, gradient"] == "ok"
    shown = capsys.readouterr().out
    assert "GPU: none, so the checks ran in small" in shown
    assert "- scaler: fp16 needs a GPU" in shown
    assert "jagpt, Muon: fp32" in shown
    assert found["machine"]["processor"]


def test_a_check_that_breaks_fails_the_command_and_keeps_none_from_running(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def breaks(_: Bench) -> Iterator[Row]:
        raise RuntimeError("no kernel image is available\nand more")

    def fine(_: Bench) -> Iterator[Row]:
        yield Row("ahead", "batches", "equal", "equal", "ok")

    monkeypatch.setattr(gpu, "CHECKS", {"dropout": breaks, "ahead": fine})
    with pytest.raises(SystemExit) as left:
        gpu.main(["--device", "cpu", "--checks", "dropout", "ahead"])
    assert left.value.code == 1
    shown = capsys.readouterr().out
    assert "| dropout | RuntimeError | no kernel image is available |" in shown
    assert "| ahead | batches | equal | equal | ok |" in shown


def test_no_check_begins_after_its_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "CHECKS", {"ahead": None})
    gpu.main(["--device", "cpu", "--minutes", "0", "--checks", "ahead"])
    assert "- ahead: no time left" in capsys.readouterr().out
