"""Nats of a text under a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from jagpt.training.loss import model_nats
from jagpt.training.machine import autocast

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Nats:
    """Total nats over `tokens` labels."""

    nats: float
    tokens: int

    @property
    def loss(self) -> float:
        """Mean nats a token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp of the loss; infinite where that does not fit a float."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def measure(
    model: PreTrainedModel,
    windows: Iterable[Ints],
    *,
    batch_size: int,
    precision: str,
    stopped: Callable[[], bool] = lambda: False,
) -> Nats | None:
    """Nats of every window's labels, without dropout; windows are (T + 1,), the last maybe shorter.

    Summed over all tokens, in fp64 between batches. None where `stopped` said so on the way.
    """
    device = model.device
    was_training = model.training
    model.train(False)
    total = torch.zeros((), dtype=torch.float64, device=device)
    tokens = 0
    try:
        with torch.inference_mode(), autocast(device, precision):
            for batch in _batches(windows, batch_size):
                if stopped():
                    return None
                total += model_nats(model, torch.from_numpy(batch).to(device))
                tokens += batch[:, 1:].size
    finally:
        model.train(was_training)
    return Nats(total.item(), tokens)


def _batches(windows: Iterable[Ints], batch_size: int) -> Iterator[Ints]:
    """Windows of one length stacked to (B, T + 1), B at most `batch_size`."""
    batch: list[Ints] = []
    for window in windows:
        if batch and (len(batch) == batch_size or len(window) != len(batch[0])):
            yield np.stack(batch)
            batch = []
        batch.append(window)
    if batch:
        yield np.stack(batch)
