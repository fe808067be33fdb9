from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from jagpt.training.cpu import attention
from jagpt.training.cpu.attention import causal_attention
from jagpt.training.cpu.dropout import Drop

B, H, T, D = 2, 3, 40, 8


def heads(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (B, H, T, D)
    made = [torch.randn(shape, generator=generator, dtype=torch.float32) for _ in range(4)]
    return [tensor.to(dtype).requires_grad_() for tensor in made]


def whole_mask(drop: Drop) -> Tensor:
    """What is kept of all probabilities (B·H, T, T), put together from the tiles."""
    kept = torch.zeros(B * H, T, T)
    for tile in attention._tiles(torch.empty(B * H, T, D), drop):
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
