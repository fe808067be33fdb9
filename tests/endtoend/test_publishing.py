"""`jagpt release --to …` as a user calls it, against a hub and a git remote on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hub_double
import pytest
from hub_double import TOKEN, Hub
from processes import jagpt

NO_WAITING = """
import sys, time
time.sleep = lambda _: None
from programs import programs_here
from jagpt.cli import main
with programs_here():
    main(sys.argv[1:])
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The double by the variables that a user has, and a token."""
    with hub_double.serving() as found:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", found.endpoint)
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield found


def release(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`jagpt release` in a process of its own, which reads the variables of now, and does not
    wait between attempts."""
    paths = os.pathsep.join(sys.path)
    return subprocess.run(
        [sys.executable, "-c", NO_WAITING, "release", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


def test_a_run_goes_to_the_hub_and_its_corpus_too(
    copied: Callable[..., Path], hub: Hub, tmp_path: Path
) -> None:
    run = copied()
    plan = release(run, "--to", "hub:org/tiny", "--dry-run")
    assert plan.returncode == 0, plan.stderr
    assert "a new private one" in plan.stdout
    assert "model.safetensors  (new or changed)" in plan.stdout
    assert "nothing was sent" in plan.stdout
    assert hub.changes == []
    hub.allow = 2
    cut = release(run, "--to", "hub:org/tiny")
    assert cut.returncode == 4
    assert "run the same command again" in cut.stderr
    hub.allow = 1000
    done = release(run, "--to", "hub:org/tiny", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    model = hub.repositories["models/org/tiny"]
    assert model.tags == {told["revision"]: told["commit"]}
    card = model.commits[model.head]["README.md"].decode()
    for row in (
        "Hardware / 計算機 | CPU (",
        "Time / 学習時間 | ",
        "Versions / バージョン | python ",
    ):
        assert f"\n| {row}" in card
    assert "Hardware" not in (run / "release" / "README.md").read_text("utf-8")
    assert "published already" in release(run, "--to", "hub:org/tiny").stdout
    corpus = release(run, "--to", "hub-dataset:org/texts", "--public")
    assert corpus.returncode == 0, corpus.stderr
    texts = hub.repositories["datasets/org/texts"]
    assert not texts.private
    assert "data/train-00000.parquet" in texts.commits[texts.head]
    said = "".join(p.stdout + p.stderr for p in (plan, cut, done, corpus))
    assert_nowhere(TOKEN, tmp_path, said)


def test_a_token_reaches_no_file_log_report_or_message(
    copied: Callable[..., Path], hub: Hub, tmp_path: Path
) -> None:
    run = copied("release")
    hub.refuse = (500, f"internal error for Bearer {TOKEN} (token {TOKEN})")
    refused = release(run, "--to", "hub:org/tiny")
    assert refused.returncode == 4
    assert (run / "release" / "manifest.json").is_file()  # what is made here is made
    hub.refuse = (401, TOKEN)
    denied = release(run, "--to", "hub:org/tiny", "--json")
    assert denied.returncode == 4
    given = release(run, "--to", f"git:https://user:{TOKEN}@example.org/model.git")
    assert given.returncode == 2
    report = jagpt("report", run)
    doctor = jagpt("doctor")
    said = "".join(p.stdout + p.stderr for p in (refused, denied, given, report, doctor))
    assert_nowhere(TOKEN, tmp_path, said)


def assert_nowhere(secret: str, place: Path, said: str) -> None:
    """The secret is neither in what was said nor in any file below."""
    assert secret not in said
    found = [
        path for path in place.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]  # fmt: skip
    assert found == []
    assert not [path for path in place.rglob("*") if secret in str(path)]


@pytest.mark.skipif(
    shutil.which("git-lfs") is None, reason="needs git-lfs (apt-get install git-lfs)"
)
def test_a_run_goes_to_a_git_remote(
    copied: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "gitconfig"
    config.write_text("[user]\n\tname = Tester\n\temail = tester@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    remote = tmp_path / "model.git"
    subprocess.run(["git", "init", "--quiet", "--bare", remote], check=True)
    run = copied()
    done = release(run, "--to", f"git:{remote}")
    assert done.returncode == 0, done.stderr
    assert "published: 20260101.1.0, commit " in done.stdout
    clone = tmp_path / "clone"
    subprocess.run(
        ["git", "clone", "--quiet", "--branch", "20260101.1.0", f"file://{remote}", clone],
        env={**os.environ, "GIT_LFS_SKIP_SMUDGE": "1"}, check=True,
    )  # fmt: skip
    subprocess.run(["git", "lfs", "pull"], cwd=clone, check=True)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=clone, check=True)
    assert not (run / ".publishing").exists()
    assert jagpt("verify", run).returncode == 0


def test_a_run_that_is_half_trained_is_not_published(copied: Callable[..., Path]) -> None:
    run = copied("evaluation", "model", "release")
    (run / "checkpoints" / "manifest.json").rename(run / "checkpoints" / "in-progress.json")
    done = release(run, "--to", "git:/nowhere.git")
    assert done.returncode == 2
    assert "release needs train, which is unfinished" in done.stderr


@pytest.mark.parametrize(
    "options",
    [["--dry-run"], ["--public"], ["--to", "git:x", "--public"], ["--to", "elsewhere:x"]],
)
def test_options_that_do_not_belong_together(finished: Path, options: list[str]) -> None:
    done = release(finished, *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
