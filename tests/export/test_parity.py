"""Parity measured on runtimes that differ in known ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import folders
import numpy as np
import pytest

from jagpt import models
from jagpt.errors import JagptError
from jagpt.formats import material, parity
from jagpt.formats.bounds import BY_PERPLEXITY, FP16, FP32
from jagpt.formats.material import Material
from jagpt.formats.source import ModelSource
from jagpt.runtimes.reference import Reference


@pytest.fixture(scope="module")
def tokenizer(source: ModelSource) -> Any:
    return models.load_tokenizer(source.directory)


@pytest.fixture(scope="module")
def text(source: ModelSource, tokenizer: Any) -> Material:
    return material.of_text(folders.TEXT, "text", tokenizer, source.n_positions)


class Shifted(Reference):
    """PyTorch with one logit moved, everywhere."""

    def __init__(self, source: ModelSource, token: int, by: float) -> None:
        super().__init__(source.network)
        self._token, self._by = token, by

    def all_logits(self, ids: Sequence[int]) -> Any:
        logits = super().all_logits(ids).copy()
        logits[:, self._token] += self._by
        return logits

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        found = list(ids)
        for _ in range(count):
            found.append(int(self.all_logits(found)[-1].argmax()))
        return found[len(ids) :]


def measured(source: ModelSource, text: Material, tokenizer: Any, by: float) -> parity.Measured:
    return parity.measure(Shifted(source, 300, by), Reference(source.network), text, tokenizer)


def test_the_material_is_windows_prompts_and_lines(text: Material, source: ModelSource) -> None:
    assert all(2 <= len(window) <= source.n_positions for window in text.windows)
    assert len(text.prompts) >= 20
    assert len(set(map(len, text.prompts))) == 1
    assert len(text.prompts[0]) + text.greedy_tokens <= source.n_positions
    assert text.texts[0] == folders.TEXT.split("\n")[0]


def test_the_model_itself_is_within_all_bounds(
    source: ModelSource, text: Material, tokenizer: Any
) -> None:
    found = measured(source, text, tokenizer, 0.0)
    assert found.logit_difference < 1e-4
    assert found.greedy_equal == found.prompts
    assert found.perplexity == pytest.approx(found.perplexity_pytorch, rel=1e-6)
    for bounds in (FP32, FP16, BY_PERPLEXITY):
        parity.require("same", found, bounds)


def test_a_moved_logit_is_out_of_bounds(
    source: ModelSource, text: Material, tokenizer: Any
) -> None:
    found = measured(source, text, tokenizer, 0.003)
    assert found.logit_difference == pytest.approx(0.003, rel=0.01)
    parity.require("close", found, FP16)
    with pytest.raises(JagptError, match=r"moved: .* a logit differs by 0\.003 \(at most 0\.0001"):
        parity.require("moved", found, FP32)
    for by in (20.0, 5000.0):  # exp(5000) is no float
        far = measured(source, text, tokenizer, by)
        with pytest.raises(
            JagptError, match=r"perplexity is .* \(a difference of at most 1\.00% is allowed\)"
        ):
            parity.require("far", far, BY_PERPLEXITY)
    with pytest.raises(JagptError, match=r"prompts are continued differently"):
        parity.require("far", far, FP32)


def test_a_prompt_that_parts_at_a_tie_is_a_tie(source: ModelSource) -> None:
    reference = Reference(source.network)
    prompt = [300, 301, 302]
    best = reference.logits(prompt, [2])[0].argsort()[::-1]
    assert not parity._parts_at_tie(reference, prompt, [best[0]], [best[-1]])

    class Tied(Reference):
        def all_logits(self, ids: Sequence[int]) -> Any:
            return np.zeros((len(ids), self.vocab_size), np.float32)

    assert parity._parts_at_tie(Tied(source.network), prompt, [5, 6], [5, 7])


def test_lines_with_byte_pieces_are_counted_apart(
    source: ModelSource, text: Material, tokenizer: Any
) -> None:
    class Tokenizing(Reference):
        def encode(self, text: str) -> list[int]:
            ids = tokenizer.encode(text, add_special_tokens=False)
            return [1 if number < 260 else number for number in ids]  # no byte fallback

    found = parity._token_ids(
        Tokenizing(source.network), ["京都と東京", "京都の𠮷", "あ"], tokenizer
    )
    assert found == {"texts": 2, "texts_equal": 2, "byte_texts": 1, "byte_texts_equal": 0}


def test_other_token_ids_are_out_of_bounds(text: Material) -> None:
    found = parity.Measured(0.0, 24, 40, 24, 0, 10.0, 10.0, texts=9, texts_equal=8)
    with pytest.raises(JagptError, match="1 of 9 lines get different token ids"):
        parity.require("gguf", found, FP16)
