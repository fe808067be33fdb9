from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import GPT2LMHeadModel
from transformers.activations import NewGELUActivation

from jagpt import models, recipe
from jagpt.errors import DataError, UsageError
from jagpt.models import build, size
from jagpt.training.rehearsal import rehearse

SPECIAL = build.SpecialIds(bos=2, eos=3, pad=0)
SHAPE = recipe.Model(n_layer=2, n_head=2, n_embd=16, n_positions=8, dropout=0.1)


def made(seed: int = 0) -> GPT2LMHeadModel:
    return build.network(SHAPE, 40, SPECIAL, seed)


def weights(network: GPT2LMHeadModel) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = weights(made(5))
    before = torch.get_rng_state()
    second = weights(made(5))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, weights(made(6)))


def test_weights_are_initialised_as_in_gpt2() -> None:
    shape = recipe.Model(n_layer=8, n_head=4, n_embd=128, n_positions=64)
    network = build.network(shape, 1000, SPECIAL, 0)
    block = network.transformer.h[3]
    assert block.attn.c_attn.weight.std().item() == pytest.approx(0.02, rel=0.03)
    assert block.mlp.c_proj.weight.std().item() == pytest.approx(0.02 / 4, rel=0.03)
    assert block.attn.c_attn.bias.abs().max() == 0


def test_the_configuration_says_what_the_recipe_says() -> None:
    config = made().config
    assert (config.n_layer, config.n_head, config.n_embd, config.n_positions) == (2, 2, 16, 8)
    assert (config.vocab_size, config.bos_token_id, config.eos_token_id) == (40, 2, 3)
    assert config.pad_token_id == 0
    assert config.embd_pdrop == config.attn_pdrop == config.resid_pdrop == 0.1
    assert config._attn_implementation == "sdpa"


def test_gpt2_small_has_its_known_size() -> None:
    with torch.device("meta"):
        network = GPT2LMHeadModel(build.configuration(recipe.Model(), 32_000, SPECIAL))
    count = size.parameter_count(network)
    assert count == 110_418_432
    assert size.flops_of(network, 1024) == 6 * count + 12 * 12 * 768 * 1024


def test_the_fused_gelu_is_gelu_new() -> None:
    network = made().eval()
    ids = torch.arange(16).reshape(2, 8)
    ours = network(ids).logits
    for block in network.transformer.h:
        block.mlp.act = NewGELUActivation()
    torch.testing.assert_close(network(ids).logits, ours, rtol=1e-5, atol=1e-6)


def test_a_saved_model_loads_to_the_same_weights(tmp_path: Path) -> None:
    network = made(3)
    network.save_pretrained(tmp_path)
    loaded = models.open(tmp_path).network
    assert torch.equal(weights(network), weights(loaded))
    assert loaded.lm_head.weight is loaded.transformer.wte.weight
    assert not loaded.training


def test_a_pickle_is_not_loaded(tmp_path: Path) -> None:
    network = made()
    network.config.save_pretrained(tmp_path)
    torch.save(network.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"pickled pytorch_model.bin is not read"):
        _ = models.open(tmp_path).network


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    made().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model\.safetensors: not readable as safetensors"):
        _ = models.open(tmp_path).network


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    made().config.save_pretrained(tmp_path)
    save_file({"linear.weight": torch.zeros(9000)}, tmp_path / "model.safetensors")
    with pytest.raises(DataError, match="not GPT2LMHeadModel weights"):
        _ = models.open(tmp_path).network


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"n_inner": -1}, "not a valid shape for gpt2"),
        ({"n_inner": 0.5}, "no GPT2Config"),
        ({"activation_function": "x"}, "not a valid shape for gpt2"),
        ({"layer_norm_epsilon": "x"}, "layer_norm_epsilon"),
        ({"dtype": "float16"}, "model.config.dtype: .* no such key"),
        ({"dtype": "save"}, "model.config.dtype: .* no such key"),
        ({"torch_dtype": "float16"}, "model.config.torch_dtype: .* no such key"),
        ({"return_dict": False}, "model.config.return_dict: .* no such key"),
        ({"output_hidden_states": True}, "model.config.output_hidden_states: .* no such key"),
        ({"id2label": "x"}, "model.config.id2label: .* no such key"),
        ({"architectures": ["x"]}, "model.config.architectures: .* no such key"),
        ({"_attn_implementation": "org/kernel"}, "no such key"),
        ({"attn_implementation": "org/kernel"}, "no such key"),
        ({"auto_map": {"AutoConfig": "evil.Evil"}}, "no such key"),
    ],
    ids=str,
)
def test_keys_that_make_no_network_are_refused_before_anything_runs(
    values: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        rehearse(SHAPE.model_copy(update={"config": values}), 40)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["biogpt", "seed_oss", "starcoder2", "opt", "xglm"])
def test_dropout_reaches_every_place_that_a_class_has(kind: str) -> None:
    shape = SHAPE.model_copy(update={"type": kind, "dropout": 0.25})
    network = build.network(shape, 40, SPECIAL, 0)
    rates = {
        float(value)
        for module in network.modules()
        for name, value in vars(module).items()
        if name in ("p", "dropout", "attention_dropout", "activation_dropout", "residual_dropout")
    }
    assert rates == {0.25}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("mamba", "found 0.1, but mamba has none: .*--set model.dropout=0.0"),
        ("ernie4_5", r"does not reach all of ernie4_5 \(attention_dropout is 0\)"),
        ("mpt", "does not reach all of mpt"),
    ],
)
def test_a_class_that_dropout_does_not_reach_is_refused(kind: str, words: str) -> None:
    shape = SHAPE.model_copy(update={"type": kind})
    with pytest.raises(UsageError, match=f"model.dropout: .*{words}"):
        build.network(shape, 40, SPECIAL, 0)
    build.network(shape.model_copy(update={"dropout": 0.0}), 40, SPECIAL, 0)


def test_what_the_configuration_says_of_one_dropout_holds() -> None:
    shape = SHAPE.model_copy(update={"config": {"attn_pdrop": 0.0}})
    network = build.network(shape, 40, SPECIAL, 0)
    assert network.transformer.h[0].attn.attn_dropout.p == 0.0
    assert network.transformer.drop.p == 0.1
