"""One optimizer step.

Shapes: S sequences per optimizer step, B sequences per micro-batch, T tokens per sequence.

Randomness is derived for each micro-batch from (seed, step, micro-batch), and data is a function of
the sequence's number, so that a run can continue from (weights, optimizer state, step) alone. Ranks
share a step's micro-batches, which are the same for any number of ranks.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jagpt import devices
from jagpt.training import bad_steps, weights
from jagpt.training.averaging import Average
from jagpt.training.bad_steps import NOT_FINITE, Unbearable
from jagpt.training.batches import Batches
from jagpt.training.distributed import whole
from jagpt.training.micro_batch import release
from jagpt.training.optimizers import gradient_norm, make_optimizer, set_learning_rate
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan
from jagpt.training.state import State


@dataclass(frozen=True)
class Step:
    """Step `number`, begun at `started`: loss (nats per token) and gradient norm, on the device."""

    number: int
    started: float
    loss: Tensor
    norm: Tensor

    def numbers(self) -> tuple[float, float]:
        """Loss and norm; waits for the GPU."""
        loss, norm = torch.stack([self.loss, self.norm.to(self.loss)]).tolist()
        return loss, norm


class Trainer:
    """Weights, gradients, optimizer and average of a network that learns, and how they change."""

    def __init__(self, plan: Plan, learner: Learner, batches: Batches) -> None:
        self._plan, self._learner, self._batches = plan, learner, batches
        self._network, self._group, self._device = learner.network, learner.group, learner.device
        self.optimizer = make_optimizer(plan.train, self._network)
        self.average = Average(plan, self._network)
        fp16 = plan.train.precision == "fp16"
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=fp16)
        self._first_bad_step = torch.zeros((), dtype=torch.int64, device=self._device)

    # --- a step -----------------------------------------------------------------------------------

    @property
    def batch_size(self) -> int:
        """Sequences per micro-batch."""
        return self._plan.train.batch_size

    def gradient(self, state: State, break_off: Callable[[], None]) -> Step:
        """Put the gradient of the step after `state` into the weights.

        `break_off`, which may raise, is called before each micro-batch. If the micro-batch is the
        machine's choice and memory runs out, the step starts over with half of it.
        """
        while True:
            try:
                return self._gradient(state, break_off)
            except RuntimeError as error:
                smaller = self._smaller(error)
                if smaller is None:
                    raise
            self._plan = smaller
            release(self._learner)

    def _smaller(self, error: RuntimeError) -> Plan | None:
        """The plan to continue with; with several ranks the others do not know about this."""
        if self._group.size > 1 or not devices.is_out_of_memory(error):
            return None
        return self._plan.in_batches_of(self.batch_size // 2)

    def _gradient(self, state: State, break_off: Callable[[], None]) -> Step:
        plan, train, started = self._plan, self._plan.train, time.perf_counter()
        mine = train.grad_accum_steps // self._group.size  # micro-batches of each rank
        first = self._group.rank * mine
        sequences = self._batches.get(  # (S / ranks, T + 1)
            state.sequences + first * train.batch_size,
            mine * train.batch_size,
            following=state.sequences + first * train.batch_size + plan.sequences_per_step,
        )
        # Gradients come out as means over the ranks, but their sum is needed.
        share = torch.full((), self._group.size / plan.tokens_per_step, device=self._device)
        scale = self._scaler.scale(share)
        nats = self._accumulate(state.step + 1, first, sequences, scale, break_off)
        self._scaler.unscale_(self.optimizer)
        norm = whole(gradient_norm(self._network, train.clip_norm))
        loss = self._group.sum(nats) / (scale * plan.tokens_per_step)
        return Step(state.step + 1, started, loss, norm)

    def _accumulate(
        self,
        step: int,
        first: int,
        sequences: Tensor,
        scale: Tensor,
        break_off: Callable[[], None],
    ) -> Tensor:
        """Add the gradient of the micro-batches from number `first` on; returns their scaled
        nats.
        """
        train, learner = self._plan.train, self._learner
        batches = torch.split(sequences, train.batch_size)
        nats = torch.zeros((), device=self._device)
        # One autocast block per step: it keeps the weights' bf16 copies over all micro-batches.
        with learner.autocast(train.precision):
            for number, batch in enumerate(batches):
                if self._group.size == 1 or self._device.type == "cpu":  # GPUs would wait
                    break_off()
                torch.manual_seed(derived_seed(train.seed, step, first + number))
                with learner.micro_batch(last=number == len(batches) - 1):
                    part = learner.nats(batch, scale)
                    with torch.autocast(self._device.type, enabled=False):
                        part.backward()
                nats += part.detach()
        return nats

    def take(self, step: Step) -> None:
        """Update the weights with the gradient of `step`."""
        set_learning_rate(self.optimizer, self._plan.learning_rate(step.number))
        self._scaler.step(self.optimizer)
        self._end(step)
        self._note_if_bad(step)

    def leave_out(self, step: Step) -> None:
        """Leave the weights unchanged; `step` still counts."""
        self._end(step)

    def _end(self, step: Step) -> None:
        self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(step.number)

    # --- bad steps that nobody waited for -----------------------------------------------

    def _note_if_bad(self, step: Step) -> None:
        """Remember the first step with a NaN or infinite loss or gradient; the device continues.

        fp16's scaler skips steps with an infinite gradient: there only the loss counts.
        """
        if bad_steps.watched(self._plan.train):
            return
        figures = step.loss if self._scaler.is_enabled() else step.loss + step.norm
        bad = ~torch.isfinite(figures) & (self._first_bad_step == 0)
        self._first_bad_step = torch.where(bad, step.number, self._first_bad_step)

    def check(self) -> None:
        """`Unbearable` for a bad step; waits for the GPU."""
        if not bad_steps.watched(self._plan.train) and (step := int(self._first_bad_step)):
            raise Unbearable(step, NOT_FINITE)

    def checked_numbers(self, step: Step) -> tuple[float, float]:
        """Loss and norm of `step` and `check`, waiting for the GPU only once."""
        parts = (step.loss, step.norm, self._first_bad_step)
        loss, norm, bad = torch.stack([part.float() for part in parts]).tolist()
        if bad:
            raise Unbearable(int(self._first_bad_step), NOT_FINITE)
        return loss, norm

    # --- to a checkpoint and back -----------------------------------------------------------------

    def write(self, folder: Path | None) -> None:
        """Write all tensors into `folder`; only the first rank has one."""
        weights.write(folder, self._network, self.optimizer, self.average.tensors)

    def scaler_state(self) -> dict[str, Any]:
        """What fp16's gradient scaler needs to continue; empty in other precisions."""
        return self._scaler.state_dict()

    def read(self, folder: Path, state: State) -> None:
        """Restore the trainer to `state`, for which `folder` was written."""
        self.optimizer.zero_grad(set_to_none=True)
        weights.read(folder, self._network, self.optimizer, self._group)
        averaged = self.average.begun(state.step)
        self.average.restore(
            weights.read_average(folder, self._network, self._group) if averaged else {}
        )
        if state.scaler:
            self._scaler.load_state_dict(state.scaler)


def derived_seed(*parts: int) -> int:
    """63 bits that depend only on `parts`, in order."""
    digest = hashlib.sha256(",".join(map(str, parts)).encode("ascii")).digest()
    return int.from_bytes(digest[:8], "little") >> 1
