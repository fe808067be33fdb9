"""A whole run of the bundled sample with a very small model, made once for all tests here."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import jagpt

TINY = {
    "tokenizer.vocab_size": "2000",
    "model.n_layer": "2",
    "model.n_head": "2",
    "model.n_embd": "32",
    "model.n_positions": "64",
    "train.batch_size": "4",
    "train.max_steps": "30",
    "train.warmup_steps": "3",
    "train.validate_every": "10",
    "train.checkpoint_every": "10",
    "execution.workers": "1",
    "execution.threads": "1",
    "execution.tensorboard": "false",
}


def settings(**changed: str) -> list[str]:
    """`--set` options of the tiny run, with changes given as `section__key="value"`."""
    merged = {**TINY, **{key.replace("__", "."): value for key, value in changed.items()}}
    return [option for key, value in merged.items() for option in ("--set", f"{key}={value}")]


def command(*arguments: str | Path) -> list[str]:
    """The command line of a jagpt that has to import what it needs."""
    return [sys.executable, "-m", "jagpt", *map(str, arguments)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a finished tiny run; tests must not change it."""
    root = tmp_path_factory.mktemp("finished") / "run"
    done = jagpt("run", "quickstart", "--run-dir", root, *settings())
    assert done.returncode == 0, done.stderr
    (root.parent / "stdout.txt").write_text(done.stdout)
    return root


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that copies the finished run, some stages left out, to be changed."""

    def copy(*without: str) -> Path:
        target = tmp_path / "run"
        shutil.copytree(finished, target, ignore=lambda _folder, names: set(names) & set(without))
        return target

    return copy
