"""A GGUF file for llama.cpp, weights and tokenizer in one; f32, f16, q8_0, q5_k_m or q4_k_m.

The layout of llama.cpp's own converter: matrices are (out, in), positions, biases and layer norms
stay f32, the tied output matrix is left out. The tokenizer is `t5`, llama.cpp's unigram with the
pieces, scores and types of `spiece.model`, or `llama` for BPE.

llama.cpp's unigram has no byte fallback: characters without a piece become `<unk>` there, instead
of their bytes. Parity counts the texts where that happens.

A `Modelfile` next to it makes Ollama use the prompt as it is, with the model's own defaults (its
documentation has the grammar: docs.ollama.com/modelfile).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import files
from jagpt.errors import DataError, UsageError
from jagpt.formats import quantizer
from jagpt.formats.source import GENERATION, ModelSource
from jagpt.tokenizer import model as sentencepiece_model
from jagpt.tokenizer.folder import MODEL_FILE
from jagpt.tokenizer.model import UNIGRAM

if TYPE_CHECKING:
    from jagpt.formats.source import Array
    from jagpt.recipe import Tokenizer

TENSORS = {
    "transformer.wte.weight": "token_embd.weight",
    "transformer.wpe.weight": "position_embd.weight",
    "transformer.ln_f.weight": "output_norm.weight",
    "transformer.ln_f.bias": "output_norm.bias",
}
MODULES = {
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
"""Names of a block's modules in transformers → in GGUF."""

EXACT = frozenset({"position_embd.weight"})
"""Matrices that llama.cpp accumulates in f32."""


@dataclass(frozen=True)
class TextRules:
    """What a tokenizer does to a text before splitting it."""

    unigram: bool
    normalization: str
    dummy_prefix: bool
    merges_spaces: bool

    @classmethod
    def wanted(cls, settings: Tokenizer) -> TextRules:
        return cls(
            settings.type == "unigram",
            settings.normalization,
            settings.add_dummy_prefix,
            not settings.keep_newlines,
        )

    @classmethod
    def of(cls, model: Any) -> TextRules:
        """Those of a ModelProto."""
        rules = model.normalizer_spec
        return cls(
            model.trainer_spec.model_type == UNIGRAM,
            "charsmap" if rules.precompiled_charsmap else "identity",
            bool(rules.add_dummy_prefix),
            bool(rules.remove_extra_whitespaces),
        )

    def check(self, name: str) -> None:
        """`UsageError` if llama.cpp has different rules, so that all texts would get different
        ids.
        """
        if self.unigram:
            if not self.merges_spaces or self.dummy_prefix:
                return
            reason, advice = (
                "merges spaces, and llama.cpp then puts one before each text, which this "
                "tokenizer does not do",
                "tokenizer.add_dummy_prefix=true or tokenizer.keep_newlines=true",
            )
        else:
            if self.normalization == "identity" and not self.merges_spaces:
                return
            reason, advice = (
                "changes texts before splitting them, but llama.cpp's BPE takes them as they are",
                "tokenizer.normalization=identity and tokenizer.keep_newlines=true",
            )
        raise UsageError(
            f"{name}: the tokenizer {reason}: train one with {advice}, or leave out this format"
        )


def file_name(precision: str) -> str:
    return f"model-{precision}.gguf"


def write(source: ModelSource, folder: Path, precision: str) -> None:
    """`model-PRECISION.gguf`; `DataError` without a `spiece.model`."""
    import gguf

    writer = gguf.GGUFWriter(folder / file_name(precision), "gpt2")
    _add_shape(writer, source, gguf.LlamaFileType[_FILE_TYPES[precision]])
    _add_tokenizer(writer, source)
    for name, array in source.tensors.items():
        _add_tensor(writer, *_converted(name, array), source.n_layer, precision)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    files.write_text(folder / modelfile_name(precision), modelfile(source, precision))


def modelfile_name(precision: str) -> str:
    return f"model-{precision}.Modelfile"


def modelfile(source: ModelSource, precision: str) -> str:
    """What Ollama makes a model from: the raw prompt, and no defaults of its own."""
    path = source.directory / GENERATION
    told = files.read_json(path) if path.is_file() else {}

    def default(name: str, otherwise: float) -> float:
        value = told.get(name)
        return value if isinstance(value, (int, float)) else otherwise

    parameters = {
        "num_ctx": source.n_positions,
        "num_predict": source.n_positions,
        "temperature": default("temperature", 1.0) if told.get("do_sample") is True else 0,
        "top_k": int(default("top_k", 0)),
        "top_p": default("top_p", 1.0),
        "min_p": 0,
        "repeat_penalty": default("repetition_penalty", 1.0),
    }
    lines = [f"PARAMETER {name} {value}" for name, value in parameters.items()]
    return "\n".join([f"FROM ./{file_name(precision)}", _RAW, *lines, ""])


_RAW = 'TEMPLATE """{{ .Prompt }}"""'
_FILE_TYPES = {
    "f32": "ALL_F32",
    "f16": "MOSTLY_F16",
    "q8_0": "MOSTLY_Q8_0",
    "q5_k_m": "MOSTLY_Q5_K_M",
    "q4_k_m": "MOSTLY_Q4_K_M",
}


def _add_shape(writer: Any, source: ModelSource, file_type: int) -> None:
    writer.add_name("jagpt")
    writer.add_context_length(source.n_positions)
    writer.add_embedding_length(source.n_embd)
    writer.add_feed_forward_length(source.n_inner)
    writer.add_block_count(source.n_layer)
    writer.add_head_count(source.n_head)
    writer.add_layer_norm_eps(source.epsilon)
    writer.add_vocab_size(source.vocab_size)
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)


def check_recipe(settings: Tokenizer, name: str) -> None:
    """`UsageError` for a tokenizer that llama.cpp reads otherwise, as far as it can be seen before
    one is made: not of one that the hub still has to send."""
    from jagpt.rundir import is_run
    from jagpt.tokenizer import imported

    if settings.from_ is None:
        TextRules.wanted(settings).check(name)
    elif not is_run(Path(settings.from_)) and (path := imported.local_file(settings)):
        model = sentencepiece_model.parse(sentencepiece_model.read(path), path)
        TextRules.of(model).check(name)


def check_tokenizer(source: ModelSource, name: str) -> None:
    """`DataError` without a `spiece.model`, `UsageError` for one that llama.cpp reads
    differently.
    """
    TextRules.of(_tokenizer(source)).check(name)


def _tokenizer(source: ModelSource) -> Any:
    path = source.model.tokenizer_folder / MODEL_FILE
    if not path.is_file():
        raise DataError(f"{path}: missing; gguf contains a SentencePiece tokenizer and needs it")
    return sentencepiece_model.parse(sentencepiece_model.read(path), path)


def _add_tokenizer(writer: Any, source: ModelSource) -> None:
    model = _tokenizer(source)
    spare = range(len(model.pieces), source.vocab_size)
    unigram = model.trainer_spec.model_type == UNIGRAM
    writer.add_tokenizer_model("t5" if unigram else "llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(
        [*(piece.piece.encode() for piece in model.pieces), *(f"<unused{n}>" for n in spare)]
    )
    writer.add_token_scores(
        [*(float(piece.score) for piece in model.pieces), *(0.0 for _ in spare)]
    )
    unused = [sentencepiece_model.UNUSED for _ in spare]
    writer.add_token_types([*(int(piece.type) for piece in model.pieces), *unused])
    normalizer = model.normalizer_spec
    writer.add_add_space_prefix(bool(normalizer.add_dummy_prefix))
    writer.add_remove_extra_whitespaces(bool(normalizer.remove_extra_whitespaces))
    if normalizer.precompiled_charsmap and unigram:
        writer.add_precompiled_charsmap(normalizer.precompiled_charsmap)
    for name in ("bos", "eos", "pad", "unk"):
        number = source.special(name) if name != "unk" else model.trainer_spec.unk_id
        if number is not None:
            getattr(writer, f"add_{name}_token_id")(number)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _converted(name: str, array: Array) -> tuple[str, Array]:
    """The tensor's name and layout in GGUF."""
    import numpy as np

    if name in TENSORS:
        return TENSORS[name], array
    _, _, number, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    flipped = array.T if array.ndim == 2 else array
    return f"blk.{number}.{MODULES[module]}.{kind}", np.ascontiguousarray(flipped)


def _add_tensor(writer: Any, name: str, array: Array, layers: int, precision: str) -> None:
    import gguf

    kind = "F32"
    if array.ndim > 1 and name not in EXACT:
        kind = _type(name, int(array.shape[-1]), layers, precision)
    if kind in ("F32", "F16"):
        writer.add_tensor(name, array.astype("float16") if kind == "F16" else array)
        return
    number = gguf.GGMLQuantizationType[kind]
    own = precision in quantizer.MIXTURES
    blocks = quantizer.quantize(array, kind) if own else gguf.quants.quantize(array, number)
    writer.add_tensor(name, blocks, raw_dtype=number)


def _type(name: str, columns: int, layers: int, precision: str) -> str:
    """A matrix's type: f16 also where a row is no whole number of quantized blocks, as llama.cpp
    does."""
    if precision in quantizer.MIXTURES:
        return quantizer.type_of(name, columns, layers, precision)
    if precision == "q8_0":
        return "F16" if columns % _Q8_BLOCK else "Q8_0"
    return precision.upper()


_Q8_BLOCK = 32
