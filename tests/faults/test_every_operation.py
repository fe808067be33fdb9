"""A short form of `make faults`: corpus, tokens, checkpoints and what is set aside at every
operation, links in the place of all that training leaves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jagpt import files, manifests
from jagpt.stages import STAGE_NAMES

from .order import Order
from .writing import may_mount

WRITERS = ("corpus", "tokens", "train")
ANEW = "corpus anew"


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the loops found."""
    scratch = tmp_path_factory.mktemp("faults")
    program = [sys.executable, Path(__file__).with_name("run.py"), "--json", "--scratch", scratch]
    done = subprocess.run(
        [*program, "--every", ANEW, *WRITERS, "--jobs", "2"],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.stdout, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "stderr": done.stderr}


def test_each_command_survives_each_fault(outcome: dict[str, Any]) -> None:
    problems = [result for result in outcome["results"] if result["problem"] is not None]
    assert problems == [], outcome["stderr"]


def test_every_stage_and_every_fault_was_tried(outcome: dict[str, Any], tmp_path: Path) -> None:
    tried = {(result["command"], result["fault"]) for result in outcome["results"]}
    for stage in STAGE_NAMES:
        for fault in ("SIGKILL", "ENOSPC", "EIO", "EACCES", "EFBIG", "link", "pipe"):
            assert (stage, fault) in tried
        assert (stage, "full disk") in tried or not may_mount(tmp_path)
    for reader in ("status", "verify", "plan", "release", "evaluate", "export"):
        assert {(f"{reader} RUN", "link"), (f"{reader} RUN", "pipe")} <= tried
    links = [r["operation"] for r in outcome["results"] if r["fault"] == "link"]
    assert {"run/.lock", "run/recipe.toml", "run/logs", "run/checkpoints/manifest.json"} <= {*links}
    kills = [r["command"] for r in outcome["results"] if r["fault"] == "SIGKILL"]
    for writer in WRITERS:
        assert kills.count(writer) >= 20
    assert kills.count(ANEW) >= 8


def test_every_command_syncs_before_it_renames_and_the_folder_after(
    outcome: dict[str, Any],
) -> None:
    assert {c["name"]: c["disorder"] for c in outcome["commands"] if c["disorder"]} == {}


def watched(work: Any) -> list[str]:
    order = Order()
    with files.observed(order):
        work()
    return order.end()


def test_the_watch_of_the_order_sees_what_is_wrong(tmp_path: Path) -> None:
    def late_write() -> None:
        with files.staged_file(tmp_path / "a") as staged:
            staged.write_text("a")
        (tmp_path / "b").write_text("b")
        files.gate("rename", tmp_path / "b")

    def without_folder() -> None:
        (tmp_path / "c").write_text("c")
        files.gate("fsync", tmp_path / "c")
        files.gate("rename", tmp_path / "c")

    def early_manifest() -> None:
        without_folder()
        files.write_json(tmp_path / manifests.MANIFEST, {})

    assert watched(lambda: files.write_text(tmp_path / "x", "x")) == []
    assert any("without an fsync" in problem for problem in watched(late_write))
    assert any("never synced" in problem for problem in watched(without_folder))
    assert any("before the folder" in problem for problem in watched(early_manifest))
