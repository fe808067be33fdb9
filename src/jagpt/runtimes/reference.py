"""PyTorch in fp32: what every other runtime is compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jagpt.runtimes.base import StepRuntime, Steps

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from jagpt.runtimes.base import Floats


class Reference(StepRuntime):
    """A transformers model on the CPU; repeated questions are not computed again."""

    name = "pytorch"

    def __init__(self, network: PreTrainedModel) -> None:
        self._network: Any = network
        self.context = int(network.config.max_position_embeddings)
        self.vocab_size = int(network.config.vocab_size)
        self._nats: dict[tuple[int, ...], float] = {}
        self._greedy: dict[tuple[tuple[int, ...], int], list[int]] = {}

    def nats(self, ids: Sequence[int]) -> float:
        key = tuple(ids)
        if key not in self._nats:
            self._nats[key] = super().nats(ids)
        return self._nats[key]

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        key = (tuple(ids), count)
        if key not in self._greedy:
            self._greedy[key] = super().greedy(ids, count)
        return self._greedy[key]

    def begin(self, prompt: Sequence[int], rows: int) -> Steps:
        return _ReferenceSteps(self._network, prompt, rows)

    def all_logits(self, ids: Sequence[int]) -> Floats:
        import torch

        with torch.inference_mode():
            logits: Floats = self._network(torch.tensor([list(ids)])).logits[0].numpy()
        return logits


class _ReferenceSteps(Steps):
    def __init__(self, network: Any, prompt: Sequence[int], rows: int) -> None:
        self._network = network
        self._next = [list(prompt)] * rows
        self._cache: Any = None

    def step(self, ids: Sequence[int] | None) -> Floats:
        import torch

        if ids is not None:
            self._next = [[token] for token in ids]
        with torch.inference_mode():
            output = self._network(
                torch.tensor(self._next), past_key_values=self._cache, use_cache=True
            )
        self._cache = output.past_key_values
        logits: Floats = output.logits[:, -1].numpy()
        return logits
