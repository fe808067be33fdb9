"""The processes that train together, straight on torch.distributed.

Rank 0 alone holds the run's lock, writes and prints. Small things (a wish to stop, a validation's
sum, where to go on) are settled over gloo on the CPU, so that no GPU waits for them; gradients go
over nccl between GPUs. Every collective has a time limit, and rank 0's heart beats in the store
while the others wait for work that takes it long: whoever is lost, all leave within a minute.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.distributed.tensor import DTensor, distribute_tensor

from jagpt.errors import JagptError
from jagpt.training.ranks import Ranks

LIMIT = timedelta(seconds=50)
"""Longest wait for another rank in a collective, and for rank 0's next heartbeat."""
HEARTBEAT = 5.0
"""Seconds between heartbeats."""

PREPARING = timedelta(hours=2)
"""The same while rank 0 makes other stages, whose libraries may not let its heart beat."""
PARTING = 10.0
"""Seconds that rank 0 gives the others to leave before it."""

TRAIN, END = "train", "end"
"""Orders of rank 0 to the others."""


class LostRankError(JagptError):
    """Another process of the run is gone or no longer answers."""

    def __init__(self, ranks: Ranks, reason: str) -> None:
        super().__init__(
            f"{ranks.name}contact with another rank was lost ({reason}); "
            "the same command goes on from the last checkpoint"
        )


class Group:
    """The ranks of a run; a process alone is a group of one, for which nothing is exchanged."""

    def __init__(self, ranks: Ranks | None = None, store: Store | None = None) -> None:
        self.ranks = ranks or Ranks()
        self._store = store
        self._waits = 0

    @property
    def rank(self) -> int:
        return self.ranks.rank

    @property
    def size(self) -> int:
        return self.ranks.size

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.ranks.rank == 0

    # --- before training --------------------------------------------------------------------------

    def order(self, what: str) -> None:
        """Tell the others what comes next; the first order holds."""
        if self.size > 1 and self.main and self._store is not None:
            self._store.compare_set("order", "", what)

    def await_order(self) -> str:
        """What rank 0 wants of the others: `TRAIN` or `END`."""
        self._await("order", PREPARING)
        assert self._store is not None  # noqa: S101  # `_await` needs it too
        return str(self._store.get("order").decode())

    def part(self, store: Store, patience: float) -> None:
        """Leave; rank 0, whose process may hold the store, goes last, after `patience` seconds."""
        if not self.main:
            store.add("parted", 1)
            return
        self.order(END)
        deadline = time.monotonic() + patience
        while store.add("parted", 0) < self.size - 1 and time.monotonic() < deadline:
            time.sleep(0.02)

    @contextmanager
    def training(self, device: torch.device) -> Iterator[None]:
        """Collectives between the ranks, until the block ends."""
        if self.size == 1:
            yield
            return
        assert self._store is not None  # noqa: S101  # given wherever there are several
        self.order(TRAIN)
        gpu = device.type == "cuda"
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpu else "gloo",
            store=PrefixStore("training", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=LIMIT,
            device_id=device if gpu else None,
        )
        try:
            yield
        finally:
            dist.destroy_process_group()

    def mesh(self, device: torch.device) -> DeviceMesh:
        """All ranks in a row."""
        return init_device_mesh(device.type, (self.size,))

    # --- collectives ------------------------------------------------------------------------------

    def sum(self, tensor: Tensor) -> Tensor:
        """`tensor` summed over the ranks, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def highest(self, number: int) -> int:
        """The highest of the ranks' numbers."""
        if self.size == 1:
            return number
        box = torch.tensor([number])
        dist.all_reduce(box, dist.ReduceOp.MAX)
        return int(box)

    def share(self, value: Any) -> Any:
        """Rank 0's `value`, which JSON can hold, on every rank."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.main else b""
        size = self.highest(len(text))
        box = torch.zeros(size, dtype=torch.uint8)
        if self.main:
            box[:] = torch.frombuffer(bytearray(text), dtype=torch.uint8)
        dist.broadcast(box, 0)
        return json.loads(bytes(box.tolist()))

    def share_tensor(
        self, tensor: Tensor | None, shape: Sequence[int], kind: torch.dtype
    ) -> Tensor:
        """Rank 0's `tensor` (on the CPU) on every rank; the others know its shape and type."""
        if tensor is None:
            tensor = torch.empty(tuple(shape), dtype=kind)
        if self.size > 1:
            dist.broadcast(tensor.view(-1).view(torch.uint8), 0)
        return tensor

    @contextmanager
    def together(self) -> Iterator[None]:
        """Work of all ranks whose end takes rank 0 long: the others wait while its heart beats."""
        yield
        if self.size == 1:
            return
        self._waits += 1
        key = f"done {self._waits}"
        if self.main:
            assert self._store is not None  # noqa: S101
            self._store.set(key, "")
        else:
            self._await(key)

    def _await(self, key: str, limit: timedelta = LIMIT) -> None:
        """Wait for a key of the store; `LostRankError` when rank 0's heart stops for `limit`."""
        assert self._store is not None  # noqa: S101
        beats, heard = -1, time.monotonic()
        while not self._store.check([key]):
            now = self._store.add("heartbeat", 0)
            if now != beats:
                beats, heard = now, time.monotonic()
            elif time.monotonic() - heard > limit.total_seconds():
                raise LostRankError(self.ranks, "rank 0 no longer answers")
            time.sleep(0.1)


_current = Group()


def current() -> Group:
    """The group that this process belongs to."""
    return _current


@contextmanager
def connected(ranks: Ranks) -> Iterator[Group]:
    """Meet the other ranks' store; `current` gives the group until the block ends.

    Whatever happens to rank 0, the others are told when it is done with them.
    """
    global _current
    try:
        store, _, _ = next(rendezvous("env://", timeout=LIMIT))
    except (RuntimeError, ValueError) as error:
        raise JagptError(
            f"{ranks.name}the other ranks cannot be reached at MASTER_ADDR:MASTER_PORT "
            f"({str(error).splitlines()[0]})"
        ) from None
    group = _current = Group(ranks, store)
    silence = threading.Event()
    if group.main:
        threading.Thread(target=_beat, args=(store, silence), daemon=True).start()
    patience = PARTING
    try:
        with explained(group):
            yield group
    except LostRankError:
        patience = 0.0
        raise
    finally:
        _current = Group()
        with suppress(RuntimeError):  # the store's process may be gone
            group.part(store, patience)
        silence.set()


def _beat(store: Store, silence: threading.Event) -> None:
    while not silence.is_set():
        try:
            store.add("heartbeat", 1)
        except RuntimeError:  # the store's process is gone, which the main thread is told too
            return
        silence.wait(HEARTBEAT)


@contextmanager
def explained(group: Group) -> Iterator[None]:
    """Errors of the network between ranks as `LostRankError`."""
    try:
        yield
    except RuntimeError as error:
        if group.size > 1 and _is_loss(error):
            raise LostRankError(group.ranks, _reason(error)) from error
        raise


def _reason(error: RuntimeError) -> str:
    """The library's first sentence, without the place in its own source."""
    text = re.sub(r"^(\[[^]]*\]\s*)+", "", str(error).strip().partition("\n")[0])
    return re.split(r"\. |\.$", text)[0]


def _is_loss(error: RuntimeError) -> bool:
    signs = ("gloo", "connection", "timed out", "nccl", "broken pipe", "socket")
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in signs)


# --- tensors that may be sharded ------------------------------------------------------------------


def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor of which each rank may hold a part; all ranks must ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_as(tensor: Tensor, model: Tensor) -> Tensor:
    """A whole `tensor` on `model`'s device, sharded as `model` is where both have one shape."""
    tensor = tensor.to(model.device)
    if isinstance(model, DTensor) and tensor.shape == model.shape:
        return distribute_tensor(tensor, model.device_mesh, model.placements, src_data_rank=None)
    return tensor
