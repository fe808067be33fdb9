"""`jagpt init continue`: a recipe that goes on from a model, up to its training."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import fakes
import hub_double
import huggingface_hub.constants as hub_constants
import pytest
from safetensors.torch import load_file, save_file

from jagpt import cli, recipe
from jagpt.models import build, pretrained
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer.folder import write_folder

sys.path.insert(0, str(Path(__file__).parent / "export"))
import folders

MUON = """
[tokens]
by_line = true

[train]
max_steps = 20
optimizer = "muon"
muon_learning_rate = 0.03
learning_rate = 2e-3
"""


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as leave:
        cli.main([*map(str, arguments)])
    return int(leave.value.code or 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder with a SentencePiece tokenizer whose pieces are the weights' rows."""
    folder = tmp_path_factory.mktemp("model") / "published"
    folder.mkdir()
    made = folders.sentencepiece()
    write_folder(made, folder)
    shape = fakes.recipe().model
    network = build.network(shape, len(made.pieces), build.SpecialIds(2, 3, 0), seed=1)
    tensors = {name: weight.detach() for name, weight in network.named_parameters()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = {**network.config.to_dict(), "architectures": ["GPT2LMHeadModel"]}
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_recipe_takes_tokenizer_weights_and_shape_from_the_model(
    model: Path, here: Path
) -> None:
    assert call("init", "continue", "--from", model, "--output", "mine.toml") == 0
    made = recipe.load(here / "mine.toml")
    assert made.name == "mine"
    assert (made.tokenizer.from_, made.model.from_) == (str(model), str(model))
    assert (made.model.n_layer, made.model.n_embd, made.block_size) == (2, 16, 48)
    assert made.model.dropout == pytest.approx(0.1)
    default = recipe.Train(max_steps=1)
    assert made.train.learning_rate == pytest.approx(default.learning_rate / 10)
    assert made.train.warmup_steps > 0
    network = pretrained.start(made.model, len(folders.sentencepiece().pieces), model)
    theirs = load_file(model / "model.safetensors")
    assert all(weight.equal(theirs[name]) for name, weight in network.named_parameters())


def test_it_trains_on_own_texts(model: Path, here: Path) -> None:
    assert call("init", "continue", "--from", model) == 0
    (here / "texts").mkdir()
    for number in range(40):
        (here / "texts" / f"{number}.txt").write_text(f"京都と東京、{number}。" * 30)
    settings = ("train.max_steps=2", "train.warmup_steps=1", "corpus.valid_share=0.1",
                "corpus.test_share=0.1", "execution.workers=1", "execution.threads=1",
                "execution.tensorboard=false", "train.sequences_per_step=2")  # fmt: skip
    chosen = [part for value in settings for part in ("--set", value)]
    assert call("run", "continue.toml", "--until", "train", *chosen) == 0
    trained = load_file(here / "runs/continue/checkpoints/step-00000002/model.safetensors")
    before = load_file(model / "model.safetensors")["transformer.wte.weight"]
    moved = (trained["transformer.wte.weight"] - before).abs().max()
    assert 0 < float(moved) < 1e-3


def test_a_run_gives_a_tenth_of_its_own_rates(model: Path, here: Path) -> None:
    run = here / "run"
    shutil.copytree(model, run / "model")
    text = fakes.RECIPE.replace("[train]\nblock_size = 16\nmax_steps = 20\n", MUON)
    (run / "recipe.toml").write_text(text)
    assert call("init", "continue", "--from", "run") == 0
    made = recipe.load("continue.toml")
    assert made.train.optimizer == "muon"
    assert made.train.learning_rate == pytest.approx(2e-4)
    assert made.train.muon_learning_rate == pytest.approx(3e-3)
    assert made.tokens.by_line
    assert made.tokenizer.from_ == str(run / "model")


def test_a_model_whose_name_a_recipe_cannot_hold_is_refused(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model, here / "model\udcff")
    assert call("init", "continue", "--from", "model\udcff") == 2
    assert "not valid UTF-8" in capsys.readouterr().err
    assert not (here / "continue.toml").exists()


def test_a_model_of_the_hub_is_named_with_its_present_commit(
    model: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hub_double.in_its_place(monkeypatch) as hub:
        monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(here / "cache"))
        hub.repositories["models/org/published"] = published = hub_double.Repository(private=False)
        commit = published.add({path.name: path.read_bytes() for path in model.iterdir()})
        assert call("init", "continue", "--from", "org/published") == 0
        published.add({"README.md": b"a later commit, without a model"})
        made = recipe.load(here / "continue.toml")
        assert (made.tokenizer.from_, made.tokenizer.revision) == ("org/published", commit)
        assert (made.model.from_, made.model.revision) == ("org/published", commit)
        network = pretrained.start(made.model, len(folders.sentencepiece().pieces), model)
        theirs = load_file(model / "model.safetensors")
        assert all(weight.equal(theirs[name]) for name, weight in network.named_parameters())
        assert call("init", "continue", "--from", "org/nothing", "--output", "none.toml") == 3
        assert not (here / "none.toml").exists()


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _with_pickles(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _with_other_pieces(folder: Path) -> None:
    other = folders.sentencepiece()
    other.pieces[0].piece = "<nothing>"
    (folder / "spiece.model").write_bytes(other.SerializeToString())


def _with_more_pieces(folder: Path) -> None:
    other = folders.sentencepiece()
    other.pieces.add(piece="日本語", score=-3.0, type=pieces.NORMAL)
    (folder / "spiece.model").write_bytes(other.SerializeToString())


def _without_sentencepiece(folder: Path) -> None:
    (folder / "spiece.model").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_without_weights, "no model.safetensors here"),
        (_with_pickles, "its weights are pickled"),
        (_with_other_pieces, "the pieces with ids 0 to 3 are <nothing>"),
        (_with_more_pieces, "they do not belong together"),
        (_without_sentencepiece, "a SentencePiece model"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_and_nothing_is_written(
    model: Path, here: Path, capsys: pytest.CaptureFixture[str], spoil: object, words: str
) -> None:
    shutil.copytree(model, here / "bad")
    spoil(here / "bad")  # type: ignore[operator]
    assert call("init", "continue", "--from", "bad") == 3
    assert words in " ".join(capsys.readouterr().err.split())
    assert not (here / "continue.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["continue"], "give the model to train further with --from"),
        (["continue", "--from", "nowhere at all"], "no hub id"),
        (["small", "--from", "somewhere"], "trains a new model"),
        (["contniue"], "did you mean 'continue'?"),
    ],
)
def test_a_wrong_use_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert call("init", *arguments) == 2
    assert words in " ".join(capsys.readouterr().err.split())
    assert not list(here.iterdir())
