"""How far an export may be from its model, and the record of how far it is."""

from __future__ import annotations

from dataclasses import dataclass

from jagpt.records import Count, Record, optional


@dataclass(frozen=True)
class Bounds:
    """What must hold: None if a measure is reported but not judged.

    `logits` is the largest difference of any logit, `perplexity` the largest relative one, and with
    `greedy` every greedy token must be the model's own, except at ties.
    """

    precision: str
    logits: float | None = None
    perplexity: float | None = None
    greedy: bool = False

    @property
    def full(self) -> bool:
        """Whether the format computes in full precision."""
        return self.greedy


FP32 = Bounds("fp32", logits=1e-4, perplexity=1e-4, greedy=True)
FP16 = Bounds("fp16", logits=1e-2, perplexity=1e-3)
"""Also for GGUF's f32: llama.cpp takes GELU from an f16 table (`GGML_GELU_FP16`, ggml's vec.h)."""
COMPUTED_IN_FP16 = Bounds("fp16", perplexity=1e-3)
"""Activations are fp16 too: the allowed difference of a logit depends on how large they are."""
BY_PERPLEXITY = Bounds("8 bit", perplexity=1e-2)
FIVE_BITS = Bounds("5 bit", perplexity=3e-2)
FOUR_BITS = Bounds("4 bit", perplexity=1e-1)
"""What a model loses depends on how many weights share the work: a small one loses more."""

TENSORS = "tensors"
"""What was compared if a format has no runtime: each tensor, read back."""


@dataclass(frozen=True, kw_only=True)
class Parity(Record):
    """In each format's folder: what was compared with the model whose fingerprint is `source`.

    If tensors were only read back, all figures are None; perplexities are None if the text is too
    short. `byte_texts` are lines with characters that have no piece: a tokenizer without byte
    fallback encodes them differently, and they count neither as equal nor as different. `size` is
    the bytes of the format's own files, without those copied from the model's folder.
    """

    FILE = "parity.json"
    KIND = "record of parity"
    REMEDY = "export this format again with --force"

    format: str
    weights: str
    source: str
    precision: str
    text: str | None = optional()
    compared: str
    equal: bool | None = optional()
    logit_difference: float | None = optional()
    prompts: Count | None = optional()
    greedy_tokens: Count | None = optional()
    greedy_equal: Count | None = optional()
    greedy_ties: Count | None = optional()
    perplexity: float | None = optional()
    perplexity_pytorch: float | None = optional()
    texts: Count | None = optional()
    texts_equal: Count | None = optional()
    byte_texts: Count | None = optional()
    byte_texts_equal: Count | None = optional()
    size: Count | None = optional()
    bounds: Bounds | None = optional()
