"""The engine of transformers: any causal language model, in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jagpt.generation.engine import SteppingEngine

if TYPE_CHECKING:
    from torch import Tensor


class TransformersEngine(SteppingEngine):
    """A transformers model in evaluation mode, on any device."""

    name = "transformers"

    def __init__(self, model: Any, context: int | None) -> None:
        self.model = model
        self.context = context
        self.vocab_size = int(model.config.vocab_size)

    def begin(self, prompt: Sequence[int], rows: int) -> TransformersSession:
        return TransformersSession(self.model, prompt, rows)


class TransformersSession:
    """The rows' keys and values; the prompt is computed once for all of them.

    A model without a cache of keys and values reads its whole text again at each step.
    """

    def __init__(self, model: Any, prompt: Sequence[int], rows: int) -> None:
        self._model = model
        self._prompt = list(prompt)
        self._rows = rows
        self._texts: list[list[int]] = [list(prompt) for _ in range(rows)]
        self._cache: Any = None

    def step(self, ids: Sequence[int] | None) -> Tensor:
        """Logits (rows, V) of the token after `ids`; None for that after the prompt."""
        import torch

        with torch.inference_mode():
            if ids is None:
                return self._after_prompt()
            for text, token in zip(self._texts, ids, strict=True):
                text.append(token)
            if self._cache is None:
                return self._logits(self._texts)
            return self._logits([[token] for token in ids])

    def _after_prompt(self) -> Tensor:
        logits = self._logits([self._prompt])  # (1, V)
        try:
            if self._cache is not None:
                self._cache.batch_repeat_interleave(self._rows)
        except AttributeError:  # some layers have a state that cannot be repeated
            self._cache = None
            return self._logits(self._texts)
        return logits.expand(self._rows, -1)

    def _logits(self, ids: Sequence[Sequence[int]]) -> Tensor:
        """Logits (R, V) after the last of `ids` (R, T)."""
        import torch

        batch = torch.tensor(ids, dtype=torch.long, device=self._model.device)
        every = torch.ones(len(ids), len(self._texts[0]), dtype=torch.long, device=batch.device)
        output = self._model(
            input_ids=batch, attention_mask=every, past_key_values=self._cache, use_cache=True,
            logits_to_keep=1,
        )  # fmt: skip
        cache = getattr(output, "past_key_values", None)
        self._cache = cache if hasattr(cache, "batch_repeat_interleave") else None
        logits: Tensor = output.logits[:, -1]
        return logits
