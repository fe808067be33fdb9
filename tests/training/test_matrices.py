from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import GPT2LMHeadModel, PreTrainedModel

from jagpt import recipe
from jagpt.models import build
from jagpt.training.matrices import Kinds, Matrix, weights_by_kind

WIDTH = 16


def made(kind: str = "gpt2", dropout: float = 0.0, **config: Any) -> PreTrainedModel:
    shape = recipe.Model(
        type=kind, n_layer=2, n_head=2, n_embd=WIDTH, n_positions=8, dropout=dropout, config=config
    )
    return build.network(shape, 40, build.SPECIAL, 0)


@pytest.fixture
def network() -> GPT2LMHeadModel:
    return made()


def test_a_tall_output_is_scaled_up(network: GPT2LMHeadModel) -> None:
    block = network.transformer.h[0]
    assert Matrix(block.mlp.c_fc.weight, inputs_first=True).scales == [2.0]  # 16 → 64
    assert Matrix(block.mlp.c_proj.weight, inputs_first=True).scales == [1.0]
    assert Matrix(block.mlp.c_fc.weight, inputs_first=False).scales == [1.0]
    assert (
        Matrix(block.attn.c_attn.weight, inputs_first=True, sizes=(WIDTH,) * 3).scales == [1.0] * 3
    )


def test_matrices_of_the_blocks_are_muons_and_the_rest_is_adamws(network: GPT2LMHeadModel) -> None:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    kinds = weights_by_kind(network)
    matrices = {names[id(matrix.parameter)]: matrix.sizes for matrix in kinds.matrices}
    assert len(matrices) == 2 * 4
    assert matrices["transformer.h.1.attn.c_attn.weight"] == (WIDTH,) * 3
    assert matrices["transformer.h.1.mlp.c_fc.weight"] == ()
    embeddings = [names[id(parameter)] for parameter in kinds.embeddings]
    assert embeddings == ["transformer.wte.weight", "transformer.wpe.weight"]
    assert all("ln_" in names[id(p)] or names[id(p)].endswith("bias") for p in kinds.vectors)
    assert len(matrices) + len(embeddings) + len(kinds.vectors) == len(names)


def by_name(network: PreTrainedModel) -> tuple[dict[str, Matrix], Kinds, dict[int, str]]:
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    kinds = weights_by_kind(network)
    return {names[id(matrix.parameter)]: matrix for matrix in kinds.matrices}, kinds, names


def test_one_key_for_all_heads_is_a_matrix_of_its_own() -> None:
    matrices, _, _ = by_name(made("gpt_bigcode"))
    matrix = matrices["transformer.h.0.attn.c_attn.weight"]
    assert matrix.sizes == (WIDTH, WIDTH // 2, WIDTH // 2)
    assert matrix.order is None


def test_heads_that_have_q_k_and_v_each_are_put_together() -> None:
    network = made("gpt_bigcode", multi_query=False)
    matrix = by_name(network)[0]["transformer.h.1.attn.c_attn.weight"]
    weight = network.transformer.h[1].attn.c_attn.weight.detach()
    q, k, v = matrix.split(weight)
    heads = weight.view(2, 3, WIDTH // 2, WIDTH)  # as the class views them
    for part, expected in zip((q, k, v), heads.unbind(1), strict=True):
        assert torch.equal(part, expected.reshape(WIDTH, WIDTH))
    assert torch.equal(matrix.join([q, k, v]), weight)


@pytest.mark.parametrize(
    ("kind", "inputs_first"), [("mixtral", False), ("gpt_oss", True), ("aria_text", True)]
)
def test_each_experts_gate_is_a_matrix_of_its_own(kind: str, inputs_first: bool) -> None:
    network = made(kind)
    matrices, kinds, names = by_name(network)
    (name,) = [name for name in matrices if name.endswith("0.mlp.experts.gate_up_proj")]
    matrix, stack = matrices[name], network.get_parameter(name).detach()
    gate, up = matrix.split(stack)
    assert matrix.inputs_first == inputs_first
    width = stack.shape[-1 if inputs_first else -2] // 2
    assert (
        gate.shape
        == up.shape
        == (len(stack), *((WIDTH, width) if inputs_first else (width, WIDTH)))
    )
    expected = (
        stack[..., ::2] if kind == "gpt_oss" else stack.split(width, -1 if inputs_first else -2)[0]
    )
    assert torch.equal(gate, expected)
    assert torch.equal(matrix.join([gate, up]), stack)
    assert name.replace("gate_up", "down") in matrices
    if kind == "gpt_oss":  # biases of experts are two-dimensional
        assert any("down_proj_bias" in names[id(p)] for p in kinds.vectors)


@pytest.mark.parametrize(
    ("kind", "name"), [("mamba", "mixer.A_log"), ("rwkv", "attention.time_mix_key")]
)
def test_vectors_in_disguise_do_not_decay(kind: str, name: str) -> None:
    network = made(kind)
    _, kinds, names = by_name(network)
    vectors = {names[id(p)] for p in kinds.vectors}
    assert any(each.endswith(name) for each in vectors)
    assert not any(each.endswith(name) for p in kinds.embeddings for each in [names[id(p)]])
