"""GPT-2's forward pass as a graph: the cache of keys and values goes in and out.

B batch, T new tokens, P tokens in the cache, H heads, D width of a head, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as f
from torch import Tensor, nn

from jagpt.formats.source import ModelSource


class DecoderGraph(nn.Module):
    """The network of a folder."""

    def __init__(self, source: ModelSource) -> None:
        super().__init__()
        network: Any = source.network
        self.body = network.transformer
        self.head = network.lm_head
        self.n_head, self.width = source.n_head, source.n_embd

    def forward(
        self,
        input_ids: Tensor,  # (B, T)
        attention_mask: Tensor,  # (B, P + T)
        position_ids: Tensor,  # (B, T)
        past: list[Tensor],  # 2 · n_layer of (B, H, P, D)
    ) -> tuple[Tensor, ...]:
        """Logits (B, T, V), and the cache (B, H, P + T, D) as it is now."""
        body = self.body
        bias = _bias(attention_mask, input_ids.shape[1], past[0].shape[2])
        x = body.wte(input_ids) + body.wpe(position_ids)  # (B, T, n_embd)
        present: list[Tensor] = []
        for number, block in enumerate(body.h):
            attended, keys, values = self._attended(
                block, block.ln_1(x), bias, past[2 * number], past[2 * number + 1]
            )
            present += [keys, values]
            x = x + attended
            hidden = f.gelu(_linear(block.mlp.c_fc, block.ln_2(x)), approximate="tanh")
            x = x + _linear(block.mlp.c_proj, hidden)
        return (self.head(body.ln_f(x)), *present)

    def _attended(
        self, block: Any, x: Tensor, bias: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        batch, new, _ = x.shape
        size = self.width // self.n_head
        heads = (
            part.reshape(batch, new, self.n_head, size).transpose(1, 2)
            for part in _linear(block.attn.c_attn, x).split(self.width, -1)
        )
        query, key, value = heads  # (B, H, T, D)
        keys = torch.cat([keys, key], 2)
        values = torch.cat([values, value], 2)
        scores = query @ keys.transpose(2, 3) * size**-0.5 + bias  # (B, H, T, P + T)
        mixed = torch.softmax(scores, -1) @ values
        merged = mixed.transpose(1, 2).reshape(batch, new, self.width)
        return _linear(block.attn.c_proj, merged), keys, values


def _linear(layer: Any, x: Tensor) -> Tensor:
    """Conv1D stores (in, out)."""
    projected: Tensor = x @ layer.weight + layer.bias
    return projected


def _bias(attention_mask: Tensor, new: int, cached: int) -> Tensor:
    """(B, 1, T, P + T): 0 where a token may attend, very low where it may not."""
    positions = torch.arange(cached + new)
    earlier = positions[None, :] <= torch.arange(new)[:, None] + cached
    allowed = earlier[None, None] & (attention_mask != 0)[:, None, None, :]
    return torch.where(allowed, 0.0, torch.finfo(torch.float32).min)
