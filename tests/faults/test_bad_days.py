"""What happens around a run: a second process, a moved folder, a clock that jumps, links, a disk
that may not be written."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import Process, jagpt

from jagpt import files, manifests
from jagpt.manifests import Manifest
from jagpt.stages import STAGE_NAMES

from .attempts import tree_of
from .conftest import inside
from .projects import Project

Copy = Callable[..., Path]


# --- two processes --------------------------------------------------------------------------------


def test_a_second_process_on_a_run_leaves_with_5_and_changes_nothing(copied: Copy) -> None:
    run = copied("model", "release")
    before = tree_of(run)
    with files.locked(run):
        (run / ".owner.json").write_text(json.dumps({"pid": 1, "host": "there"}))
        done = jagpt("export", run)
        assert done.returncode == 5, done.stderr
        assert "process 1 on there" in done.stderr
        assert inside("status", run) == 0
    assert {k: v for k, v in tree_of(run).items() if not k.startswith(".")} == {
        k: v for k, v in before.items() if not k.startswith(".")
    }


def test_two_processes_at_once_one_works_and_one_is_told(copied: Copy, finished: Path) -> None:
    run = copied("evaluation")
    both = [Process("run", run, "--until", "evaluate") for _ in range(2)]
    codes = sorted(process.wait().returncode for process in both)
    assert codes in ([0, 5], [0, 0])  # the second may have come when all was done
    assert stages_of(run) == stages_of(finished)


def stages_of(run: Path) -> dict[str, str]:
    """What a run made, without clock, page and recipe (which names places)."""
    aside = ("logs", "report.html", "recipe.toml", ".")
    return {name: value for name, value in tree_of(run).items() if not name.startswith(aside)}


# --- lies -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("lie", ["gone", "longer", "changed", "listed"])
def test_a_manifest_that_lies_stops_the_run_and_names_the_file(
    copied: Copy, capsys: pytest.CaptureFixture[str], lie: str
) -> None:
    run = copied()
    path = run / "tokens" / "train-00000.bin"
    if lie == "gone":
        path.unlink()
    elif lie == "longer":
        path.write_bytes(path.read_bytes() + b"\0\0")
    elif lie == "changed":
        path.write_bytes(path.read_bytes()[::-1])
    else:
        manifest = json.loads((run / "tokens" / manifests.MANIFEST).read_text())
        manifest["files"].append({"name": "train-00000.bin.bak", "size": 1, "sha256": "0" * 64})
        (run / "tokens" / manifests.MANIFEST).write_text(json.dumps(manifest))
    assert inside("run", run) == 3
    said = capsys.readouterr().err
    assert "train-00000.bin" in said
    assert "--force" in said


def test_a_manifest_of_another_stage_does_not_count_as_done(copied: Copy) -> None:
    run = copied()
    shutil.copy(run / "tokenizer" / manifests.MANIFEST, run / "tokens" / manifests.MANIFEST)
    recipe = pipeline_states(run)
    assert recipe["tokens"] == "stale"


def pipeline_states(run: Path) -> dict[str, str]:
    from jagpt import recipe as recipes
    from jagpt.pipeline import Ledger, examine, open_run

    recipe = recipes.load(str(run), ())
    place = open_run(recipe, run)
    return {s.stage.name: s.status for s in examine(recipe, place, Ledger.read(place))}


# --- the clock ------------------------------------------------------------------------------------


@pytest.mark.parametrize("days", [-20_000, 20_000], ids=["1971", "2081"])
def test_a_clock_that_jumps_changes_nothing(copied: Copy, days: int) -> None:
    """Times only spare hashing: whatever they are, what is done stays done."""
    run = copied()
    at = time.time() + days * 86_400
    for path in run.rglob("*"):
        if path.is_file() and path.parent.name != "logs":
            os.utime(path, (at, at))
    assert set(pipeline_states(run).values()) == {"done"}
    assert inside("run", run, "--json") == 0
    assert not (run / "superseded").exists()


def test_times_of_the_future_in_the_ledger_hide_no_change(
    copied: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    path = run / "corpus" / "stats.json"
    content = path.read_bytes()
    path.write_bytes(content.replace(b"1", b"2"))
    assert inside("run", run) == 3
    assert "stats.json" in capsys.readouterr().err


def test_a_process_that_was_suspended_while_it_measured_still_knows_a_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from jagpt import devices
    from jagpt import recipe as recipes
    from jagpt.plan import measured

    readings = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(readings)))
    assert devices._measured.__wrapped__(torch.device("cpu"), "fp32", 1) > 0
    measured._speed_of.cache_clear()
    assert measured.speed(recipes.load("quickstart").with_precision("fp32")) > 0
    measured._speed_of.cache_clear()


# --- places ---------------------------------------------------------------------------------------


def test_a_run_that_moved_is_done_and_can_be_finished_there(
    copied: Copy, tmp_path: Path, finished: Path
) -> None:
    run = copied("evaluation")
    moved = tmp_path / "another place" / "日本語"
    moved.parent.mkdir()
    run.rename(moved)
    assert inside("run", moved) == 0
    assert stages_of(moved) == stages_of(finished)


@pytest.mark.parametrize("name", ["corpus", "logs", "checkpoints"])
def test_a_link_to_nowhere_where_a_folder_is_wanted_is_named(
    project: Project, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / name).symlink_to(tmp_path / "nowhere")
    assert inside(*project.whole(run)) == 3
    said = capsys.readouterr().err
    assert name in said
    assert "Traceback" not in said
    assert not (tmp_path / "nowhere").exists()


def test_a_run_may_stand_elsewhere_as_a_whole_and_a_part_of_it_may_not(
    copied: Copy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied().rename(tmp_path / "elsewhere")
    run = tmp_path / "run"
    run.symlink_to("elsewhere")
    assert inside("run", run) == 0
    assert pipeline_states(run)["evaluate"] == "done"
    (run / "evaluation").rename(tmp_path / "evaluation")
    (run / "evaluation").symlink_to(tmp_path / "evaluation")
    before = tree_of(tmp_path)
    for arguments in (("evaluate", run, "--force"), ("status", run), ("generate", run, "東京")):
        assert inside(*arguments) == 3
        assert f"{run}/evaluation: a link that leads out" in capsys.readouterr().err
    assert tree_of(tmp_path) == before


def test_a_file_where_the_run_should_stand_is_told(
    project: Project, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("a file")
    assert inside(*project.whole(tmp_path / "run")) == 3
    assert "expected a directory, found a file" in capsys.readouterr().err


def test_a_read_only_file_system_is_told_and_nothing_is_lost(
    copied: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    """Permission bits do not bind root, and not everyone may mount: EROFS comes from the gate."""
    run = copied("release")
    before = stages_of(run)

    def refuse(_operation: str, path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    with files.observed(refuse):
        assert inside("run", run) == 4
    said = capsys.readouterr().err
    assert "Read-only file system" in said
    assert "--run-dir" in said
    assert stages_of(run) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_mount_that_is_read_only_is_told(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    bound = subprocess.run(["mount", "--bind", finished, run], capture_output=True, check=False)
    if bound.returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", run], check=True)
        assert jagpt("status", run).returncode == 0
        done = jagpt("export", run, "--force")
        assert done.returncode == 4, done.stderr
        assert "Read-only file system" in done.stderr
        assert "Traceback" not in done.stderr
    finally:
        subprocess.run(["umount", run], check=True)


# --- starting and leaving -------------------------------------------------------------------------


def test_a_reader_that_leaves_is_no_failure(finished: Path) -> None:
    for arguments in (("recipes",), ("status", str(finished), "--json")):
        process = subprocess.Popen(
            [sys.executable, "-m", "jagpt", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.close()
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, b"")


def test_work_goes_on_where_nobody_reads_its_progress(copied: Copy) -> None:
    run = copied("evaluation", "model", "release")
    process = subprocess.Popen(
        [sys.executable, "-m", "jagpt", "evaluate", str(run)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    process.stderr.close()
    assert process.wait(120) == 0
    assert (run / "evaluation" / manifests.MANIFEST).exists()


@pytest.mark.parametrize("code", ["import jagpt.__main__", "from jagpt.__main__ import main"])
def test_ctrl_c_while_jagpt_starts_shows_no_traceback(code: str) -> None:
    program = (
        f"import sys, os, signal\n{code}\n"
        "class Early:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'jagpt.cli': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Early())\n"
        "import jagpt.__main__; jagpt.__main__.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_sigterm_while_a_library_works_is_not_taken_for_a_damaged_file(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoTokenizer

    def stopped(*_arguments: object, **_options: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", stopped)
    assert inside("generate", finished, "東京は") == 75
    assert "SIGTERM" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("status", ""), ("run", "quickstart", "--run-dir", "")])
def test_an_empty_folders_name_does_not_mean_the_one_here(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert inside(*arguments) == 2
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_deletion_left_is_cleared_away(copied: Copy) -> None:
    run = copied("release")
    (run / f"{files.REMOVED_PREFIX}tokens").mkdir()
    (run / "model" / f"{files.STAGING_PREFIX}files").mkdir()
    before = Manifest.read(run / "tokens")
    assert inside("run", run) == 0
    assert not list(run.glob(f"{files.STAGING_PREFIX}*"))
    assert Manifest.read(run / "tokens") == before
    assert STAGE_NAMES[-1] in pipeline_states(run)


def test_four_reports_at_once_all_stand(finished: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    four = [done.wait() for done in [Process("report", run) for _ in range(4)]]
    assert [done.returncode for done in four] == [0] * 4, [done.stderr for done in four]
    assert (run / "report.html").read_text("utf-8").rstrip().endswith("</html>")
    assert not list(run.rglob(f"{files.STAGING_PREFIX}*"))
