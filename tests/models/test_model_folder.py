from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import pytest
import torch
from fakes import model_folder
from safetensors.torch import load_file, save_file

import jagpt
from jagpt import cli, files, generation, models
from jagpt.errors import DataError, StorageError, UsageError
from jagpt.export import huggingface
from jagpt.models import place
from jagpt.progress import QUIET


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_folder(tmp_path / "model")


def test_a_folder_is_loaded_with_its_tokenizer(folder: Path) -> None:
    subject = models.open(folder)
    assert (subject.vocab_size, subject.context, subject.end_id) == (
        fakes.VOCAB_SIZE,
        48,
        fakes.END,
    )
    assert subject.start_id() == fakes.END


@pytest.mark.parametrize(
    "wish", [{"output_hidden_states": -0.0}, {"output_hidden_states": True}, {"return_dict": False}]
)
def test_what_a_call_returns_is_not_the_folders_to_say(folder: Path, wish: dict[str, Any]) -> None:
    wanted = generation.generate(folder, ["京都"], generation.Settings(max_new_tokens=2))
    files.write_json(folder / "config.json", {**files.read_json(folder / "config.json"), **wish})
    found = generation.generate(folder, ["京都"], generation.Settings(max_new_tokens=2))
    assert found == wanted


def test_a_run_means_its_exported_model(folder: Path) -> None:
    (folder.parent / "recipe.toml").touch()
    assert place.find(str(folder.parent), "--model") == folder


def test_an_empty_name_is_no_model_and_no_tokenizer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name, words in (("", None), (folder, "")):
        with pytest.raises(UsageError, match="found no name"):
            models.open(name, tokenizer=words)
    (folder / "recipe.toml").touch()
    with pytest.raises(UsageError, match="'': not a run directory"):
        jagpt.open_run("")


def test_the_fingerprint_is_that_of_the_contents(folder: Path, tmp_path: Path) -> None:
    first = models.open(folder).fingerprint()
    assert models.open(model_folder(tmp_path / "again")).fingerprint() == first
    other = model_folder(tmp_path / "other", "step-00000020")
    assert models.open(other).fingerprint() != first


def other_weights(folder: Path) -> None:
    whole = load_file(folder / "a-1.safetensors")
    save_file({name: weight + 1 for name, weight in whole.items()}, folder / "a-1.safetensors")


def other_end(folder: Path) -> None:
    path = folder / "tokenizer_config.json"
    files.write_json(path, {**files.read_json(path), "eos_token": "<s>"})


@pytest.mark.parametrize("change", [other_weights, other_end])
def test_whatever_decides_what_a_model_computes_is_in_its_fingerprint(
    folder: Path, change: Callable[[Path], None]
) -> None:
    """Here the weights have a name that only their index knows."""
    (folder / "model.safetensors").rename(folder / "a-1.safetensors")
    places = dict.fromkeys(load_file(folder / "a-1.safetensors"), "a-1.safetensors")
    files.write_json(folder / "model.safetensors.index.json", {"weight_map": places})
    first = models.open(folder).read().fingerprint()
    change(folder)
    assert models.open(folder).read().fingerprint() != first


def test_a_checkpoint_takes_its_tokenizer_from_its_run_or_from_elsewhere(folder: Path) -> None:
    checkpoint = folder.parent / "model-checkpoints" / "step-00000020"
    with pytest.raises(DataError, match="--tokenizer"):
        _ = models.open(checkpoint).tokenizer
    assert models.open(checkpoint, tokenizer=folder).tokenizer_folder == folder
    (folder.parent / "model-checkpoints").rename(folder.parent / "checkpoints")
    fakes.write_tokenizer(folder.parent / "tokenizer")
    found = models.open(folder.parent / "checkpoints" / checkpoint.name).read()
    assert found.tokenizer_folder == folder.parent / "tokenizer"


def test_a_pickle_is_refused_with_a_way_out(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"runs whatever.*save_pretrained"):
        models.open(folder)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    fakes.write_tokenizer(folder, "".join(chr(0x4E00 + number) for number in range(500)))
    with pytest.raises(DataError, match="do not belong together"):
        models.open(folder).read()


def test_a_tokenizer_whose_ids_the_model_lacks_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    said = files.read_json(path)
    ids = {piece: number for number, (piece, _) in enumerate(said["model"]["vocab"])}
    end = said["added_tokens"][3]
    end["id"] = ids[end["content"]] = 500
    files.write_json(path, {**said, "model": {"type": "BPE", "vocab": ids, "merges": []}})
    with pytest.raises(DataError, match=r"ids up to \d+, .*do not belong together"):
        models.open(folder).read()


def test_the_masks_of_old_files_are_no_weights(folder: Path) -> None:
    wanted = generation.generate(folder, ["京都"], generation.Settings(max_new_tokens=2))
    path = folder / "model.safetensors"
    masks = {"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}
    save_file({**load_file(path), **masks}, path)
    found = generation.generate(folder, ["京都"], generation.Settings(max_new_tokens=2))
    assert found == wanted


def test_quantized_weights_are_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    save_file({name: (each * 100).to(torch.int8) for name, each in load_file(path).items()}, path)
    with pytest.raises(DataError, match=r"whole numbers .*before it was quantized"):
        models.open(folder).read()


@pytest.mark.parametrize(
    ("missing", "words"), [("config.json", "config.json"), ("model.safetensors", "safetensors")]
)
def test_a_folder_that_is_no_model_is_named(folder: Path, missing: str, words: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(DataError, match=words):
        models.open(folder)


def test_a_name_that_means_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no hub id"):
        place.find("nowhere at all", "--model")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="a file"):
        place.find(str(tmp_path / "file"), "--model")


def test_a_hub_id_may_name_a_revision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def fetch(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        asked.extend((repository, revision))
        assert not any("bin" in pattern for pattern in allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert place.find("org/name@v1.0", "--model") == tmp_path
    assert asked == ["org/name", "v1.0"]


def test_a_run_without_an_exported_model_means_its_best_checkpoint(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path / "run")
    assert place.find(str(run.root)) == run.checkpoints / "step-00000010"
    with pytest.raises(DataError, match="no model here: neither a model folder"):
        place.find(str(run.root / "logs"))


def test_a_missing_place_beside_what_is_there_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    with pytest.raises(UsageError, match=r"--model: runs/x: no such folder in runs; .*runs/x@main"):
        place.find("runs/x", "--model")
    with pytest.raises(StorageError, match=r"runs/x at revision main not a folder here"):
        place.find("runs/x@main", "--model")


@pytest.mark.parametrize("where", ["run", "run/model", "run/checkpoints/step-00000010"])
def test_every_kind_of_place_continues_a_text(tmp_path: Path, where: str) -> None:
    run = fakes.run_directory(tmp_path / "run")
    huggingface.run(fakes.recipe(), run, QUIET)
    settings = generation.Settings(greedy=True, max_new_tokens=5)
    found = generation.generate(tmp_path / where, ["京都"], settings)
    assert found == generation.generate(run.model, ["京都"], settings)


def test_an_export_of_a_run_or_of_the_hub_says_where_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = fakes.run_directory(tmp_path / "run")
    for name, words in ((run.root, "give it as RECIPE"), ("org/name@v1", "needs --output")):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["export", "--model", str(name), "--format", "pytorch"])
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a\0b", "", ".", "..", "~", "org/", "/", "a/b/c", "@", "a/b@"])
def test_any_name_is_a_place_or_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises((UsageError, DataError)):
        place.find(name)
