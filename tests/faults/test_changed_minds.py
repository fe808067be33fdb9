"""A changed recipe costs nothing that was trained: it goes on, is taken back, or is asked about."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jagpt import files
from jagpt.models import checkpoint_folder

from .attempts import tree_of
from .conftest import inside
from .projects import Project, overrides

Copy = Callable[..., Path]
TIMES = ("second", "mfu", "memory", "tokens_per")


def train(run: Path, *settings: str, options: tuple[str, ...] = ("--yes",)) -> int:
    return inside("train", run, *options, *overrides(*settings))


def rows(run: Path) -> list[dict[str, Any]]:
    """The metrics without times."""
    text = (run / "logs" / "metrics.jsonl").read_text("utf-8")
    return [
        {key: value for key, value in json.loads(line).items() if not key.startswith(TIMES)}
        for line in text.splitlines()
    ]


def weights(run: Path) -> dict[str, str]:
    return {
        path.parent.name: files.sha256(path)
        for path in (run / "checkpoints").glob("*/model.safetensors")
    }


def steps(run: Path) -> list[int]:
    return checkpoint_folder.standing(run / "checkpoints")


def time_of(run: Path) -> tuple[str, float]:
    """When the training began, and its seconds."""
    row = json.loads((run / "logs" / "timing.json").read_text("utf-8"))["stages"]["train"]
    return row["started"], row["seconds"]


def test_a_wsd_run_is_prolonged_from_its_plateau_to_what_it_would_have_been(
    project: Project,
    finished: Path,
    copied: Copy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The second time from the first result, which stands aside by then and is of most use."""
    run, before = copied(), tree_of(finished / "checkpoints")
    shape = "train.decay_share=0.5"
    assert train(run, shape, options=()) == 0
    assert "train: the first 2 of 4 steps stay the same" in capsys.readouterr().err
    began, took = time_of(finished)
    assert time_of(run)[0] == began
    assert time_of(run)[1] > took / 2
    assert train(run, shape, "train.max_steps=8", options=()) == 0
    assert "train: the steps already done stay the same" in capsys.readouterr().err
    unbroken = tmp_path / "unbroken"
    long = overrides(shape, "train.max_steps=8")
    assert inside(*project.whole(unbroken), *long, "--until", "train") == 0
    assert weights(run) == weights(unbroken)
    assert rows(run) == rows(unbroken)
    assert train(run, "train.decay_share=0.2", "train.max_steps=4", options=()) == 0
    assert "restored from" in capsys.readouterr().err
    assert tree_of(run / "checkpoints") == before


@pytest.mark.parametrize(
    "settings",
    [
        ("train.keep_checkpoints=1",),
        ("train.validate_every=1",),
        ("train.validate_tokens=64",),
        ("train.checkpoint_every=4",),
        ("train.patience=3",),
        ("train.on_bad_step=skip",),
    ],
    ids=lambda settings: settings[0],
)
def test_keys_that_cannot_change_the_steps_done_go_on(
    copied: Copy, settings: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    before, logged, (began, took) = weights(run), rows(run), time_of(run)
    assert train(run, *settings, options=()) == 0
    assert "train: the steps already done stay the same" in capsys.readouterr().err
    assert weights(run).items() <= before.items()
    assert steps(run)[-1] == 4
    assert rows(run)[: len(logged)] == logged
    assert not (run / "superseded").exists()
    assert time_of(run)[0] == began
    assert time_of(run)[1] > took


def test_training_is_set_aside_only_if_that_is_said(
    finished: Path, copied: Copy, capsys: pytest.CaptureFixture[str]
) -> None:
    run = copied()
    before = tree_of(run)
    assert train(run, "train.seed=5", options=()) == 2
    said = capsys.readouterr().err
    assert "train: 4 steps that took" in said
    assert "[train] seed: 1000 → 5" in said
    assert "--yes" in said
    assert tree_of(run) == before
    assert train(run, "train.seed=5") == 0
    assert train(run, "train.seed=1000", options=()) == 0
    assert rows(run) == rows(finished)
