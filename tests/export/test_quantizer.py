"""llama.cpp's own quantization: what it keeps of a matrix, and which tensors get which type."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from jagpt.errors import UsageError
from jagpt.formats import quantizer, table

SMALL = 12
"""Layers of GPT-2 small, 768 wide."""


@pytest.mark.parametrize(
    ("kind", "columns", "error"), [("Q4_K", 512, 0.08), ("Q5_K", 512, 0.04), ("Q5_0", 96, 0.05)]
)
def test_blocks_are_near_what_they_were_made_of(kind: str, columns: int, error: float) -> None:
    array = np.random.default_rng(1).normal(size=(6, columns)).astype(np.float32)
    blocks = quantizer.quantize(array, kind)
    back = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind])
    difference = float(np.sqrt(np.mean((back - array) ** 2)))
    assert error / 2 < difference < error


def test_the_rows_of_a_transposed_matrix_are_its_own() -> None:
    array = np.random.default_rng(2).normal(size=(256, 8)).astype(np.float32)
    found = quantizer.quantize(array.T, "Q6_K")
    assert np.array_equal(found, quantizer.quantize(np.ascontiguousarray(array.T), "Q6_K"))


@pytest.mark.parametrize(
    ("name", "columns", "precision", "kind"),
    [
        ("token_embd.weight", 768, "q4_k_m", "Q6_K"),
        ("blk.2.attn_output.weight", 768, "q4_k_m", "Q4_K"),
        ("blk.2.attn_output.weight", 768, "q5_k_m", "Q5_K"),
        ("blk.2.ffn_up.weight", 768, "q4_k_m", "Q4_K"),
        ("blk.2.ffn_down.weight", 3072, "q4_k_m", "Q4_K"),
        ("blk.2.ffn_down.weight", 96, "q4_k_m", "Q5_0"),
        ("blk.2.ffn_down.weight", 96, "q5_k_m", "Q5_1"),
        ("token_embd.weight", 96, "q4_k_m", "Q8_0"),
        ("blk.2.attn_qkv.weight", 36, "q4_k_m", "F16"),
    ],
)
def test_each_tensor_has_the_type_that_llama_cpp_gives_it(
    name: str, columns: int, precision: str, kind: str
) -> None:
    assert quantizer.type_of(name, columns, SMALL, precision) == kind


def test_outer_layers_and_every_third_between_get_more_bits() -> None:
    for part in ("attn_qkv", "ffn_down"):
        kinds = [
            quantizer.type_of(f"blk.{layer}.{part}.weight", 768, SMALL, "q4_k_m")
            for layer in range(SMALL)
        ]
        assert [n for n, kind in enumerate(kinds) if kind == "Q6_K"] == [0, 3, 6, 9, 10, 11]


def test_a_library_that_hides_its_quantizer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantizer, "_function", lambda: None)
    with pytest.raises(UsageError, match=r"gguf-q4_k_m: this build of xllamacpp hides"):
        table.FORMATS["gguf-q4_k_m"].require()
    table.FORMATS["gguf-q8_0"].require()
    told: list[str] = []
    names = [one.name for one in table.chosen(["all"], tell=told.append)]
    assert not {"gguf-q4_k_m", "gguf-q5_k_m"} & set(names)
    assert len(told) == 2
