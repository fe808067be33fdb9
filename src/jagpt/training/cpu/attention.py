"""Causal attention that a CPU can afford, with dropout or without.

With dropout, PyTorch falls back from its flash kernel to one that keeps every probability of every
head. Here attention runs tile by tile, forward and backward, so that its probabilities never
leave the cache; without dropout the tiles' matrix products are still faster than the flash kernel
in bf16.

Shapes: B batch, H heads, T tokens, D width of a head, G heads of a tile, Q queries of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from jagpt.training.cpu.dropout import Drop, apply_mask

NAME = "jagpt_tiled"
"""The name under which transformers finds the attention of this module."""
TILE_QUERIES = 128
TILE_ELEMENTS = 1 << 22
"""About how many probabilities a tile has: a few MB, which stay in the shared cache."""


def register() -> None:
    """Register `attention` with transformers as `NAME`."""
    ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Causal attention with transformers' interface; sdpa if a mask is given or if it is faster."""
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        query, key, value = query.to(kind), key.to(kind), value.to(kind)
    plain = attention_mask is None and query.shape == key.shape == value.shape
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    worth_it = dropout > 0.0 or query.dtype == torch.bfloat16
    if not (plain and causal and worth_it):
        sdpa = ALL_ATTENTION_FUNCTIONS["sdpa"]
        result: tuple[Tensor, None] = sdpa(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
        return result
    scale = 1 / math.sqrt(query.shape[-1]) if scaling is None else scaling
    drop = Drop.of(dropout) if dropout > 0.0 else None
    out = causal_attention(query, key, value, scale, drop)
    return out.transpose(1, 2), None


def causal_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, drop: Drop | None = None
) -> Tensor:
    """Dropout(softmax(scale · query · keyᵀ + causal mask)) · value, all (B, H, T, D)."""
    result: Tensor = _CausalAttention.apply(query, key, value, scale, drop)  # type: ignore[no-untyped-call]
    return result


@dataclass(frozen=True)
class _Tile:
    """Some heads' queries, and the keys up to the last of them."""

    heads: slice
    queries: slice
    keys: slice
    mask: Tensor | None


class _CausalAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, drop: Drop | None
    ) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            q, k, v = (_flat(t) for t in (query, key, value))
            out = torch.empty_like(v)
            for tile in _tiles(q, drop):
                weights = _weights(q, k, tile, scale)
                apply_mask(weights, tile.mask)
                out[tile.heads, tile.queries] = weights @ v[tile.heads, tile.keys]
            if drop is not None:
                out.mul_(drop.scale)
            out = out.view(query.shape).transpose(1, 2).contiguous()
        ctx.save_for_backward(query, key, value)
        ctx.scale, ctx.drop = scale, drop
        return out.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            query, key, value = ctx.saved_tensors
            q, k, v, given = (_flat(t) for t in (query, key, value, gradients[0]))
            slopes = _slopes(q, k, v, given, ctx.scale, ctx.drop)
            q, k, v = (slope.to(query.dtype).view(query.shape) for slope in slopes)
            return q, k, v, None, None


def _slopes(
    q: Tensor, k: Tensor, v: Tensor, given: Tensor, scale: float, drop: Drop | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v, from the gradient `given` of attention's result, all (B·H, T, D).

    Probabilities are recomputed, with the same dropout draw, rather than kept (Dao
    2023, arXiv:2307.08691).
    """
    if drop is not None:
        given = given * drop.scale
    q_slope = torch.empty_like(q)
    k_slope, v_slope = torch.zeros(k.shape), torch.zeros(v.shape)  # fp32: sums over tiles
    for tile in _tiles(q, drop):
        heads, queries, keys = tile.heads, tile.queries, tile.keys
        weights = _weights(q, k, tile, scale)
        slope = given[heads, queries] @ v[heads, keys].mT
        apply_mask(slope, tile.mask)
        slope = torch.ops.aten._softmax_backward_data(slope, weights, -1, weights.dtype)
        apply_mask(weights, tile.mask)
        v_slope[heads, keys] += weights.mT @ given[heads, queries]
        q_slope[heads, queries] = slope @ k[heads, keys]
        k_slope[heads, keys] += slope.mT @ q[heads, queries]
    return q_slope.mul_(scale), k_slope.mul_(scale), v_slope


def _flat(tensor: Tensor) -> Tensor:
    """(B, H, T, D) → (B·H, T, D), contiguous."""
    return tensor.reshape(-1, *tensor.shape[-2:]).contiguous()


def _tiles(query: Tensor, drop: Drop | None) -> Iterator[_Tile]:
    """Tiles that cover the lower triangle, always in the same order with the same bits."""
    heads, length, _ = query.shape
    generator = drop.generator() if drop is not None else None
    together = max(1, TILE_ELEMENTS // (length * min(length, TILE_QUERIES)))
    for head in range(0, heads, together):
        some = slice(head, min(head + together, heads))
        for start in range(0, length, TILE_QUERIES):
            stop = min(start + TILE_QUERIES, length)
            shape = (some.stop - some.start, stop - start, stop)
            mask = None
            if drop is not None and generator is not None:
                mask = drop.mask(math.prod(shape), generator).view(shape)
            yield _Tile(some, slice(start, stop), slice(0, stop), mask)


def _weights(query: Tensor, key: Tensor, tile: _Tile, scale: float) -> Tensor:
    """Attention's probabilities of a tile (G, Q, keys), before dropout."""
    some, others = query[tile.heads, tile.queries], key[tile.heads, tile.keys].mT
    unread = some.new_empty(()).expand(*some.shape[:2], others.shape[2])
    scores = torch.baddbmm(unread, some, others, beta=0, alpha=scale)
    count = scores.shape[1]
    later = torch.ones(count, count, dtype=torch.bool).triu_(1)
    scores[:, :, -count:].masked_fill_(later, -math.inf)
    return torch.softmax(scores, dim=-1)
