"""Sequences on their way to the device; on a GPU the next ones are loaded while it computes."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from jagpt.tokens.dataset import TrainingOrder


class Batches:
    """Parts of a training order as tensors on `device`.

    For a GPU, a thread gathers the next part into pinned memory, from where copies are
    asynchronous. On a CPU nothing is gained by this.
    """

    def __init__(self, order: TrainingOrder, device: torch.device, ahead: bool | None = None):
        self._order, self._device = order, device
        self._pinned = device.type in ("cuda", "xpu")  # MPS shares the CPU's memory
        self._ahead = device.type != "cpu" if ahead is None else ahead
        self._worker = ThreadPoolExecutor(1, "batches") if self._ahead else None
        self._coming: tuple[int, int, Future[Tensor]] | None = None

    def get(self, first: int, count: int, following: int | None = None) -> Tensor:
        """Sequences `first` … `first + count` (count, T + 1); `following` will be requested
        next.
        """
        coming, self._coming = self._coming, None
        if coming is not None and coming[:2] == (first, count):
            found = coming[2].result()
        else:
            found = self._gather(first, count)
        if self._worker is not None and following is not None:
            self._coming = (following, count, self._worker.submit(self._gather, following, count))
        return found.to(self._device, non_blocking=self._pinned)

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.shutdown(cancel_futures=True)

    def _gather(self, first: int, count: int) -> Tensor:
        sequences = torch.from_numpy(self._order.sequences(first, count))
        return sequences.pin_memory() if self._pinned else sequences
