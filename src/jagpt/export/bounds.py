"""How far an export may be from the model that it was made from."""

from __future__ import annotations

from dataclasses import dataclass

PARITY = "parity.json"
"""In each format's folder: what was measured, and of which model."""


@dataclass(frozen=True)
class Bounds:
    """What must hold: None where a measure is told but not judged.

    `logits` is the largest difference of any logit, `perplexity` the largest relative one, and with
    `greedy` every greedy token must be the model's own, but at ties.
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
"""Also GGUF's f32: llama.cpp takes GELU from a table in f16 (`GGML_GELU_FP16`, ggml's vec.h)."""
BY_PERPLEXITY = Bounds("8 bit", perplexity=1e-2)
