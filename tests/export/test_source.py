"""What a format is made from, as transformers understands the folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from jagpt import files
from jagpt.errors import UsageError
from jagpt.formats.source import ModelSource


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
