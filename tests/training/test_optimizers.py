from __future__ import annotations

import pytest
import torch
from tiny_training import train_section

from jagpt import recipe
from jagpt.models import build
from jagpt.training.optimizers import (
    gradient_norm,
    make_optimizer,
    set_learning_rate,
)


@pytest.fixture
def network() -> torch.nn.Module:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=16, n_positions=8)
    return build.network(shape, 40, build.SpecialIds(2, 3, 0), 0)


def test_matrices_and_embeddings_decay_and_vectors_do_not(network: torch.nn.Module) -> None:
    optimizer = make_optimizer(train_section(weight_decay=0.3), network)
    names = {parameter: name for name, parameter in network.named_parameters()}
    groups = {group["name"]: group for group in optimizer.param_groups}
    decays = {name: group["weight_decay"] for name, group in groups.items()}
    assert decays == {"matrices": 0.3, "embeddings": 0.3, "vectors": 0.0}
    plain = [names[p] for p in groups["vectors"]["params"]]
    assert all("ln_" in name or name.endswith("bias") for name in plain)
    assert "transformer.wte.weight" in {names[p] for p in groups["embeddings"]["params"]}
    assert sum(len(group["params"]) for group in groups.values()) == len(names)


@pytest.mark.parametrize("name", ["adamw", "adam"])
def test_an_optimizer_step_is_that_of_the_paper(name: str) -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    decay = 0.1 if name == "adamw" else 0.0
    train = train_section(optimizer=name, weight_decay=decay, learning_rate=0.01, epsilon=1e-8)
    optimizer = make_optimizer(train, layer)
    set_learning_rate(optimizer, 0.02)
    before = layer.weight.detach().clone()
    layer.weight.grad = torch.tensor([[3.0, -5.0]])
    optimizer.step()
    expected = before * (1 - 0.02 * decay) - 0.02 * torch.tensor([[1.0, -1.0]])
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_the_norm_is_told_as_it_was_before_clipping() -> None:
    layer = torch.nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    assert gradient_norm(layer, None).item() == 5.0
    assert layer.bias.grad.item() == 4.0
    assert gradient_norm(layer, 1.0).item() == 5.0
    torch.testing.assert_close(layer.bias.grad, torch.tensor([0.8]), rtol=1e-5, atol=0)
