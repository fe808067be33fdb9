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
from typing import Any

from jagpt.formats.source import ModelSource
from jagpt.models.quiet import quiet

WEIGHTS = "model.onnx"
OPSET = 18
EXTERNAL_BYTES = 1_800_000_000
"""Larger weights go into `model.onnx_data` beside the graph: protocol buffers end at 2 GiB."""


def write(source: ModelSource, folder: Path) -> None:
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


def _weights(source: ModelSource) -> int:
    return sum(array.size for array in source.tensors.values())


def _exported(source: ModelSource) -> Any:
    import torch
    from torch.export import Dim

    from jagpt.formats.decoder_graph import DecoderGraph

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
        program: Any = torch.onnx.export(
            DecoderGraph(source).eval(),
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
    for node in program.model.graph:  # what says from which line of which file here each came
        node.metadata_props.clear()
    return program


def _rename_data(folder: Path) -> None:
    """The exporter's `model.onnx.data` under the name that Optimum gives it."""
    import onnx

    data = folder / f"{WEIGHTS}.data"
    if not data.is_file():
        return
    graph = onnx.load(folder / WEIGHTS)
    data.unlink()
    onnx.save(graph, folder / WEIGHTS, save_as_external_data=True, location=f"{WEIGHTS}_data")
