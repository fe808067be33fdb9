"""The processes that train together, directly on torch.distributed.

Only rank 0 holds the run's lock, writes and prints. Small things (a request to stop, a validation's
sum, where to continue) are exchanged over gloo on the CPU, so that no GPU waits for them; gradients
go over nccl between GPUs. Every collective has a time limit, and rank 0 sends heartbeats to
the store while the others wait for its long tasks: if any rank is lost, all exit within a minute.
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
"""The same while rank 0 runs other stages, whose libraries may block its heartbeat."""
PARTING = 10.0
"""Seconds that rank 0 gives the others to exit before it."""

TRAIN, END = "train", "end"
"""Orders of rank 0 to the others."""


class LostRankError(JagptError):
    """Another process of the run is gone or no longer answers."""

    def __init__(self, ranks: Ranks, reason: str) -> None:
        super().__init__(
            f"{ranks.name}lost contact with another rank ({reason}); the "
            "same command continues from the last checkpoint"
        )


class Group:
    """The ranks of a run; a single process is a group of one, which exchanges nothing."""

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
        """Whether this process writes and prints."""
        return self.ranks.rank == 0

    # --- before training --------------------------------------------------------------------------

    def order(self, what: str) -> None:
        """Tell the others what comes next; the first order counts."""
        if self.size > 1 and self.main and self._store is not None:
            self._store.compare_set("order", "", what)

    def await_order(self) -> str:
        """What rank 0 tells the others to do: `TRAIN` or `END`."""
        self._await("order", PREPARING)
        assert self._store is not None  # noqa: S101  # `_await` needs it too
        return str(self._store.get("order").decode())

    def part(self, store: Store, patience: float) -> None:
        """Leave the group; rank 0, whose process may hold the store, leaves last, after `patience`
        seconds.
        """
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
        assert self._store is not None  # noqa: S101  # always set if there are several
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
        """Rank 0's JSON-serializable `value`, on every rank."""
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
        """Work that takes rank 0 long to finish: the others wait as long as its heartbeat
        continues.
        """
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
        """Wait for a key of the store; `LostRankError` if rank 0's heartbeat stops for `limit`."""
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
    """Connect to the ranks' store; `current` gives the group until the block ends.

    Whatever happens to rank 0, the others are told when it no longer needs them.
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
        except RuntimeError:  # the store's process is gone, which the main thread notices too
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
    """The library's first sentence, without its source location."""
    text = re.sub(r"^(\[[^]]*\]\s*)+", "", str(error).strip().partition("\n")[0])
    return re.split(r"\. |\.$", text)[0]


def _is_loss(error: RuntimeError) -> bool:
    signs = ("gloo", "connection", "timed out", "nccl", "broken pipe", "socket")
    return isinstance(error, dist.DistError) or any(sign in str(error).lower() for sign in signs)


# --- tensors that may be sharded ------------------------------------------------------------------


def whole(tensor: Tensor) -> Tensor:
    """The full tensor of which each rank may hold a part; all ranks must call this."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def laid_out_as(tensor: Tensor, model: Tensor) -> Tensor:
    """A full `tensor` on `model`'s device, sharded like `model` if both have the same shape."""
    tensor = tensor.to(model.device)
    if isinstance(model, DTensor) and tensor.shape == model.shape:
        return distribute_tensor(tensor, model.device_mesh, model.placements, src_data_rank=None)
    return tensor
