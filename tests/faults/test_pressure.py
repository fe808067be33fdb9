"""Memory of each stage against a stated bound; no handles and no temporary files left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from jagpt import files
from jagpt.stages import STAGE_NAMES

from .projects import Project

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
ROUNDS = 1000 if NIGHTLY else 150
MEGABYTE = 1_000_000
BOUNDS = {"corpus": 200, "tokenizer": 250, "tokens": 200}
OTHERWISE = 600
"""Megabytes of a stage on the tiny project: what its libraries take, and some."""


def anonymous(process: psutil.Process) -> int:
    """Resident anonymous bytes of a process and its children (files' pages are the system's)."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            text = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
        except OSError:
            continue
        rows = dict(line.split(":", 1) for line in text.splitlines()[1:])
        total += int(rows["Anonymous"].split()[0]) * 1024
    return total


def peak_of(arguments: list[str]) -> int:
    """Peak of a jagpt process and its children, sampled 20 times a second."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jagpt", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            peak = max(peak, anonymous(watched))
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    _, said = process.communicate()
    assert process.returncode == 0, said
    return peak


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_each_stage_stays_within_its_memory(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In `make test` a few of them at once, in `make nightly` each by itself."""
    run = str(tmp_path / "run")
    stages = STAGE_NAMES if NIGHTLY else ("corpus", "train")
    peaks = {stage: peak_of(list(project.stage(stage, run=run))) for stage in stages}
    if NIGHTLY:
        with capsys.disabled():
            print({stage: f"{peak / MEGABYTE:.0f} MB" for stage, peak in peaks.items()})
    for stage, peak in peaks.items():
        assert peak < BOUNDS.get(stage, OTHERWISE) * MEGABYTE, (stage, peak)


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs Linux's /proc")
def test_many_shards_leave_no_handle_and_no_temporary_file(tmp_path: Path) -> None:
    from jagpt.corpus.documents import Document
    from jagpt.corpus.shards import SplitWriter
    from jagpt.tokens.shards import Shard, ShardWriter

    corpus, tokens = tmp_path / "corpus", tmp_path / "tokens"
    files.make_directory(tokens)

    def make(number: int) -> None:
        with SplitWriter(corpus / str(number), "train") as writer:
            writer.add(Document(str(number), "s", "題", None, None, "本文"))
        name = f"train-{number:05d}"
        with files.staged_file(tokens / f"{name}.bin") as staged, staged.open("wb") as binary:
            shard = ShardWriter(binary, "<u2")
            shard.add(str(number), "本文", [1, 2, 3])
        shard.finish(tokens / f"{name}.idx")
        Shard(tokens, name, "<u2").check()

    make(0)
    before = handles()
    for number in range(1, ROUNDS):
        make(number)
    assert handles() <= before + 1
    assert not list(tmp_path.rglob(f"{files.STAGING_PREFIX}*"))
    assert len(list(corpus.rglob("*.parquet"))) == ROUNDS


def test_failures_leave_no_handle_either(tmp_path: Path) -> None:
    def fail(operation: str, path: Path) -> None:
        if operation == "rename":
            raise OSError(28, "No space left on device", str(path))

    before = handles()
    with files.observed(fail):
        for number in range(200):
            with pytest.raises(OSError, match="No space"):
                files.write_json(tmp_path / f"{number}.json", {"a": 1})
            with pytest.raises(OSError, match="No space"), files.staged_directory(tmp_path / "d"):
                pass
    assert handles() <= before
    assert list(tmp_path.iterdir()) == []
