"""A refused command changes nothing: no name, no byte and no time, and no new run directory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from importlib import util
from pathlib import Path

import pytest

from .conftest import inside
from .projects import Project, overrides

Copy = Callable[..., Path]
STAGE_VERBS = ("corpus", "tokenizer", "tokens", "train", "evaluate", "export", "release")
MISSING = ("h5py", "gguf", "rensa", "datasets", "ray", "wandb", "onnx")
"""Packages of extras that these tests take away."""


@pytest.fixture(autouse=True)
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine of someone who installed jagpt alone."""
    find = util.find_spec
    without = lambda name, *more: None if name in MISSING else find(name, *more)  # noqa: E731
    monkeypatch.setattr(util, "find_spec", without)
    monkeypatch.setattr("jagpt.formats.table.find_spec", without)
    monkeypatch.setattr("jagpt.corpus.hub_datasets.find_spec", without)
    for name in ("rensa", "ray"):
        monkeypatch.setitem(__import__("sys").modules, name, None)


def state_of(root: Path) -> dict[str, tuple[bytes, int]]:
    """Name → content and time of every file below `root`; the lock's owner is gone."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        if path.is_file()
        else (b"a folder", path.stat().st_mtime_ns if path != root else 0)
        for path in root.rglob("*")
    }


REFUSED = {
    "a missing extra of formats": ('export.formats=["tensorflow"]',),
    "a missing extra of trackers": ('execution.trackers=["wandb"]', "train.seed=5"),
    "a missing extra of the corpus": ("corpus.drop_near_duplicates=0.9",),
    "a missing cluster": ("execution.executor=ray", "corpus.valid_share=0.3"),
    "a format for another class": ('export.formats=["flax"]', "model.type=llama"),
    "a class that is none": ("model.type=vit",),
    "a key of the class that is none": ("model.config.n_inne=4",),
    "a device that is not here": ("execution.device=cuda", "train.seed=5"),
    "a source that is not there": (
        "corpus.source.rows.name=others",
        "corpus.source.others.path=/no/such/file",
    ),
    "a bound of a library": ("tokenizer.character_coverage=0.9",),
    "a tokenizer that is none": ("tokenizer.from=/no/such/place",),
    "a run that is none": ("tokens.from=/no/such/run", "corpus.source=[]"),
    "weights that are none": ("model.from=/no/such/model",),
}


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
@pytest.mark.parametrize("settings", REFUSED.values(), ids=REFUSED)
def test_a_run_that_is_refused_changes_nothing(
    copied: Copy, settings: tuple[str, ...], force: tuple[str, ...]
) -> None:
    run = copied()
    before = state_of(run)
    assert inside("run", run, *force, *overrides(*settings)) in (2, 3)
    assert state_of(run) == before


@pytest.mark.parametrize("settings", REFUSED.values(), ids=REFUSED)
def test_a_run_that_is_refused_leaves_no_directory(
    project: Project, tmp_path: Path, settings: tuple[str, ...]
) -> None:
    new = tmp_path / "runs" / "new"
    assert inside(*project.whole(new), *overrides(*settings)) in (2, 3)
    assert list(tmp_path.iterdir()) == []


ALONE = {
    "corpus": ("corpus.drop_near_duplicates=0.9",),
    "tokenizer": ("tokenizer.from=/no/such/place",),
    "tokens": ("execution.executor=ray", "tokens.end_token=false"),
    "train": ("execution.device=cuda", "train.seed=5"),
    "evaluate": ("evaluate.checkpoint=7",),
    "export": ('export.formats=["onnx"]',),
    "release": ("release.title=",),
}


@pytest.mark.parametrize(("verb", "settings"), ALONE.items())
@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
def test_a_verb_that_is_refused_changes_nothing(
    copied: Copy, verb: str, settings: tuple[str, ...], force: tuple[str, ...]
) -> None:
    run = copied()
    before = state_of(run)
    assert inside(verb, run, *force, *overrides(*settings)) in (2, 3)
    assert state_of(run) == before


@pytest.mark.parametrize("verb", STAGE_VERBS[1:])
def test_a_verb_without_what_it_needs_changes_nothing(copied: Copy, verb: str) -> None:
    run = copied("corpus", "tokenizer", "tokens", "checkpoints", "evaluation", "model", "release")
    before = state_of(run)
    assert inside(verb, run) == 2
    assert state_of(run) == before


@pytest.mark.parametrize("verb", STAGE_VERBS)
def test_a_verb_on_what_a_newer_jagpt_made_changes_nothing(copied: Copy, verb: str) -> None:
    run = copied("manifest.json")
    for path in sorted(run.glob("*/state.json")) + sorted(run.glob("*/*/state.json")):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 2}))
    for path in run.iterdir():
        if path.is_dir() and path.name not in ("logs", "superseded"):
            note = {
                "stage": verb,
                "version": 9,
                "fingerprint": "0" * 64,
                "section": {},
                "inputs": {},
            }
            (path / "in-progress.json").write_text(json.dumps(note))
    before = state_of(run)
    assert inside(verb, run) == 3
    assert state_of(run) == before


def test_an_export_of_a_format_without_its_extra_leaves_the_run_as_it_is(copied: Copy) -> None:
    run = copied()
    before = state_of(run)
    assert inside("export", run, "--format", "onnx") == 2
    assert state_of(run) == before
    assert inside("status", run, "--json") == 0


@pytest.mark.parametrize("to", ["git:/no/such/place/x.git", "hub:no name", "nowhere:x"])
def test_a_release_that_cannot_be_published_changes_nothing_in_the_run(
    copied: Copy, to: str
) -> None:
    run = copied()
    before = state_of(run)
    assert inside("release", run, "--to", to, "--dry-run") in (1, 2, 4)
    assert state_of(run) == before


def test_a_run_in_use_is_left_as_it_is(copied: Copy) -> None:
    from jagpt import files

    run = copied()
    with files.locked(run):
        before = state_of(run)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            os._exit(inside("run", run, "--force"))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
        assert state_of(run) == before
