"""GPT-2's decoder in bare PyTorch, as small loops have it: what a compiler can do at its best.

Written for the comparison; layers and sizes are GPT-2's (Radford et al. 2019), without dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from training_sides import Shape


class Block(nn.Module):
    """Attention and MLP, each behind a norm and added to what came in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, T, D) → (B, T, D)."""
        batch, length, width = hidden.shape
        split = self.c_attn(self.ln_1(hidden)).view(batch, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (B, H, T, D / H)
        mixed = scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.c_proj(mixed.transpose(1, 2).reshape(batch, length, width))
        grown = gelu(self.c_fc(self.ln_2(hidden)), approximate="tanh")
        added: Tensor = hidden + self.mlp_proj(grown)
        return added


class Decoder(nn.Module):
    """Tokens (B, T) → logits (B, T, V); the output matrix is the embeddings'."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.wte = nn.Embedding(shape.vocab_size, shape.n_embd)
        self.wpe = nn.Embedding(shape.block_size, shape.n_embd)
        blocks = (Block(shape.n_embd, shape.n_head) for _ in range(shape.n_layer))
        self.blocks = nn.Sequential(*blocks)
        self.ln_f = nn.LayerNorm(shape.n_embd)
        for weight in (self.wte.weight, self.wpe.weight):
            nn.init.normal_(weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1], device=ids.device)
        hidden = self.ln_f(self.blocks(self.wte(ids) + self.wpe(places)))
        logits: Tensor = hidden @ self.wte.weight.T
        return logits
