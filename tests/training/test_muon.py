from __future__ import annotations

import pytest
import torch
from tiny_training import train_section
from torch import Tensor
from transformers import GPT2LMHeadModel

from jagpt import recipe
from jagpt.models import build
from jagpt.training.matrices import Matrix
from jagpt.training.muon import COEFFICIENTS, Muon, orthogonalized
from jagpt.training.optimizers import (
    learning_rates,
    make_optimizer,
    set_learning_rate,
)

WIDTH = 16


@pytest.fixture
def network() -> GPT2LMHeadModel:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=WIDTH, n_positions=8)
    return build.network(shape, 40, build.SpecialIds(2, 3, 0), 0)


def naive(matrix: Tensor) -> Tensor:
    """The published iteration in fp64, on (out, in) as `torch.nn.Linear` stores it."""
    a, b, c = COEFFICIENTS
    x = matrix.double() / matrix.double().norm()
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def naive_steps(weight: Tensor, gradients: list[Tensor], lr: float, decay: float) -> Tensor:
    """Muon as its author's code has it, on one matrix (out, in)."""
    momentum = torch.zeros_like(weight)
    for gradient in gradients:
        momentum = 0.95 * momentum + 0.05 * gradient
        update = naive(0.05 * gradient + 0.95 * momentum)
        rows, columns = weight.shape
        weight = weight * (1 - lr * decay) - lr * max(1, rows / columns) ** 0.5 * update
    return weight


@pytest.mark.parametrize("shape", [(8, 8), (8, 24), (24, 8)])
def test_singular_values_come_near_one(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    values = torch.linalg.svdvals(orthogonalized(matrix, torch.float32))
    assert values.min() > 0.5
    assert values.max() < 1.3
    torch.testing.assert_close(orthogonalized(matrix, torch.float32), naive(matrix).float())
    rough = orthogonalized(matrix, torch.bfloat16).float()
    assert (rough - naive(matrix).float()).norm() < 0.1 * rough.norm()


def test_each_of_a_stack_is_orthogonalized_for_itself() -> None:
    torch.manual_seed(0)
    stack = torch.randn(3, 8, 24)
    for dtype in (torch.float32, torch.bfloat16):
        found = orthogonalized(stack, dtype)
        for single, matrix in zip(found, stack, strict=True):
            torch.testing.assert_close(single, orthogonalized(matrix, dtype))
    assert not orthogonalized(torch.zeros(2, 8, 8), torch.float32).any()  # experts without tokens


def test_outputs_between_each_other_are_matrices_of_their_own() -> None:
    """K is smaller than Q, and so is its step; its rows lie between Q's."""
    weight = torch.nn.Parameter(torch.randn(12, 4))
    order = torch.tensor([0, 1, 3, 4, 6, 7, 9, 10, 2, 5, 8, 11])
    matrix = Matrix(weight, inputs_first=False, sizes=(8, 4), order=order)
    rest = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    muon = Muon([matrix], rest, lr=0.1, weight_decay=0.0, momentum=0.95, dtype=torch.float32)
    before, weight.grad = weight.detach().clone(), torch.randn(12, 4)
    gradient = weight.grad.clone()
    muon.step()
    for places in (order[:8], order[8:]):
        expected = naive_steps(before[places].double(), [gradient[places].double()], 0.1, 0.0)
        torch.testing.assert_close(weight.detach()[places].double(), expected, rtol=1e-4, atol=1e-5)


def test_a_fused_conv1d_is_updated_as_three_linear_matrices(network: GPT2LMHeadModel) -> None:
    weight = network.transformer.h[1].attn.c_attn.weight  # (in, 3 · out)
    train = train_section(optimizer="muon", muon_weight_decay=0.3, precision="fp32")
    optimizer = make_optimizer(train, network)
    before = weight.detach().double().clone()
    torch.manual_seed(1)
    gradients = [torch.randn_like(weight) for _ in range(3)]
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    for part in range(3):
        columns = slice(part * WIDTH, (part + 1) * WIDTH)
        single = [gradient[:, columns].T.double() for gradient in gradients]
        expected = naive_steps(before[:, columns].T, single, 0.02, 0.3).T
        torch.testing.assert_close(
            weight.detach()[:, columns].double(), expected, rtol=1e-4, atol=1e-5
        )


def test_each_group_has_its_own_rate_and_decay(network: GPT2LMHeadModel) -> None:
    train = train_section(
        optimizer="muon", learning_rate=3e-3, muon_learning_rate=0.03, weight_decay=0.2
    )
    optimizer = make_optimizer(train, network)
    assert isinstance(optimizer, Muon)
    set_learning_rate(optimizer, 1.5e-3)
    rates = {"matrices": 0.015, "embeddings": 1.5e-3, "vectors": 1.5e-3}
    assert learning_rates(optimizer) == pytest.approx(rates)
    assert {group["lr"] for group in optimizer.rest.param_groups} == {1.5e-3}
    decays = {group["name"]: group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {"matrices": 0.1, "embeddings": 0.2, "vectors": 0.0}


def test_all_state_stands_under_its_weight(network: GPT2LMHeadModel) -> None:
    optimizer = make_optimizer(train_section(optimizer="muon"), network)
    ids = torch.arange(16).reshape(2, 8)
    network(ids, labels=ids).loss.backward()
    optimizer.step()
    slots = {name: set(optimizer.state[p]) for name, p in network.named_parameters()}
    assert slots["transformer.h.0.mlp.c_fc.weight"] == {"momentum"}
    assert slots["transformer.wte.weight"] == {"step", "exp_avg", "exp_avg_sq"}
    assert set(map(frozenset, slots.values())) == {
        frozenset({"momentum"}),
        frozenset({"step", "exp_avg", "exp_avg_sq"}),
    }
