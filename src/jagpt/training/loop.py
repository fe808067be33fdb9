"""The training loop.

Shapes: S sequences an optimizer step, B sequences a micro-batch, T tokens a sequence.

Randomness is drawn anew for each micro-batch from (seed, step, micro-batch), and data is a function
of the sequence's number, so that a run goes on from (weights, optimizer state, step) alone, and a
step's micro-batches may be computed anywhere.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedModel

from jagpt.errors import JagptError
from jagpt.progress import Bar, Progress
from jagpt.tokens.dataset import TokenSplit, TrainingOrder, validation_windows
from jagpt.training import checkpoints, weights
from jagpt.training.averaging import Average
from jagpt.training.checkpoints import Found, State
from jagpt.training.loss import model_nats
from jagpt.training.machine import autocast
from jagpt.training.metrics import Metrics
from jagpt.training.optimizers import gradient_norm, make_optimizer, set_learning_rate
from jagpt.training.plan import Plan
from jagpt.training.stopping import StopRequest
from jagpt.training.validation import measure

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Data:
    """What a run learns from and is measured on."""

    order: TrainingOrder
    valid: TokenSplit


class _Interrupted(Exception):  # noqa: N818
    """A signal came in the middle of a step or a validation, which is dropped and done again."""


class Training:
    """A run between its first and its last step.

    `state` says where it stands; model and optimizer always belong to it.
    """

    def __init__(
        self,
        plan: Plan,
        model: PreTrainedModel,
        data: Data,
        *,
        directory: Path,
        metrics: Metrics,
        stop: StopRequest,
        progress: Progress,
        found: Found,
        log_every: int = 10,
    ) -> None:
        self.plan, self.model, self.data = plan, model, data
        self.directory, self.metrics = directory, metrics
        self.stop, self.progress = stop, progress
        self.log_every = log_every
        self.device = model.device
        self.optimizer = make_optimizer(plan.train, model)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.train.precision == "fp16")
        self.average = Average(plan, model)
        self.state = State()
        self._saved: State | None = None
        self._lost = set(found.damaged)
        if found.state is not None:
            self.state, self._saved = found.state, found.saved
            folder = directory / checkpoints.step_name(self.state.step)
            weights.read(folder, model, self.optimizer)
            if self.average.begun(self.state.step):
                self.average.restore(weights.read_average(folder, model))
            if self.state.scaler:
                self.scaler.load_state_dict(self.state.scaler)
        self._first_bad_step = torch.zeros((), dtype=torch.int64, device=self.device)
        self._timer = _Timer()

    def run(self) -> State:
        """Train to the plan's last step; the state that then stands.

        Leaves with `StoppedError` (SIGTERM, the time limit) or `KeyboardInterrupt` once a
        checkpoint stands from which the same command goes on.
        """
        first, total = self.state.step, self.plan.total_steps
        what = f"train from step {first:,}" if first else "train"
        self.model.train()
        with self.progress.bar(what, total - first, "steps") as bar:
            try:
                self._measure_and_keep()
                while self.state.step < total:
                    self._leave_if_asked(first)
                    self._advance(bar, first)
                    self._measure_and_keep()
            except _Interrupted:
                self._leave()
        checkpoints.settle(self.directory, self.state, self.plan, self._lost)
        return self.state

    # --- one step ---------------------------------------------------------------------------------

    def _advance(self, bar: Bar, first: int) -> None:
        """Take one optimizer step and log it."""
        step = self.state.step + 1
        logged = step % self.log_every == 0 or step in (1, self.plan.total_steps)
        awaited = logged or self.plan.validates(step) or self.plan.saves(step)
        started = time.perf_counter()
        loss, norm = self._step(step)
        self.state = replace(
            self.state,
            step=step,
            sequences=step * self.plan.sequences_per_step,
            tokens=step * self.plan.tokens_per_step,
        )
        if awaited or self.device.type == "cpu":  # elsewhere reading a number waits for the device
            self._check_finite()
        if logged:
            self._log(float(loss), float(norm), started, bar, first)
        else:
            self._timer.add(time.perf_counter() - started)
            bar.update(step - first)

    def _step(self, step: int) -> tuple[Tensor, Tensor]:
        """Mean nats a token and gradient norm of optimizer step `step`, which is taken."""
        plan, train = self.plan, self.plan.train
        sequences = self._sequences(step)  # (S, T + 1)
        scale = self.scaler.scale(torch.full((), 1 / plan.tokens_per_step, device=self.device))
        loss = torch.zeros((), device=self.device)
        # One autocast block a step: it keeps the weights' bf16 copies over all micro-batches.
        with autocast(self.device, train.precision):
            for number, batch in enumerate(torch.split(sequences, train.batch_size)):
                if self.stop.signalled():
                    raise _Interrupted
                torch.manual_seed(derived_seed(train.seed, step, number))
                share = model_nats(self.model, batch, scale)
                with torch.autocast(self.device.type, enabled=False):
                    share.backward()
                loss += share.detach()
        set_learning_rate(self.optimizer, plan.learning_rate(step))
        self.scaler.unscale_(self.optimizer)
        norm = gradient_norm(self.model, train.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(step)
        loss = loss / (scale * plan.tokens_per_step)
        self._note_if_bad(step, loss, norm)
        return loss, norm

    def _sequences(self, step: int) -> Tensor:
        count = self.plan.sequences_per_step
        sequences = torch.from_numpy(self.data.order.sequences((step - 1) * count, count))
        return sequences.to(self.device, non_blocking=True)

    def _note_if_bad(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Remember the first step with a loss or gradient that is no number; the device goes on.

        fp16's scaler skips steps with an infinite gradient: there the loss alone counts.
        """
        watched = loss if self.scaler.is_enabled() else loss + norm
        bad = ~torch.isfinite(watched) & (self._first_bad_step == 0)
        self._first_bad_step = torch.where(bad, step, self._first_bad_step)

    def _check_finite(self) -> None:
        step = int(self._first_bad_step)
        if not step:
            return
        last = self._saved.step if self._saved else 0
        kept = (
            f"the checkpoint of step {last} is sound" if last else "no checkpoint was made before"
        )
        raise JagptError(
            f"training failed at step {step}: its loss or gradient is not finite; {kept} "
            f"({self.directory}). Lower train.learning_rate, raise train.warmup_steps, or set "
            "train.clip_norm=1.0"
        )

    def _log(self, loss: float, norm: float, started: float, bar: Bar, first: int) -> None:
        self._timer.add(time.perf_counter() - started)
        steps, seconds = self._timer.lap()
        rate = steps * self.plan.tokens_per_step / seconds
        self.metrics.train(
            self.state.step,
            self.state.tokens,
            loss=loss,
            learning_rate=self.plan.learning_rate(self.state.step),
            gradient_norm=norm,
            tokens_per_second=rate,
            seconds=seconds,
        )
        bar.update(self.state.step - first, f"loss {loss:.3f}, {rate:,.0f} tokens/s")

    # --- validations and checkpoints --------------------------------------------------------------

    def _measure_and_keep(self) -> None:
        """Validate and save after the present step, where that is due and not yet done."""
        new_best = False
        if self.plan.validates(self.state.step) and not self.state.validated():
            self._validate()
            new_best = self.state.best is not None and self.state.best.step == self.state.step
        if (self.plan.saves(self.state.step) or new_best) and self.state != self._saved:
            self._save()

    def _validate(self) -> None:
        self._check_finite()
        train = self.plan.train
        windows = validation_windows(self.data.valid, self.plan.block_size, train.validate_tokens)
        with self.average.in_place():
            found = measure(
                self.model,
                windows,
                batch_size=train.batch_size,
                precision=train.precision,
                stopped=self.stop.signalled,
            )
        if found is None:
            raise _Interrupted
        if not math.isfinite(found.loss):
            raise JagptError(
                f"training failed at step {self.state.step}: the validation loss is {found.loss}; "
                "lower train.learning_rate or set train.clip_norm=1.0"
            )
        self.state = self.state.with_validation(found.loss)
        self.metrics.valid(
            self.state.step, self.state.tokens, loss=found.loss, perplexity=found.perplexity
        )

    def _save(self) -> None:
        self._check_finite()
        started = time.monotonic()
        self.state = replace(self.state, scaler=self.scaler.state_dict())
        checkpoints.save(
            self.directory,
            self.state,
            lambda folder: weights.write(folder, self.model, self.optimizer, self.average.tensors),
        )
        self._saved = self.state
        self._lost.discard(self.state.step)
        checkpoints.settle(self.directory, self.state, self.plan, self._lost)
        self._timer.saving = time.monotonic() - started

    # --- leaving ----------------------------------------------------------------------------------

    def _leave_if_asked(self, first: int) -> None:
        late = self.state.step > first and self.stop.out_of_time(self._timer.reserve())
        if late or self.stop.signalled():
            self._leave()

    def _leave(self) -> NoReturn:
        """Save where the run stands, then leave; a step or validation under way is done again."""
        if self.state.step and self.state != self._saved:
            self._save()
        of = f"{self.state.step:,} of {self.plan.total_steps:,}"
        self.stop.leave(f"training stopped after step {of}", self.progress)


class _Timer:
    """Seconds of steps since the last row, and how long a stop in time must reserve."""

    def __init__(self) -> None:
        self.saving = 0.0
        self._slowest = 0.0
        self._steps, self._seconds = 0, 0.0

    def add(self, seconds: float) -> None:
        self._slowest = max(self._slowest, seconds)
        self._steps += 1
        self._seconds += seconds

    def lap(self) -> tuple[int, float]:
        """Steps and seconds since the last lap."""
        lap = self._steps, max(self._seconds, 1e-9)
        self._steps, self._seconds = 0, 0.0
        return lap

    def reserve(self) -> float:
        """Seconds that one more step and a checkpoint may take."""
        return 1.5 * self._slowest + 2 * self.saving


def derived_seed(*parts: int) -> int:
    """63 bits that depend on `parts` alone, in their order."""
    digest = hashlib.sha256(",".join(map(str, parts)).encode("ascii")).digest()
    return int.from_bytes(digest[:8], "little") >> 1
