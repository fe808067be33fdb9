"""An ONNX graph with a key-value cache, by PyTorch's dynamo exporter.

Inputs and outputs have the names and shapes of Optimum's decoders (B batch, T new tokens, P tokens
in the cache, H heads, D width of a head, V vocabulary), so that its classes and transformers.js
read the folder too:

    input_ids (B, T), attention_mask (B, P + T), position_ids (B, T)    int64
    past_key_values.N.key and .value (B, H, P, D)                       float32
    logits (B, T, V), present.N.key and .value (B, H, P + T, D)         float32
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.export.source import Source
from jagpt.models.quiet import quiet

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "model.onnx"
OPSET = 18
EXTERNAL_BYTES = 1_800_000_000
"""Larger weights go into `model.onnx_data` beside the graph: protocol buffers end at 2 GiB."""


def write(source: Source, folder: Path) -> None:
    """`model.onnx` and what Optimum's classes read beside it."""
    source.check_plain("onnx")
    program = _exported(source)
    with quiet("torch.onnx"), warnings.catch_warnings(action="ignore"):
        program.save(folder / WEIGHTS, external_data=4 * _weights(source) > EXTERNAL_BYTES)
    _rename_data(folder)
    source.copy_config(folder)
    source.copy_tokenizer(folder)


def cache_names(n_layer: int, prefix: str) -> list[str]:
    """Names of the cache's tensors, layer by layer."""
    return [f"{prefix}.{layer}.{kind}" for layer in range(n_layer) for kind in ("key", "value")]


def _weights(source: Source) -> int:
    return sum(array.size for array in source.tensors.values())


def _exported(source: Source) -> Any:
    import torch
    from torch.export import Dim

    batch, sequence, past = Dim("batch"), Dim("sequence"), Dim("past")
    names = cache_names(source.n_layer, "past_key_values")
    cache = torch.zeros(2, source.n_head, 5, source.n_embd // source.n_head)
    arguments = (
        torch.ones(2, 3, dtype=torch.long),
        torch.ones(2, 8, dtype=torch.long),
        torch.arange(5, 8).repeat(2, 1),
        [cache.clone() for _ in names],
    )
    with quiet("torch.onnx"), warnings.catch_warnings(action="ignore"):
        return torch.onnx.export(
            _decoder(source),
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=["input_ids", "attention_mask", "position_ids", *names],
            output_names=["logits", *cache_names(source.n_layer, "present")],
            dynamic_shapes=(
                {0: batch, 1: sequence},
                {0: batch, 1: Dim.DYNAMIC},
                {0: batch, 1: sequence},
                [{0: batch, 2: past} for _ in names],
            ),
            verbose=False,
        )


def _decoder(source: Source) -> nn.Module:
    """GPT-2's forward pass on the folder's weights, the cache as plain tensors."""
    import torch
    import torch.nn.functional as f
    from torch import Tensor, nn

    n_head, width = source.n_head, source.n_embd
    scale = (width // n_head) ** -0.5

    def linear(layer: Any, x: Tensor) -> Tensor:  # Conv1D stores (in, out)
        projected: Tensor = x @ layer.weight + layer.bias
        return projected

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            network: Any = source.network
            self.body = network.transformer
            self.head = network.lm_head

        def forward(
            self,
            input_ids: Tensor,  # (B, T)
            attention_mask: Tensor,  # (B, P + T)
            position_ids: Tensor,  # (B, T)
            past: list[Tensor],  # 2 · n_layer of (B, H, P, D)
        ) -> tuple[Tensor, ...]:
            body = self.body
            bias = self.bias(attention_mask, input_ids.shape[1], past[0].shape[2])
            x = body.wte(input_ids) + body.wpe(position_ids)  # (B, T, n_embd)
            present: list[Tensor] = []
            for number, block in enumerate(body.h):
                attended, keys, values = self.attend(
                    block, block.ln_1(x), bias, past[2 * number], past[2 * number + 1]
                )
                present += [keys, values]
                x = x + attended
                hidden = f.gelu(linear(block.mlp.c_fc, block.ln_2(x)), approximate="tanh")
                x = x + linear(block.mlp.c_proj, hidden)
            return (self.head(body.ln_f(x)), *present)

        @staticmethod
        def bias(attention_mask: Tensor, new: int, cached: int) -> Tensor:
            """(B, 1, T, P + T): 0 where a token may look, very low where it may not."""
            positions = torch.arange(cached + new)
            earlier = positions[None, :] <= torch.arange(new)[:, None] + cached
            allowed = earlier[None, None] & (attention_mask != 0)[:, None, None, :]
            return torch.where(allowed, 0.0, torch.finfo(torch.float32).min)

        @staticmethod
        def attend(
            block: Any, x: Tensor, bias: Tensor, keys: Tensor, values: Tensor
        ) -> tuple[Tensor, Tensor, Tensor]:
            batch, new, _ = x.shape
            heads = (
                part.reshape(batch, new, n_head, width // n_head).transpose(1, 2)
                for part in linear(block.attn.c_attn, x).split(width, -1)
            )
            query, key, value = heads  # (B, H, T, D)
            keys = torch.cat([keys, key], 2)
            values = torch.cat([values, value], 2)
            scores = query @ keys.transpose(2, 3) * scale + bias  # (B, H, T, P + T)
            mixed = torch.softmax(scores, -1) @ values
            merged = mixed.transpose(1, 2).reshape(batch, new, width)
            return linear(block.attn.c_proj, merged), keys, values

    return Decoder().eval()


def _rename_data(folder: Path) -> None:
    """The exporter's `model.onnx.data` under the name that Optimum gives it."""
    import onnx

    data = folder / f"{WEIGHTS}.data"
    if not data.is_file():
        return
    graph = onnx.load(folder / WEIGHTS)
    data.unlink()
    onnx.save(graph, folder / WEIGHTS, save_as_external_data=True, location=f"{WEIGHTS}_data")
