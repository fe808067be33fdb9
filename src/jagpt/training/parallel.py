"""The model as a run trains it: alone, replicated (DDP) or sharded (FSDP2).

Gradients are exchanged once per optimizer step, with its last micro-batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel
from transformers import PreTrainedModel

from jagpt.devices import autocast
from jagpt.training.distributed import Group
from jagpt.training.loss import model_nats
from jagpt.training.teachers import Teachers

Strategy = Literal["ddp", "fsdp"]


class LossModule(nn.Module):
    """A model whose forward pass gives the nats of its labels: what is replicated or sharded.

    With `end_id`, documents do not see each other. `at_once` as in `loss.vocabulary_nats`. With
    `teachers`, which are not part of the module, the loss includes theirs if gradients are needed.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        end_id: int | None = None,
        at_once: bool = False,
        teachers: Teachers | None = None,
    ) -> None:
        super().__init__()
        self.network, self.end_id, self.at_once = network, end_id, at_once
        self.teachers = teachers

    def forward(self, sequences: Tensor, scale: Tensor | None = None) -> Tensor:
        """Nats of the labels of `sequences` (B, T + 1), summed, times `scale`."""
        lesson = None
        if self.teachers is not None and torch.is_grad_enabled():
            lesson = self.teachers.lesson(sequences[:, :-1], self.end_id)
        return model_nats(
            self.network, sequences, scale, self.end_id, at_once=self.at_once, lesson=lesson
        )

    def generate(self, ids: Tensor, **options: Any) -> Tensor:
        """Continuations of `ids` (B, T) by transformers' `generate`."""
        made: Tensor = self.network.generate(ids, **options)
        return made


class Learner:
    """A network and the ranks that train it; `network` keeps its own names for its weights.

    Under FSDP2 the weights become shards: every use of them is a collective of all ranks. With
    `end_id`, a token of that kind ends a document, and documents do not see each other. `idle` says
    that some weights get no gradient.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        device: torch.device | None = None,
        group: Group | None = None,
        strategy: Strategy = "ddp",
        end_id: int | None = None,
        idle: bool = False,
        teachers: Teachers | None = None,
    ) -> None:
        self.network, self.group = network, group or Group()
        self.device = device or next(network.parameters()).device
        self.sharded = self.group.size > 1 and strategy == "fsdp"
        # Ranks exchange the results of the backward pass; a GPU would wait for the scale.
        alone = self.group.size == 1 and self.device.type == "cpu"
        self._root = LossModule(network, end_id, at_once=alone, teachers=teachers)
        self._module: nn.Module = self._root
        if self.sharded:
            self._shard()
        else:
            network.to(self.device)
            if self.group.size > 1:
                self._module = _replicated(self._root, self.device, idle)

    def _shard(self) -> None:
        """Each block separately, so that only one is complete at a time; the rest with the root."""
        mesh = self.group.mesh(self.device)
        blocks = set(getattr(self.network, "_no_split_modules", None) or ())
        for module in list(self.network.modules()):
            if type(module).__name__ in blocks:
                fully_shard(module, mesh=mesh)
        fully_shard(self._root, mesh=mesh)
        register_fsdp_forward_method(self._root, "generate")

    def nats(self, sequences: Tensor, scale: Tensor | None = None) -> Tensor:
        """Nats of the labels of `sequences` (B, T + 1), summed, times `scale`; a scalar.

        If gradients are needed, call its `backward` once, unchanged.
        """
        module = self._module if torch.is_grad_enabled() else self._root
        found: Tensor = module(sequences, scale)
        return found

    def generate(self, ids: Tensor, **options: Any) -> Tensor:
        """Continuations of `ids` (B, T); under FSDP2 every rank must request the same."""
        return self._root.generate(ids, **options)

    @contextmanager
    def micro_batch(self, last: bool) -> Iterator[None]:
        """A forward and a backward pass; after the step's `last`, gradients are means over ranks.

        To get sums, scale the loss by the number of ranks.
        """
        if isinstance(self._module, DistributedDataParallel) and not last:
            with self._module.no_sync():
                yield
            return
        if isinstance(self._root, FSDPModule):
            self._root.set_requires_gradient_sync(last)
        yield

    @contextmanager
    def evaluating(self, precision: str) -> Iterator[None]:
        """Forward passes without gradients and dropout; everything is restored afterwards."""
        was_training = self.network.training
        self.network.train(False)
        # FSDP2 keeps gathered values in persistent tensors, which inference mode forbids.
        inference = torch.no_grad() if self.sharded else torch.inference_mode()
        try:
            with inference, self.autocast(precision):
                yield
        finally:
            self.network.train(was_training)
            if isinstance(self._root, FSDPModule):
                self._root.reshard()  # no backward pass does it

    def autocast(self, precision: str) -> torch.autocast:
        """Matrix products in `precision`; sharded weights' copies are not kept beyond their use."""
        return autocast(self.device, precision, keep_copies=not self.sharded)


def _replicated(root: LossModule, device: torch.device, idle: bool) -> DistributedDataParallel:
    """The model on every rank; with `idle` weights, each step looks for those without gradient."""
    options: dict[str, Any] = {"gradient_as_bucket_view": True, "find_unused_parameters": idle}
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    # Buffers are constants here; PyTorch 2.13 renamed the option to leave them alone.
    leave = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    options[leave] = False
    if device.type == "cuda":
        options["device_ids"] = [device.index]
    return DistributedDataParallel(root, **options)
