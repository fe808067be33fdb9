"""One call adapts a network to a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from jagpt import recipe
from jagpt.models import build
from jagpt.training import cpu
from jagpt.training.cpu.dropout import Drop
from jagpt.training.cpu.gelu import CachedGelu

T = 40


def made() -> GPT2LMHeadModel:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=16, n_positions=T, dropout=0.1)
    return build.network(shape, 40, build.SpecialIds(2, 3, 0), 0)


def test_a_network_keeps_its_class_weights_and_function() -> None:
    network, plain = made(), made()
    cpu.adapt(network, learns=True)
    assert type(network) is GPT2LMHeadModel
    assert network.state_dict().keys() == plain.state_dict().keys()
    ids = torch.arange(T)[None] % 40
    torch.testing.assert_close(network.eval()(ids).logits, plain.eval()(ids).logits)
    assert "jagpt" not in str(network.config.to_dict())


def test_all_three_dropouts_of_gpt2_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made().train()
    cpu.adapt(network, learns=True)
    drawn: list[int] = []
    draw = Drop.mask
    monkeypatch.setattr(
        Drop,
        "mask",
        lambda self, count, generator: drawn.append(count) or draw(self, count, generator),
    )
    network(torch.arange(T)[None] % 40)
    hidden = 5 * T * 16  # embeddings; each block's attention and MLP
    tiles = 2 * (16 * 16 + 16 * 32 + 8 * 40)  # a block's two heads
    assert sum(drawn) == hidden + 2 * tiles
    assert not any(type(module) is nn.Dropout for module in network.modules())


def test_a_network_that_is_not_training_drops_nothing() -> None:
    shape = recipe.Model(n_layer=1, n_head=2, n_embd=16, n_positions=T, dropout=0.5)
    network = build.network(shape, 40, build.SpecialIds(2, 3, 0), 0).eval()
    ids = torch.randint(0, 40, (2, T), generator=torch.Generator().manual_seed(0))
    expected = network(ids).logits
    cpu.adapt(network, learns=False)
    torch.testing.assert_close(network(ids).logits, expected)


def test_a_network_that_does_not_learn_has_gelu_without_tanh() -> None:
    network = GPT2LMHeadModel(GPT2Config(n_layer=1, n_head=2, n_embd=16)).eval()
    ids = torch.arange(T)[None]
    with torch.inference_mode():
        expected = network(ids).logits
        cpu.adapt(network, learns=False)
        assert any(isinstance(module, CachedGelu) for module in network.modules())
        torch.testing.assert_close(network(ids).logits, expected)
