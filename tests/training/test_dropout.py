from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from jagpt import recipe
from jagpt.models import build
from jagpt.training import dropout
from jagpt.training.dropout import CheapDropout, Drop, causal_attention, make_cheap

B, H, T, D = 2, 3, 40, 8


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles of each kind even for short sequences."""
    monkeypatch.setattr(dropout, "TILE_QUERIES", 16)
    monkeypatch.setattr(dropout, "TILE_ELEMENTS", 2 * 16 * T)


def heads(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (B, H, T, D)
    made = [torch.randn(shape, generator=generator, dtype=torch.float32) for _ in range(4)]
    return [tensor.to(dtype).requires_grad_() for tensor in made]


def whole_mask(drop: Drop) -> Tensor:
    """What is kept of all probabilities (B·H, T, T), put together from the tiles."""
    kept = torch.zeros(B * H, T, T)
    for tile in dropout._tiles(torch.empty(B * H, T, D), drop):
        assert tile.mask is not None
        kept[tile.heads, tile.queries, tile.keys] = (tile.mask != 0).float()
    return kept.view(B, H, T, T)


def naive(query: Tensor, key: Tensor, value: Tensor, kept: Tensor, scale: float) -> Tensor:
    scores = query @ key.mT * D**-0.5
    later = torch.ones(T, T, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -math.inf).softmax(-1)
    return (weights * kept * scale) @ value


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_attention_and_its_gradients_are_those_of_the_definition(share: float) -> None:
    query, key, value, slope = heads(0)
    drop = Drop.of(share) if share else None
    kept = whole_mask(drop) if drop else torch.ones(B, H, T, T)
    expected = naive(query, key, value, kept, drop.scale if drop else 1.0)
    theirs = torch.autograd.grad(expected, (query, key, value), slope)
    out = causal_attention(query, key, value, D**-0.5, drop)
    ours = torch.autograd.grad(out, (query, key, value), slope)
    for found, wanted in zip((out, *ours), (expected, *theirs), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_attention_in_bf16_is_as_near_as_bf16_allows() -> None:
    query, key, value, slope = heads(1, torch.bfloat16)
    single = [tensor.detach().float().requires_grad_() for tensor in (query, key, value)]
    expected = F.scaled_dot_product_attention(*single, is_causal=True)
    theirs = torch.autograd.grad(expected, single, slope.float())
    out = causal_attention(query, key, value, D**-0.5)
    ours = torch.autograd.grad(out, (query, key, value), slope)
    for found, wanted in zip((out, *ours), (expected, *theirs), strict=True):
        assert found.dtype == torch.bfloat16
        assert (found.float() - wanted).norm() < 0.01 * wanted.norm()


def test_every_probability_is_dropped_alike_and_for_itself() -> None:
    masks = torch.stack([whole_mask(Drop.of(0.25)) for _ in range(400)])
    shares = masks.mean(0)[..., torch.ones(T, T, dtype=torch.bool).tril()]
    deviation = math.sqrt(0.25 * 0.75 / 400)
    assert abs(shares.mean() - 0.75) < 0.002
    assert (shares - 0.75).abs().max() < 5.5 * deviation
    below = masks[:, 0, 0, -1]  # (400, T): one row, of which all is seen
    together = torch.corrcoef(below.T).fill_diagonal_(0)
    assert together.abs().max() < 5.5 / math.sqrt(400)
    heads_apart = torch.corrcoef(masks[..., -1, :].permute(1, 2, 0, 3).reshape(B * H, -1))
    assert heads_apart.fill_diagonal_(0).abs().max() < 0.05


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hidden_dropout_has_the_share_the_mean_and_the_gradient(dtype: torch.dtype) -> None:
    values = torch.ones(1001, 333, dtype=dtype, requires_grad=True)
    result = CheapDropout(0.1)(values)
    kept = result != 0
    assert kept.float().mean().item() == pytest.approx(0.9, abs=0.002)
    assert result.float().mean().item() == pytest.approx(1.0, abs=0.005)
    assert len(result[kept].unique()) == 1
    neighbours = torch.corrcoef(
        torch.stack([kept[:, i::4].float()[:, :83].flatten() for i in range(4)])
    )
    assert neighbours.fill_diagonal_(0).abs().max() < 0.02
    result.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, result.detach())


def test_the_same_seed_draws_the_same_and_the_next_call_another() -> None:
    layer, values = CheapDropout(0.5), torch.ones(64, 64)
    torch.manual_seed(3)
    first, second = layer(values), layer(values)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(values), values)


def made() -> GPT2LMHeadModel:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=16, n_positions=T, dropout=0.1)
    return build.network(shape, 40, build.SpecialIds(2, 3, 0), 0)


def test_a_network_keeps_its_class_weights_and_function() -> None:
    network, plain = made(), made()
    make_cheap(network)
    assert type(network) is GPT2LMHeadModel
    assert network.state_dict().keys() == plain.state_dict().keys()
    ids = torch.arange(T)[None] % 40
    torch.testing.assert_close(network.eval()(ids).logits, plain.eval()(ids).logits)
    assert "jagpt" not in str(network.config.to_dict())


def test_all_three_dropouts_of_gpt2_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    network = made().train()
    make_cheap(network)
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
    make_cheap(network)
    torch.testing.assert_close(network(ids).logits, expected)
