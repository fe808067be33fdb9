"""A run that is stopped anywhere, in any way, ends as an unbroken one does."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_training import Heard, contents, logged_rows, make_recipe, signalled_at

from jagpt import files
from jagpt.errors import NewerVersionError, StoppedError, StorageError
from jagpt.models import checkpoint_folder, tensors
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.training import session
from jagpt.training.validation import Validator

MakeRun = Callable[..., RunDirectory]
HOST = ("mfu", "memory")


class Killed(BaseException):
    """Stands for a death without warning."""


def result(run: RunDirectory) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What a run leaves: its checkpoints' bytes and its metrics, without times."""
    rows = [
        {key: value for key, value in row.items() if "second" not in key and key not in HOST}
        for row in logged_rows(run)
    ]
    return contents(run.own("train")), rows


_UNBROKEN: dict[str, tuple[dict[str, str], list[dict[str, Any]]]] = {}


def unbroken(recipe: Recipe, run: RunDirectory) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What a recipe leaves that nothing stops: made in `run`, once for all tests."""
    key = recipe.to_toml()
    if key not in _UNBROKEN:
        session.run(recipe, run, QUIET)
        _UNBROKEN[key] = result(run)
    return _UNBROKEN[key]


@contextmanager
def killed_at(operation: str, name: str, occasion: int) -> Iterator[None]:
    """Die at the given occasion of a durable operation on a file or folder called `name`."""
    count = 0

    def watch(what: str, path: Path) -> None:
        nonlocal count
        hit = what == operation and re.sub("[0-9a-f]{16}-", "", path.name) == name
        count += hit
        if hit and count == occasion:
            raise Killed

    with files.observed(watch), pytest.raises(Killed):
        yield


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("order", ["documents", "buffer"])
def test_a_run_stopped_at_several_steps_ends_the_same(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, precision: str, order: str
) -> None:
    recipe = make_recipe(precision=precision, order=order, shuffle_buffer=20, max_steps=40)
    assert recipe.train.max_steps is not None
    run = make_run("broken")
    for step in (2, 3, 4, 5, 9, 10, 40):
        with signalled_at(monkeypatch, step, signal.SIGTERM), pytest.raises(StoppedError) as caught:
            session.run(recipe, run, QUIET)
        assert f"after step {step - 1} of 40 (SIGTERM)" in str(caught.value)
        assert caught.value.exit_code == 75
    session.run(recipe, run, QUIET)
    assert result(run) == unbroken(recipe, make_run("unbroken"))


@pytest.mark.parametrize("average", ["tail", "ema"])
def test_muon_wsd_and_an_average_go_on_the_same(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, average: str
) -> None:
    recipe = make_recipe(
        optimizer="muon", schedule="wsd", average=average, average_share=0.5, average_decay=0.8,
        model={"embeddings": "text"},
    )  # fmt: skip
    run = make_run("broken")
    for step in (3, 8, 9, 12):
        with signalled_at(monkeypatch, step, signal.SIGTERM), pytest.raises(StoppedError):
            session.run(recipe, run, QUIET)
    session.run(recipe, run, QUIET)
    assert result(run) == unbroken(recipe, make_run("unbroken"))
    averaged = {path.parent.name for path in run.own("train").glob("*/average.safetensors")}
    assert averaged == {"step-00000009", "step-00000012"}


def test_a_run_may_be_resumed_in_the_middle_of_an_epoch_and_across_one(make_run: MakeRun) -> None:
    recipe = make_recipe(max_epochs=2.5, max_steps=None, checkpoint_every=7, validate_every=11)
    run = make_run("broken")
    for name, occasion in (("step-00000007", 1), ("step-00000042", 1), ("step-00000056", 1)):
        with killed_at("rename", name, occasion):
            session.run(recipe, run, QUIET)
    session.run(recipe, run, QUIET)
    expected = unbroken(recipe, make_run("unbroken"))
    assert expected[1][-1]["step"] > 80
    assert result(run) == expected


@pytest.mark.parametrize(
    ("operation", "name", "occasion"),
    [
        ("fsync", "model.safetensors", 2),
        ("rename", "step-00000006", 1),
        ("rename", "index.json", 2),
        ("rename", "index.json", 3),
        ("rename", files.REMOVED_PREFIX + "step-00000003", 1),
        ("remove", files.REMOVED_PREFIX + "step-00000003", 1),
        ("rename", "step-00000012", 1),
        ("rename", "loss_curve.png", 1),
    ],
)
def test_a_run_killed_while_it_saves_ends_the_same(
    make_run: MakeRun, operation: str, name: str, occasion: int
) -> None:
    run = make_run("broken")
    with killed_at(operation, name, occasion):
        session.run(make_recipe(), run, QUIET)
    (run.own("train") / ".staging-step-00000099").mkdir()
    session.run(make_recipe(), run, QUIET)
    assert result(run) == unbroken(make_recipe(), make_run("unbroken"))
    assert not list(run.own("train").glob(".*"))


def test_sigkill_in_another_process_changes_nothing(make_run: MakeRun) -> None:
    run = make_run("broken")
    script = textwrap.dedent("""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[1])
        from tiny_training import make_recipe
        from jagpt.progress import QUIET
        from jagpt.rundir import RunDirectory
        from jagpt.training import session
        from jagpt.training.trainer import Trainer
        gradient = Trainer.gradient
        def die_at_8(self, state, break_off):
            if state.step == 7:
                os.kill(os.getpid(), signal.SIGKILL)
            return gradient(self, state, break_off)
        Trainer.gradient = die_at_8
        root, tokens, tokenizer = map(Path, sys.argv[2:])
        run = RunDirectory(root, {"tokens": tokens, "tokenizer": tokenizer})
        session.run(make_recipe(precision="bf16"), run, QUIET)
    """)
    arguments = [str(Path(__file__).parent), str(run.root), str(run.tokens), str(run.tokenizer)]
    done = subprocess.run([sys.executable, "-c", script, *arguments], check=False)
    assert done.returncode == -signal.SIGKILL
    recipe, heard = make_recipe(precision="bf16"), Heard()
    session.run(recipe, run, heard)
    assert "continuing from the checkpoint of step 6" in heard.lines
    assert result(run) == unbroken(recipe, make_run("unbroken"))


def test_ctrl_c_saves_and_leaves_as_interrupted(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, heard = make_run(), Heard()
    with signalled_at(monkeypatch, 6, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        session.run(make_recipe(), run, heard)
    assert (run.own("train") / "step-00000005").is_dir()
    assert heard.lines[-1] == (
        "training stopped after step 5 of 12 (Ctrl-C); the same command continues from there"
    )


def test_a_signal_after_the_last_step_still_stops_the_command(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    monkeypatch.setattr(session, "draw_curve", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedError, match="training is done"):
        session.run(make_recipe(), run, QUIET)
    monkeypatch.undo()
    session.run(make_recipe(), run, QUIET)
    assert result(run) == unbroken(make_recipe(), make_run("unbroken"))


def test_before_the_first_step_there_is_nothing_to_save(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    with signalled_at(monkeypatch, 1, signal.SIGTERM), pytest.raises(StoppedError):
        session.run(make_recipe(), run, QUIET)
    assert list(run.own("train").iterdir()) == []


def test_a_signal_during_validation_does_not_wait_for_its_end(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = make_recipe(checkpoint_every=4)
    run, measure = make_run("broken"), Validator.measure

    def signal_and_measure(
        self: Validator, step: int, size: int, stopped: Callable[[], bool]
    ) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return measure(self, step, size, stopped)

    for step in (4, 8, 12):
        with monkeypatch.context() as patch:
            patch.setattr(Validator, "measure", signal_and_measure)
            with pytest.raises(StoppedError, match=f"after step {step}"):
                session.run(recipe, run, QUIET)
        if step < 12:  # the validation that was dropped, and what follows up to the next
            with signalled_at(monkeypatch, step + 2, signal.SIGTERM), pytest.raises(StoppedError):
                session.run(recipe, run, QUIET)
    session.run(recipe, run, QUIET)
    assert result(run) == unbroken(recipe, make_run("unbroken"))


def test_a_time_limit_stops_each_run_after_some_steps_and_the_end_is_the_same(
    make_run: MakeRun,
) -> None:
    run = make_run("broken")
    limited = make_recipe(execution={"max_hours": 1e-9})
    for _ in range(11):
        with pytest.raises(StoppedError, match=r"execution\.max_hours"):
            session.run(limited, run, QUIET)
    session.run(limited, run, QUIET)
    assert result(run) == unbroken(make_recipe(), make_run("unbroken"))


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_named_and_made_again(make_run: MakeRun, name: str) -> None:
    recipe = make_recipe(validate_every=6)
    run, heard = make_run("broken"), Heard()
    with killed_at("rename", "step-00000009", 1):
        session.run(recipe, run, QUIET)
    path = run.own("train") / "step-00000006" / name
    path.write_bytes(path.read_bytes()[:-3] + b"xyz")
    damaged = contents(path.parent)
    session.run(recipe, run, heard)
    (line,) = (line for line in heard.lines if str(path) in line)
    kept = run.superseded / "train-step-00000006-damaged"
    assert line.endswith(f"this checkpoint is moved aside to {kept}")
    assert contents(kept) == damaged
    assert "continuing from the checkpoint of step 3" in heard.lines
    assert result(run) == unbroken(recipe, make_run("unbroken"))


def test_a_damaged_checkpoint_that_is_not_needed_is_not_kept(make_run: MakeRun) -> None:
    recipe = make_recipe(max_steps=9)
    run = make_run()
    with killed_at("rename", "step-00000009", 1):
        session.run(recipe, run, QUIET)
    path = run.own("train") / "step-00000006" / "model.safetensors"
    path.write_bytes(b"")
    session.run(recipe, run, QUIET)
    assert not path.exists()
    names = [folder.name for folder in sorted(run.own("train").glob("step-*"))]
    assert names == ["step-00000008", "step-00000009"]  # the first is the best of a longer run
    index = files.read_json(run.own("train") / "index.json")
    assert [entry["name"] for entry in index["checkpoints"]] == names


def test_without_a_sound_checkpoint_training_starts_again_and_says_so(make_run: MakeRun) -> None:
    run, heard = make_run("broken"), Heard()
    with killed_at("rename", "step-00000006", 1):
        session.run(make_recipe(), run, QUIET)
    for path in run.own("train").glob("step-*/model.safetensors"):
        path.unlink()
    session.run(make_recipe(), run, heard)
    assert "no intact checkpoint is left: training starts over from step 0" in heard.lines
    assert result(run) == unbroken(make_recipe(), make_run("unbroken"))
    kept = {path.name for path in run.superseded.iterdir()}
    assert kept == {"train-step-00000003-damaged", "train-step-00000004-damaged"}


def test_checkpoints_of_a_newer_jagpt_stop_training_and_stay(make_run: MakeRun) -> None:
    run = make_run()
    with killed_at("rename", "step-00000009", 1):
        session.run(make_recipe(), run, QUIET)
    for path in run.own("train").glob("step-*/state.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    files.remove_leftovers(run.own("train"))
    before = contents(run.root)
    with pytest.raises(NewerVersionError, match=r"state\.json: a newer jagpt wrote this") as caught:
        session.run(make_recipe(), run, QUIET)
    assert caught.value.exit_code == 3
    assert contents(run.root) == before


def test_one_checkpoint_of_a_newer_jagpt_is_enough_even_beyond_the_plan(make_run: MakeRun) -> None:
    run = make_run()
    session.run(make_recipe(schedule="constant"), run, QUIET)
    path = run.own("train") / "step-00000012" / "state.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    before = contents(run.root)
    with pytest.raises(NewerVersionError):
        session.run(make_recipe(schedule="constant", max_steps=9), run, QUIET)
    assert contents(run.root) == before


def test_a_full_disk_leaves_the_old_checkpoint(make_run: MakeRun) -> None:
    run = make_run("broken")

    def full(operation: str, path: Path) -> None:
        if operation == "fsync" and path.parent.name.endswith("-step-00000006"):
            raise OSError(28, "No space left on device", str(path))

    with files.observed(full), pytest.raises(StorageError, match="free some space"):
        session.run(make_recipe(), run, QUIET)
    assert [path.name for path in sorted(run.own("train").glob("step*"))] == [
        "step-00000003",
        "step-00000004",
    ]
    session.run(make_recipe(), run, QUIET)
    assert result(run) == unbroken(make_recipe(), make_run("unbroken"))


def test_a_disk_that_fills_within_a_tensor_file_is_told_as_such(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = make_run()
    monkeypatch.setattr(tensors, "_bytes", full)
    with pytest.raises(StorageError, match=r"model.safetensors: No space left.*free some"):
        session.run(make_recipe(), run, QUIET)
    assert list(run.own("train").iterdir()) == []


def test_a_longer_run_goes_on_to_what_it_would_have_been(make_run: MakeRun) -> None:
    short = make_recipe(schedule="constant", max_steps=7)
    long = make_recipe(schedule="constant", max_steps=14)
    run = make_run("broken")
    session.run(short, run, QUIET)
    session.run(long, run, QUIET)
    assert contents(run.own("train")) == unbroken(long, make_run("unbroken"))[0]


def test_a_finished_run_is_left_as_it_is(make_run: MakeRun) -> None:
    run = make_run()
    session.run(make_recipe(), run, QUIET)
    before = result(run)
    session.run(make_recipe(), run, QUIET)
    assert result(run) == before


def test_other_threads_are_told_on_resume(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, heard = make_run(), Heard()
    with signalled_at(monkeypatch, 3, signal.SIGTERM), pytest.raises(StoppedError):
        session.run(make_recipe(), run, QUIET)
    session.run(make_recipe(execution={"threads": 2}), run, heard)
    assert any(
        "this differs from before" in line and "threads 1 → 2" in line for line in heard.lines
    )


def test_a_run_without_progress_ends_early_and_is_done(make_run: MakeRun) -> None:
    recipe = make_recipe(learning_rate=1e-30, patience=2, max_steps=40, checkpoint_every=5)
    whole, broken = make_run("whole"), make_run("broken")
    session.run(recipe, whole, QUIET)
    assert checkpoint_folder.standing(whole.own("train")) == [4, 10, 12]
    index = files.read_json(whole.own("train") / "index.json")
    assert (index["best"], index["last"]) == ("step-00000004", "step-00000012")
    session.run(recipe, whole, QUIET)  # nothing is left to do

    def die(operation: str, path: object) -> None:
        if operation == "rename" and str(path).endswith("step-00000010"):
            raise RuntimeError("killed")

    with files.observed(die), pytest.raises(RuntimeError, match="killed"):
        session.run(recipe, broken, QUIET)
    session.run(recipe, broken, QUIET)
    assert contents(broken.own("train")) == contents(whole.own("train"))
