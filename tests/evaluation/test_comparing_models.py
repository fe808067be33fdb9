"""The verb's --model half, from the command line to its tables and JSON."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import fakes
import pytest
import torch
from fakes import model_folder

import jagpt
from jagpt import cli
from jagpt.errors import DataError, UsageError

TEXT = "日本語を使う。\n京都と東京。\n統計的推定を使うことで、"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    model_folder(root / "one")
    model_folder(root / "two", "step-00000020")
    (root / "text.txt").write_text(TEXT)
    return root


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main(["evaluate", *map(str, arguments)])
    return int(leave.value.code or 0)


def test_figures_of_a_model_on_a_text(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--model", place / "one", "--text", place / "text.txt", "--layout", "line")
    assert call(*arguments, "--precision", "fp32", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    ids = [token for line in TEXT.split("\n") for token in fakes.encode(line)]
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(place / "one").eval()
    with torch.no_grad():
        nats = float(model(torch.tensor([ids]), labels=torch.tensor([ids])).loss) * (len(ids) - 1)
    text = found["text"]
    assert text["nats"] == pytest.approx(nats, rel=1e-5)
    assert text["perplexity"] == pytest.approx(math.exp(nats / (len(ids) - 1)), rel=1e-4)
    assert (text["documents"], text["tokens"]) == (3, len(ids) - 1)
    characters = sum(len(line) for line in TEXT.split("\n"))
    bits = (nats + math.log(fakes.VOCAB_SIZE)) / math.log(2)
    assert text["bits_per_character"] == pytest.approx(bits / characters, rel=1e-4)
    assert len(found["fingerprint"]) == len(text["sha256"]) == 64
    assert (found["precision"], found["device"]) == ("fp32", "cpu")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"windows": "bogus"}, "--windows bogus: expected blocks, sliding"),
        ({"precision": "bogus"}, "--precision bogus: expected auto, fp32, bf16"),
        ({"device": "bogus"}, "--device bogus: expected auto, cpu"),
        ({"block_size": 0}, "--block-size 0: expected a whole number, 1 or more"),
        ({"block_size": "8"}, "--block-size 8: expected a whole number"),
        ({"windows": "sliding", "stride": 0}, "--stride 0: expected a whole number"),
        ({"layout": "bogus"}, "--layout bogus: expected file or line"),
    ],
)
def test_python_is_told_what_the_command_line_refuses(
    place: Path, settings: dict[str, Any], words: str
) -> None:
    model, text = jagpt.open_model(place / "one"), place / "text.txt"
    with pytest.raises(UsageError, match=words):
        model.evaluate(text, **settings)
    with pytest.raises(UsageError, match=words):
        jagpt.compare(place / "one", place / "two", text, **settings)


def test_a_text_is_read_from_python_as_it_is_by_the_command_line(place: Path) -> None:
    model = jagpt.open_model(place / "one")
    assert model.evaluate(place / "text.txt", layout="line").documents == 3
    (place / "rows.jsonl").write_text('{"body": "京都"}\n{"body": "東京"}\n')
    assert model.evaluate(place / "rows.jsonl", column="body").documents == 2
    with pytest.raises(UsageError, match="opened with its own"):
        model.evaluate(place / "text.txt", tokenizer="other")
    with pytest.raises(DataError, match="expected a regular file, found a directory"):
        jagpt.compare(place / "one", place / "two", "")


def test_a_text_without_tokens_has_no_scores(place: Path) -> None:
    model = jagpt.open_model(place / "one")
    assert model.score("") == []
    assert [token.text for token in model.score("京都")] != []


def test_several_models_stand_in_one_table(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = {"phenomenon": "particles", "good": "京都と東京", "bad": "京都東京と"}
    (place / "pairs.jsonl").write_text(json.dumps(pair))
    models = ("--model", place / "one", "--model", place / "two")
    arguments = (*models, "--text", place / "text.txt", "--pairs", place / "pairs.jsonl")
    assert call(*arguments, "--windows", "sliding", "--block-size", "16", "--stride", "4") == 0
    shown = capsys.readouterr().out
    assert "particles" in shown
    assert "bits/character" in shown
    assert shown.count("16/4") == 2


def test_an_ensemble_is_the_mean_of_the_probabilities_in_the_last_row(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import GPT2LMHeadModel

    names = ["one", "two"]
    named = [part for name in names for part in ("--model", place / name)]
    where = ("--text", place / "text.txt", "--layout", "line", "--precision", "fp32")
    assert call(*named, *where, "--ensemble", "--pairs", "shipped", "--json") == 0
    *alone, together = json.loads(capsys.readouterr().out)
    ids = [token for line in TEXT.split("\n") for token in fakes.encode(line)]
    with torch.no_grad():
        chances = [
            GPT2LMHeadModel.from_pretrained(place / name)
            .eval()(torch.tensor([ids]))
            .logits.softmax(-1)
            for name in names
        ]
    mean = torch.stack(chances).double().mean(0)[0, :-1]
    nats = -mean.gather(1, torch.tensor(ids[1:])[:, None]).log().sum()
    assert together["text"]["nats"] == pytest.approx(float(nats), rel=1e-5)
    assert together["text"]["nats"] < sum(found["text"]["nats"] for found in alone) / 2
    assert together["model"].startswith("ensemble")
    assert together["pairs"]["pairs"] == alone[0]["pairs"]["pairs"]
    assert together["fingerprint"] not in {found["fingerprint"] for found in alone}


def test_models_with_other_ids_have_no_mean_and_nothing_is_measured(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(place / "two", other)
    path = other / "tokenizer.json"
    path.write_text(_with_two_pieces_swapped(path.read_text("utf-8")), "utf-8")
    models = ("--model", place / "one", "--model", other)
    assert call(*models, "--ensemble", "--text", place / "text.txt") == 2
    told = capsys.readouterr()
    assert f"{other} gives 2 pieces different ids than" in " ".join(told.err.split())
    assert not told.out


def _with_two_pieces_swapped(tokenizer: str) -> str:
    value = json.loads(tokenizer)
    vocab = value["model"]["vocab"]
    if isinstance(vocab, list):
        vocab[-1], vocab[-2] = vocab[-2], vocab[-1]
    else:
        first, second = list(vocab)[-2:]
        vocab[first], vocab[second] = vocab[second], vocab[first]
    return json.dumps(value)


def test_the_shipped_pairs_have_a_name(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--model", place / "one", "--pairs", "shipped", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["pairs"]["pairs"] >= 200
    assert set(found["pairs"]["phenomena"]) > {"particles", "honorifics", "counters"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "either a RECIPE or --model"),
        (["quickstart", "--model", "one"], 2, "either a RECIPE or --model"),
        (["quickstart", "--windows", "sliding"], 2, "--windows needs --model"),
        (["--model", "one"], 2, "--text, --pairs or --tasks"),
        (["--model", "one", "--text", "text.txt", "--force"], 2, "--force has no effect with"),
        (["--model", "one", "--text", "text.txt", "--set", "a=b"], 2, "--set has no effect with"),
        (["--model", "one", "--pairs", "shipped", "--stride", "4"], 2, "--stride has no effect"),
        (["quickstart", "--checkpoint", "one", "--yes"], 2, "--yes has no effect with"),
        (["--model", "one", "--ensemble", "--text", "text.txt"], 2, "more than once"),
        (["--model", "one", "--ensemble", "--tasks", "x"], 2, "needs --text or --pairs"),
        (["quickstart", "--ensemble"], 2, "--ensemble needs --model"),
        (["--model", "one", "--checkpoint", "two", "--text", "text.txt"], 2, "needs a RECIPE"),
        (["--model", "one", "--text", "text.txt", "--block-size", "99"], 2, "a context of 48"),
        (["--model", "one", "--text", "text.txt", "--stride", "4"], 2, "blocks do not overlap"),
        (["--model", "none at all", "--text", "text.txt"], 2, "no hub id"),
        (["--model", "one", "--text", "none.txt"], 3, "no such file"),
        (["--model", ".", "--text", "text.txt"], 3, "config.json"),
    ],
)
def test_a_mistake_gets_one_message_and_its_code(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(place)
    assert call(*arguments) == code
    assert words in capsys.readouterr().err


def test_tasks_without_the_extra_stop_before_a_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert call("--model", "nowhere", "--suite", "ja") == 2
    assert "[harness]" in capsys.readouterr().err
    assert call("--model", "nowhere", "--tasks", "lambada") == 2
    assert "[harness]" in capsys.readouterr().err
