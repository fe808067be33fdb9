"""A CTranslate2 folder, its specification filled directly from the weights; fp32 or int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.formats.source import ModelSource
from jagpt.runtimes.ctranslate2 import prefer_exact_sums

if TYPE_CHECKING:
    from jagpt.formats.source import Array

WEIGHTS = "model.bin"


def write(source: ModelSource, folder: Path, quantization: str) -> None:
    """`model.bin`, CTranslate2's `config.json`, its vocabulary, and the tokenizer's own files."""
    prefer_exact_sums()
    from ctranslate2.specs import common_spec, transformer_spec

    spec = transformer_spec.TransformerDecoderModelSpec.from_config(
        source.n_layer, source.n_head, pre_norm=True, activation=common_spec.Activation.GELUTanh
    )
    _fill(spec.decoder, source)
    pieces = source.pieces
    spec.register_vocabulary(pieces)
    spec.config.layer_norm_epsilon = source.epsilon
    for name in ("bos", "eos", "unk"):
        number = source.special(name)
        if number is not None:
            setattr(spec.config, f"{name}_token", pieces[number])
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(str(folder))
    source.copy_tokenizer(folder)


def _fill(decoder: Any, source: ModelSource) -> None:
    weights = source.tensors
    decoder.scale_embeddings = False
    decoder.embeddings.weight = weights["transformer.wte.weight"].copy()  # quantized in place
    decoder.projection.weight = decoder.embeddings.weight
    decoder.position_encodings.encodings = weights["transformer.wpe.weight"].copy()
    _layer_norm(decoder.layer_norm, weights, "transformer.ln_f")
    for number, layer in enumerate(decoder.layer):
        block = f"transformer.h.{number}"
        _layer_norm(layer.self_attention.layer_norm, weights, f"{block}.ln_1")
        _linear(layer.self_attention.linear[0], weights, f"{block}.attn.c_attn")
        _linear(layer.self_attention.linear[1], weights, f"{block}.attn.c_proj")
        _layer_norm(layer.ffn.layer_norm, weights, f"{block}.ln_2")
        _linear(layer.ffn.linear_0, weights, f"{block}.mlp.c_fc")
        _linear(layer.ffn.linear_1, weights, f"{block}.mlp.c_proj")


def _layer_norm(spec: Any, weights: dict[str, Array], name: str) -> None:
    spec.gamma, spec.beta = weights[f"{name}.weight"], weights[f"{name}.bias"]


def _linear(spec: Any, weights: dict[str, Array], name: str) -> None:
    spec.weight, spec.bias = weights[f"{name}.weight"].T.copy(), weights[f"{name}.bias"]
