"""An ONNX graph with a key-value cache, by PyTorch's dynamo exporter.

Inputs and outputs have the names and shapes of Optimum's decoders (B batch, T new tokens, P tokens
in the cache, H heads, D width of a head, V vocabulary), so that its classes and transformers.js
read the folder too (4.x knows the dimensions only by Optimum's names):

    input_ids (B, T), attention_mask (B, P + T), position_ids (B, T)    int64
    past_key_values.N.key and .value (B, H, P, D)                       float32
    logits (B, T, V), present.N.key and .value (B, H, P + T, D)         float32

Two smaller files are made from that graph, under the names that transformers.js looks for: weights
in fp16, and in 8 bits (the default in browsers). Inputs and outputs stay the same.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jagpt.formats.bounds import Parity
from jagpt.formats.source import ModelSource
from jagpt.models.quiet import quiet

WEIGHTS = "model.onnx"
SMALLER = {"fp16": "model_fp16.onnx", "int8": "model_quantized.onnx"}
BATCH, NEW, CACHED = "batch_size", "sequence_length", "past_sequence_length"
OPSET = 18
EXTERNAL_BYTES = 1_800_000_000
"""Larger weights go into `model.onnx_data` beside the graph: protocol buffers are limited to 2
GiB.
"""


def write(source: ModelSource, folder: Path, precision: str = "fp32") -> None:
    """The graph, and what Optimum's classes read besides it."""
    if precision in SMALLER:
        with graph_of(source, folder.parent / "onnx") as graph:
            _write_smaller(graph, folder / SMALLER[precision], precision)
    else:
        _write_graph(source, folder)
    source.copy_config(folder)
    source.copy_tokenizer(folder)


@contextmanager
def graph_of(source: ModelSource, sibling: Path) -> Iterator[Path]:
    """The ONNX graph of the same model: the one exported alongside, or a temporary one."""
    parity = Parity.find(sibling)
    if parity is not None and parity.source == source.fingerprint:
        yield sibling / WEIGHTS
        return
    with tempfile.TemporaryDirectory(prefix="jagpt-onnx-") as place:
        _write_graph(source, Path(place))
        yield Path(place) / WEIGHTS


def _write_graph(source: ModelSource, folder: Path) -> None:
    program = _exported(source)
    with quiet("torch.onnx"), warnings.catch_warnings(action="ignore"):
        program.save(folder / WEIGHTS, external_data=4 * _weights(source) > EXTERNAL_BYTES)
    _rename_data(folder)


def _write_smaller(graph: Path, target: Path, precision: str) -> None:
    with quiet("root"), warnings.catch_warnings(action="ignore"):
        if precision == "fp16":
            import onnx
            from onnxruntime.transformers.float16 import convert_float_to_float16

            halved = convert_float_to_float16(onnx.load(graph), keep_io_types=True)
            onnx.save(halved, target)
        else:
            from onnxruntime.quantization import QuantType, quantize_dynamic

            # 7 bits: processors without VNNI add 8-bit products in 16 bits, which overflow
            quantize_dynamic(
                graph, target, weight_type=QuantType.QInt8, per_channel=True, reduce_range=True
            )


def cache_names(n_layer: int, prefix: str) -> list[str]:
    """Names of the cache's tensors, layer by layer."""
    return [f"{prefix}.{layer}.{kind}" for layer in range(n_layer) for kind in ("key", "value")]


def _weights(source: ModelSource) -> int:
    return sum(array.size for array in source.tensors.values())


def _exported(source: ModelSource) -> Any:
    import torch
    from torch.export import Dim

    from jagpt.formats.decoder_graph import DecoderGraph

    batch, sequence, past = Dim(BATCH), Dim(NEW), Dim(CACHED)
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
    _name_dimensions(program.model.graph)
    for node in program.model.graph:  # the metadata that says which source line each node came from
        node.metadata_props.clear()
    return program


def _name_dimensions(graph: Any) -> None:
    """Optimum's name for what the mask spans; the exporter invents its own."""
    import onnx_ir

    (mask,) = (each for each in graph.inputs if each.name == "attention_mask")
    mask.shape = onnx_ir.Shape([BATCH, f"{CACHED} + {NEW}"])


def _rename_data(folder: Path) -> None:
    """The exporter's `model.onnx.data` under Optimum's name for it."""
    import onnx

    data = folder / f"{WEIGHTS}.data"
    if not data.is_file():
        return
    graph = onnx.load(folder / WEIGHTS)
    data.unlink()
    onnx.save(graph, folder / WEIGHTS, save_as_external_data=True, location=f"{WEIGHTS}_data")
