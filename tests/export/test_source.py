"""What a format is made from, as transformers understands the folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import fakes
import pytest
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer

from jagpt import files, models
from jagpt.errors import JagptError, UsageError
from jagpt.formats import making
from jagpt.formats.source import ModelSource
from jagpt.progress import QUIET


@pytest.fixture
def folder(source: ModelSource, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source.directory, tmp_path / "model"))


def configure(folder: Path, **keys: Any) -> ModelSource:
    path = folder / "config.json"
    files.write_json(path, {**files.read_json(path), **keys})
    return ModelSource.open(folder)


@pytest.mark.parametrize(
    ("said", "found"), [(3, 3), ([3, 4], 3), (None, None), ([], None), (50256, None), (-1, None)]
)
def test_a_special_token_is_one_that_the_model_has(
    folder: Path, said: object, found: int | None
) -> None:
    assert configure(folder, eos_token_id=said).special("eos") == found


def test_an_output_matrix_of_its_own_is_seen_in_the_weights(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    output = weights["transformer.wte.weight"] + 1
    save_file({**weights, "lm_head.weight": output}, folder / "model.safetensors")
    with pytest.raises(UsageError, match=r"flax: .*model have an output matrix of their own"):
        ModelSource.open(folder).check_plain("flax")


def test_a_shape_may_have_transformers_common_names_or_be_left_out(
    folder: Path, source: ModelSource
) -> None:
    config = files.read_json(folder / "config.json")
    names = {
        "n_layer": "num_hidden_layers", "n_head": "num_attention_heads", "n_embd": "hidden_size",
        "n_positions": "max_position_embeddings",
    }  # fmt: skip
    written = {names.get(key, key): value for key, value in config.items()}
    for key in ("n_inner", "layer_norm_epsilon", "n_ctx", "activation_function"):
        written.pop(key, None)
    files.write_json(folder / "config.json", written)
    found = ModelSource.open(folder)
    found.check_plain("flax")
    for name in ("n_layer", "n_head", "n_embd", "n_inner", "n_positions", "epsilon"):
        assert getattr(found, name) == getattr(source, name)


@pytest.fixture
def plain(folder: Path) -> Path:
    """The model with a tokenizer of single bytes in old files, two of its tokens in one more."""
    for name in ("spiece.model", "tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator([], vocab_size=256)
    trained.save_model(str(folder))
    files.write_json(folder / "added_tokens.json", {"首都": 256, "京都": 257})
    return folder


def test_an_export_has_all_of_its_model_s_tokenizer(plain: Path, tmp_path: Path) -> None:
    making.export_folder(plain, ["pytorch"], tmp_path / "out", QUIET)
    found, wanted = (models.load_tokenizer(each) for each in (tmp_path / "out" / "pytorch", plain))
    assert found.get_vocab() == wanted.get_vocab()
    assert {"首都", "京都"} <= found.get_vocab().keys()


def test_a_tokenizer_that_is_another_without_its_folder_is_refused(
    plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ModelSource.tokenizer_files.fget
    monkeypatch.setattr(ModelSource, "tokenizer_files", property(lambda self: kept(self)[1:]))
    with pytest.raises(JagptError, match=r"pytorch: the tokenizer's files alone give other ids"):
        making.export_folder(plain, ["pytorch"], tmp_path / "out", QUIET)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_checkpoint_s_export_takes_the_tokenizer_of_its_run(tmp_path: Path) -> None:
    run = fakes.run_directory(tmp_path / "run")
    source = ModelSource.open(run.checkpoints / "step-00000010")
    source.copy_tokenizer(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (run.tokenizer / name).read_bytes()
