"""How large a network is, and what training it costs."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from jagpt.errors import DataError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

    from jagpt.recipe import Recipe


MAX_HEADER = 100 << 20
"""Bytes: safetensors' own limit for a file's header."""


def parameter_count(network: nn.Module) -> int:
    """Number of weights; tied ones count once."""
    return sum(parameter.numel() for parameter in network.parameters())


def parameters_of(recipe: Recipe) -> int:
    """Weights of the recipe's network, tied embeddings counted once; nothing is allocated."""
    if recipe.model.type != "gpt2" or recipe.model.config:
        from jagpt.models import build

        return parameter_count(build.on_meta(recipe.model, recipe.tokenizer.vocab_size))
    width, layers = recipe.model.n_embd, recipe.model.n_layer
    block = 12 * width * width + 13 * width
    embeddings = (recipe.tokenizer.vocab_size + recipe.model.n_positions) * width
    return embeddings + layers * block + 2 * width


def flops_per_token(parameters: int, n_layer: int, n_embd: int, block_size: int) -> int:
    """Floating-point operations to train on one token, forward and backward.

    6N + 12 · n_layer · n_embd · T (Chowdhery et al. 2022, PaLM, appendix B).
    """
    return 6 * parameters + 12 * n_layer * n_embd * block_size


def flops_of(network: PreTrainedModel, block_size: int) -> int:
    """`flops_per_token` of a network."""
    config = network.config
    layers, width = int(config.num_hidden_layers), int(config.hidden_size)
    return flops_per_token(parameter_count(network), layers, width, block_size)


def count_parameters(path: Path) -> int:
    """Numbers in a safetensors file, read from its header; a tied output matrix counts once."""
    try:
        with path.open("rb") as handle:
            (length,) = struct.unpack("<Q", handle.read(8))
            if length > MAX_HEADER:
                raise ValueError(f"a header of {length:,} bytes")
            header = json.loads(handle.read(length))
        shapes = {
            name: [int(size) for size in entry["shape"]]
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: this safetensors file is damaged ({error})") from None
    output, embedding = shapes.get("lm_head.weight"), shapes.get("transformer.wte.weight")
    if output is not None and output == embedding:
        del shapes["lm_head.weight"]
    return sum(math.prod(shape) for shape in shapes.values())
