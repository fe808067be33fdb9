"""The formats, one entry each: what writes it, what verifies it, and the extra that both need."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from jagpt.errors import JagptError, MissingExtraError, UsageError
from jagpt.formats import quantizer
from jagpt.formats.bounds import (
    BY_PERPLEXITY,
    COMPUTED_IN_FP16,
    FIVE_BITS,
    FOUR_BITS,
    FP16,
    FP32,
    Bounds,
)
from jagpt.formats.source import ModelSource, check_plain
from jagpt.runtimes import Runtime

if TYPE_CHECKING:
    from jagpt.recipe import Recipe

ALWAYS = "huggingface"
"""The folder that a run always makes, and that the others are made from."""
ALL = "all"
USUAL = {"gguf": "gguf-q8_0"}
CONVERTED_PARAMETERS = 450_000_000
"""ONNX's converters take a graph as one message of at most 2 GiB in fp32."""


@dataclass(frozen=True)
class Format:
    """Another format.

    `weights` is the file that holds the model; `packages` are those of `extra` that must be there.
    `bounds` holds for what its `runtime` computes; a format without one is read back by `check`,
    every tensor bit for bit. One that `carries_tokenizer` has it within,
    by rules of its runtime; one with `own_quantizer` is written by its runtime's library.
    """

    name: str
    title: str
    weights: str
    write: Callable[[ModelSource, Path], None]
    extra: str | None = None
    packages: tuple[str, ...] = ()
    check: Callable[[ModelSource, Path], None] | None = None
    runtime: Callable[[ModelSource, Path, int | None], Runtime] | None = None
    bounds: Bounds = FP32
    any_model: bool = False
    carries_tokenizer: bool = False
    most_parameters: int | None = None
    own_quantizer: bool = False

    def installed(self) -> bool:
        """Whether all its packages are installed."""
        return all(find_spec(package) for package in self.packages)

    def require(self) -> None:
        """`MissingExtraError` if a package is not installed, `UsageError` if one is unfit."""
        if self.extra and not self.installed():
            raise MissingExtraError(f"the format {self.name}", self.extra)
        if self.own_quantizer:
            quantizer.require(self.name)

    def check_type(self, model_type: str, what: object) -> None:
        """`UsageError` if the format cannot hold a model of that type; `what` is one."""
        if self.any_model or model_type == "gpt2":
            return
        able = ", ".join([ALWAYS, *(one.name for one in FORMATS.values() if one.any_model)])
        raise UsageError(
            f"{self.name}: {what} is a {model_type} model, but this format "
            f"only takes gpt2 (any causal language model: {able})"
        )

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse, before anything is computed, what the format cannot hold; raises as `require`,
        `check_type` and `check_size` do."""
        self.require()
        self.check_type(recipe.model.type, "[model]")
        if not self.any_model:
            check_plain(recipe.model.config, "[model.config]", self.name)
        if self.most_parameters is not None:
            from jagpt.models.size import parameters_of

            self.check_size(parameters_of(recipe), "[model]")
        if self.carries_tokenizer:
            _module("gguf").check_recipe(recipe.tokenizer, self.name)

    def check_source(self, source: ModelSource) -> None:
        """The same for a folder."""
        self.require()
        self.check_type(source.model_type, source.directory)
        if not self.any_model:
            source.check_plain(self.name)
        if self.most_parameters is not None:
            self.check_size(sum(array.size for array in source.tensors.values()), source.directory)
        if self.carries_tokenizer:
            _module("gguf").check_tokenizer(source, self.name)

    def check_size(self, parameters: int, what: object) -> None:
        """`UsageError` for more parameters than the format takes."""
        if self.most_parameters is not None and parameters > self.most_parameters:
            raise UsageError(
                f"{self.name}: {what} has {parameters:,} parameters, but this format takes "
                f"at most {self.most_parameters:,}; onnx and gguf have no such limit"
            )


def chosen(
    names: Iterable[str],
    check: Callable[[Format], None] = Format.require,
    tell: Callable[[str], None] | None = None,
) -> list[Format]:
    """The formats with these names, each once, in the order of `FORMATS`; `UsageError` if none.

    `gguf` is the one that most take. `all` are those that `check` refuses for no reason; the
    reasons of the others are told.
    """
    wanted = {USUAL.get(name, name) for name in names}
    if unknown := sorted(wanted - {*FORMATS, ALWAYS, ALL}):
        known = ", ".join([ALWAYS, *FORMATS, *USUAL, ALL])
        raise UsageError(f"--format {unknown[0]}: no such format; there are {known}")
    if ALL in wanted:
        others = (one for name, one in FORMATS.items() if name not in wanted)
        able, refused = divided(others, check)
        wanted |= {one.name for one in able}
        for one, error in refused:
            if tell is not None:
                tell(f"--format {ALL} leaves out {one.name}: {error}")
    return [one for name, one in FORMATS.items() if name in wanted]


def divided(
    formats: Iterable[Format], check: Callable[[Format], None]
) -> tuple[list[Format], list[tuple[Format, JagptError]]]:
    """The formats that `check` takes, and the others, each with its reason."""
    able: list[Format] = []
    refused: list[tuple[Format, JagptError]] = []
    for one in formats:
        try:
            check(one)
        except JagptError as error:
            refused.append((one, error))
        else:
            able.append(one)
    return able, refused


def _module(name: str) -> Any:
    return importlib.import_module(f"jagpt.formats.{name}")


def _write(module: str, source: ModelSource, folder: Path, **options: str) -> None:
    _module(module).write(source, folder, **options)


def _check(module: str, source: ModelSource, folder: Path) -> None:
    _module(module).check(source, folder)


def _onnxruntime(weights: str, source: ModelSource, folder: Path, threads: int | None) -> Runtime:
    from jagpt.runtimes.onnx import OnnxRuntime

    return OnnxRuntime(folder / weights, source.n_positions, threads)


def _openvino(source: ModelSource, folder: Path, threads: int | None) -> Runtime:
    from jagpt.runtimes.openvino import OpenVino

    return OpenVino(folder / "openvino_model.xml", source.n_positions, threads)


def _ctranslate2(source: ModelSource, folder: Path, threads: int | None) -> Runtime:
    from jagpt.runtimes.ctranslate2 import CTranslate2

    return CTranslate2(folder, source.n_positions, threads)


def _llamacpp(weights: str, source: ModelSource, folder: Path, threads: int | None) -> Runtime:
    from jagpt.runtimes.llamacpp import LlamaCpp

    plain = source.special("eos") or 0
    return LlamaCpp(folder / weights, source.n_positions, source.vocab_size, plain, threads)


def _read_back(name: str, title: str, weights: str, **options: Any) -> Format:
    """A format that is verified by reading its tensors back."""
    return Format(
        name, title, weights, partial(_write, name), check=partial(_check, name), **options
    )


def _gguf(precision: str, bounds: Bounds) -> Format:
    weights = f"model-{precision}.gguf"
    return Format(
        f"gguf-{precision}",
        f"GGUF {precision}",
        weights,
        partial(_write, "gguf", precision=precision),
        extra="gguf",
        packages=("gguf", "xllamacpp"),
        runtime=partial(_llamacpp, weights),
        bounds=bounds,
        carries_tokenizer=True,
        own_quantizer=precision in quantizer.MIXTURES,
    )


def _onnx(name: str, title: str, weights: str, precision: str, bounds: Bounds) -> Format:
    return Format(
        name,
        title,
        weights,
        partial(_write, "onnx", precision=precision),
        extra="onnx",
        packages=("onnx", "onnxscript", "onnxruntime"),
        runtime=partial(_onnxruntime, weights),
        bounds=bounds,
        most_parameters=None if precision == "fp32" else CONVERTED_PARAMETERS,
    )


def _ct2(name: str, title: str, quantization: str, bounds: Bounds) -> Format:
    return Format(
        name,
        title,
        "model.bin",
        partial(_write, "ctranslate2", quantization=quantization),
        extra="ctranslate2",
        packages=("ctranslate2",),
        runtime=_ctranslate2,
        bounds=bounds,
    )


_ALL = (
    _read_back("pytorch", "PyTorch (pickle)", "pytorch_model.bin", any_model=True),
    _read_back("tensorflow", "TensorFlow", "tf_model.h5", extra="tensorflow", packages=("h5py",)),
    _read_back("flax", "Flax", "flax_model.msgpack", extra="flax", packages=("msgpack",)),
    _onnx("onnx", "ONNX fp32", "model.onnx", "fp32", FP32),
    _onnx("onnx-fp16", "ONNX fp16", "model_fp16.onnx", "fp16", COMPUTED_IN_FP16),
    _onnx("onnx-int8", "ONNX int8", "model_quantized.onnx", "int8", BY_PERPLEXITY),
    _ct2("ctranslate2", "CTranslate2 fp32", "float32", FP32),
    _ct2("ctranslate2-int8", "CTranslate2 int8", "int8", BY_PERPLEXITY),
    _gguf("f32", FP16),
    _gguf("f16", FP16),
    _gguf("q8_0", BY_PERPLEXITY),
    _gguf("q5_k_m", FIVE_BITS),
    _gguf("q4_k_m", FOUR_BITS),
    Format(
        "openvino",
        "OpenVINO",
        "openvino_model.xml",
        partial(_write, "openvino"),
        extra="openvino",
        packages=("onnx", "onnxscript", "openvino"),
        runtime=_openvino,
    ),
)
FORMATS: Mapping[str, Format] = MappingProxyType({one.name: one for one in _ALL})
"""By name, in the order in which they are made and listed."""
