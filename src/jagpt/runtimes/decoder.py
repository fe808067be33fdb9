"""A decoder graph whose cache of keys and values is handed in and out (`export.onnx` explains
how).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jagpt.runtimes.base import StepRuntime, Steps

if TYPE_CHECKING:
    from jagpt.runtimes.base import Floats

PAST, PRESENT = "past_key_values", "present"


class Decoder(StepRuntime):
    """Feeds a graph; `run` is the runtime's own call.

    `cache_shapes`: (heads, width of a head) of each tensor of the cache, by its input's name.
    """

    cache_shapes: Mapping[str, tuple[int, int]]

    @abstractmethod
    def run(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """The graph's outputs for its inputs, by name."""

    def begin(self, prompt: Sequence[int], rows: int) -> Steps:
        return _DecoderSteps(self, prompt, rows)

    def all_logits(self, ids: Sequence[int]) -> Floats:
        import numpy as np

        logits, _ = self.forward(np.array([list(ids)]), self.empty_cache(1), 0)
        found: Floats = logits[0]
        return found

    def empty_cache(self, rows: int) -> dict[str, Any]:
        import numpy as np

        return {
            name: np.zeros((rows, heads, 0, width), np.float32)
            for name, (heads, width) in self.cache_shapes.items()
        }

    def forward(
        self, ids: Any, cache: Mapping[str, Any], cached: int
    ) -> tuple[Floats, dict[str, Any]]:
        """Logits (R, T, V) of `ids` (R, T) after `cached` tokens, and the longer cache."""
        import numpy as np

        rows, new = ids.shape
        positions = np.arange(cached, cached + new, dtype=np.int64)
        found = self.run(
            {
                "input_ids": ids.astype(np.int64),
                "attention_mask": np.ones((rows, cached + new), np.int64),
                "position_ids": np.broadcast_to(positions, (rows, new)).copy(),
                **cache,
            }
        )
        longer = {name: found[name.replace(PAST, PRESENT, 1)] for name in self.cache_shapes}
        return found["logits"], longer


class _DecoderSteps(Steps):
    """The prompt is computed once; the rows diverge after it."""

    def __init__(self, decoder: Decoder, prompt: Sequence[int], rows: int) -> None:
        self._decoder, self._prompt, self._rows = decoder, list(prompt), rows
        self._cache = decoder.empty_cache(1)
        self._cached = 0

    def step(self, ids: Sequence[int] | None) -> Floats:
        import numpy as np

        if ids is not None:
            return self._forward(np.array(ids)[:, None])
        logits = self._forward(np.array([self._prompt]))
        if self._rows > 1:
            self._cache = {k: np.repeat(v, self._rows, 0) for k, v in self._cache.items()}
        return np.repeat(logits, self._rows, 0)

    def _forward(self, ids: Any) -> Floats:
        logits, self._cache = self._decoder.forward(ids, self._cache, self._cached)
        self._cached += ids.shape[1]
        return logits[:, -1]
