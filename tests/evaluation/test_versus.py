"""Two models on one text: the arithmetic, the verdict, and the verb."""

from __future__ import annotations

import json
import math
from pathlib import Path

import fakes
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

import jagpt
from jagpt import cli
from jagpt.errors import UsageError
from jagpt.evaluation.measures import FEWEST_PAIRS, paired_bounds

LINES = [
    f"{first}と{second}、{third}。"
    for first in ("京都", "東京", "日本語")
    for second in ("統計的推定", "あいうえお", "こと")
    for third in ("使う", "かきくけこ")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models `good` and `bad`, of which the latter expects `<pad>` everywhere."""
    root = tmp_path_factory.mktemp("models")
    for name in ("good", "bad"):
        fakes.model_folder(root / name)
    weights = load_file(root / "bad" / "model.safetensors")
    final = weights["transformer.ln_f.bias"]
    final += 30 * weights["transformer.wte.weight"][0]
    save_file(weights, root / "bad" / "model.safetensors", {"format": "pt"})
    (root / "text.txt").write_text("\n".join(LINES))
    return root


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main(["compare", *map(str, arguments)])
    return int(leave.value.code or 0)


def compared(
    place: Path, capsys: pytest.CaptureFixture[str], a: str, b: str, *options: str
) -> dict[str, object]:
    where = ("--text", place / "text.txt", "--layout", "line", "--precision", "fp32")
    assert call(place / a, place / b, *where, "--json", *options) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_better_model_is_named_in_either_order(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = compared(place, capsys, "good", "bad")
    better = compared(place, capsys, "bad", "good")
    assert (worse["verdict"], better["verdict"]) == ("worse", "better")
    assert worse["difference"] == pytest.approx(-better["difference"])
    low, high = better["interval"]
    assert low < better["difference"] < high < 0
    assert better["cheaper"] == len(LINES)
    assert str(place / "good") in better["sentence"].partition(" is better than ")[0]


def test_the_documents_add_up_to_both_models_figures(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(place, capsys, "good", "bad")
    documents = found["documents"]
    assert [one["characters"] for one in documents] == [len(line) for line in LINES]
    for side in ("a", "b"):
        bits = sum(one[side] * one["characters"] for one in documents)
        whole = found[side]["text"]["bits_per_character"]
        assert bits / sum(map(len, LINES)) == pytest.approx(whole)
    a, b = (found[side]["text"]["bits_per_character"] for side in ("a", "b"))
    assert found["difference"] == pytest.approx(b - a)


def test_a_model_is_no_better_than_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(place, capsys, "good", "good")
    assert found["verdict"] == "no difference"
    assert found["interval"] == [0.0, 0.0]
    assert "This text shows no difference" in found["sentence"]


def test_a_single_document_gives_no_verdict(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = compared(place, capsys, "good", "bad", "--layout", "file")
    assert (found["verdict"], found["interval"]) == ("too few documents", None)
    assert "--layout line" in found["sentence"]


def test_without_a_text_the_test_split_of_the_first_run_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fakes.run_directory(tmp_path / "run")
    fakes.model_folder(tmp_path / "other", "step-00000020")
    assert call(run.root, tmp_path / "other", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["characters"] for one in found["documents"]] == [len(t) for t in fakes.TEXTS]
    assert call(run.root, tmp_path / "other") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "too few to tell which of the two is better" in shown
    assert call(tmp_path / "other", run.root) == 2
    assert "add --text FILE" in capsys.readouterr().err


def test_python_gives_the_same(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = compared(place, capsys, "good", "bad")
    settings = {"layout": "line", "precision": "fp32"}
    found = jagpt.compare(place / "good", place / "bad", place / "text.txt", **settings)
    assert (found.difference, found.sentence) == (told["difference"], told["sentence"])
    with pytest.raises(UsageError, match="no text to compare on"):
        jagpt.compare(place / "good", place / "bad")


def test_an_interval_of_paired_costs_covers_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        hardness = random.gamma(4.0, 50.0, 80)  # of a document, alike for both
        sizes = np.full(80, 100)
        differences = hardness + random.normal(5.0, 20.0, 80) - hardness
        low, high = paired_bounds(differences, sizes) or (math.nan, math.nan)
        covered += low < 0.05 < high
    assert 50 <= covered <= 60
    few = FEWEST_PAIRS - 1
    assert paired_bounds(np.ones(few), np.ones(few, dtype=np.int64)) is None
