"""The training loop.

Shapes: S sequences an optimizer step, B sequences a micro-batch, T tokens a sequence.

Randomness is drawn anew for each micro-batch from (seed, step, micro-batch), and data is a function
of the sequence's number, so that a run goes on from (weights, optimizer state, step) alone. Ranks
share a step's micro-batches, which are the same however many ranks there are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor
from transformers import PreTrainedModel

from jagpt.devices import peak
from jagpt.errors import JagptError
from jagpt.models.checkpoint_folder import step_name
from jagpt.models.size import flops_of
from jagpt.progress import Bar, Progress
from jagpt.tokens.dataset import TokenSplit, TrainingOrder, validation_windows
from jagpt.training import bad_steps, checkpoints, weights
from jagpt.training.averaging import Average
from jagpt.training.bad_steps import Rewound
from jagpt.training.batches import Batches
from jagpt.training.checkpoints import Found, State
from jagpt.training.distributed import whole
from jagpt.training.gradient import accumulate
from jagpt.training.metrics import Metrics
from jagpt.training.optimizers import (
    gradient_norm,
    learning_rates,
    make_optimizer,
    set_learning_rate,
)
from jagpt.training.pace import Pace, memory
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan
from jagpt.training.samples import Sampler
from jagpt.training.stopping import StopRequest
from jagpt.training.validation import measure


@dataclass(frozen=True)
class Data:
    """What a run learns from and is measured on."""

    order: TrainingOrder
    valid: TokenSplit


@dataclass(frozen=True)
class Step:
    """A step's loss (nats a token) and gradient norm, on the device; `reason` if it was bad."""

    loss: Tensor
    norm: Tensor
    reason: str | None = None


class _Interrupted(Exception):  # noqa: N818
    """A signal came in the middle of a step or a validation, which is dropped and done again."""


class Training:
    """A run between its first and its last step.

    `state` says where it stands; model and optimizer always belong to it. Of several ranks each has
    one, in the same state; only rank 0 writes.
    """

    def __init__(
        self,
        plan: Plan,
        model: PreTrainedModel | Learner,
        data: Data,
        *,
        directory: Path,
        metrics: Metrics,
        stop: StopRequest,
        progress: Progress,
        found: Found,
        log_every: int = 10,
        sampler: Sampler | None = None,
        machine: Mapping[str, Any] | None = None,
    ) -> None:
        self.learner = model if isinstance(model, Learner) else Learner(model)
        self.plan, self.model, self.data = plan, self.learner.network, data
        self.group, self.device = self.learner.group, self.learner.device
        self.directory, self.metrics = directory, metrics
        self.stop, self.progress = stop, progress
        self.log_every = log_every
        self._sampler, self._machine = sampler, dict(machine or {})
        self.optimizer = make_optimizer(plan.train, self.model)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=plan.train.precision == "fp16")
        self.average = Average(plan, self.model)
        self.state = State()
        self._saved: State | None = None
        if found.state is not None:
            self.state, self._saved = found.state, found.saved
            folder = directory / step_name(self.state.step)
            weights.read(folder, self.model, self.optimizer, self.group)
            if self.average.begun(self.state.step):
                self.average.restore(weights.read_average(folder, self.model, self.group))
            if self.state.scaler:
                self.scaler.load_state_dict(self.state.scaler)
        self._batches = Batches(data.order, self.device)
        self._watched = bad_steps.watched(plan.train)
        self._first_bad_step = torch.zeros((), dtype=torch.int64, device=self.device)
        self._pace, self._note = Pace(), ""
        self._flops = flops_of(self.model, plan.block_size)
        self._peak = peak(self.device, plan.train.precision) * self.group.size

    def run(self) -> State:
        """Train to the plan's last step; the state that then stands.

        Leaves with `StoppedError` (SIGTERM, the time limit) or `KeyboardInterrupt` once a
        checkpoint stands from which the same command goes on, and with `Rewound` where it is to go
        on from an earlier one.
        """
        first, total = self.state.step, self.plan.total_steps
        what = f"train from step {first:,}" if first else "train"
        self.model.train()
        with self.progress.bar(what, total - first, "steps") as bar:
            try:
                self._measure_and_keep()
                while not self._ended():
                    self._leave_if_asked(first)
                    self._advance(bar, first)
                    self._measure_and_keep()
            except _Interrupted:
                self._leave()
            finally:
                self._batches.close()
        if self.group.main:
            checkpoints.settle(self.directory, self.state, self.plan)
        return self.state

    def _ended(self) -> bool:
        """Whether the last step is taken, or there is no patience left; what stands is kept."""
        if self.state.step >= self.plan.total_steps:
            return True
        if not self.state.exhausted(self.plan.train.patience):
            return False
        if self.state != self._saved:
            self._save()
        best = self.state.best.step if self.state.best else 0
        self.progress.say(
            f"training ends early after step {self.state.step:,}: no validation was better than "
            f"that of step {best:,} (train.patience = {self.plan.train.patience})"
        )
        return True

    # --- one step ---------------------------------------------------------------------------------

    def _advance(self, bar: Bar, first: int) -> None:
        """Take one optimizer step and log it."""
        step = self.state.step + 1
        logged = step % self.log_every == 0 or step in (1, self.plan.total_steps)
        started = time.perf_counter()
        taken = self._step(step)
        self.state = replace(
            self.state,
            step=step,
            sequences=self.state.sequences + self.plan.sequences_per_step,
            tokens=step * self.plan.tokens_per_step,
        )
        if logged:
            self._log(taken, started)
            bar.update(step - first, self._note)
            return
        awaited = self.plan.validates(step) or self.plan.saves(step)
        if awaited or self.device.type == "cpu":  # elsewhere reading a number waits for the device
            self._check_finite()
        self._pace.add(time.perf_counter() - started)
        bar.update(step - first)

    def _step(self, step: int) -> Step:
        """Take optimizer step `step`, unless it is bad and the recipe leaves such steps out."""
        taken = self._gradient(step)
        if self._watched:
            taken = self._judged(step, taken)
        if taken.reason is None:
            set_learning_rate(self.optimizer, self.plan.learning_rate(step))
            self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(step)
        self._note_if_bad(step, taken)
        return taken

    def _gradient(self, step: int) -> Step:
        """Mean nats a token and gradient norm of step `step`, whose gradient the weights hold."""
        plan, train, learner = self.plan, self.plan.train, self.learner
        mine = train.grad_accum_steps // self.group.size  # micro-batches of each rank
        first = self.group.rank * mine
        sequences = self._sequences(first, mine)  # (S / ranks, T + 1)
        # Gradients come out as means over the ranks, and their sum is wanted.
        share = torch.full((), self.group.size / plan.tokens_per_step, device=self.device)
        scale = self.scaler.scale(share)
        loss = accumulate(learner, train, step, first, sequences, scale, self._break_off_if_asked)
        self.scaler.unscale_(self.optimizer)
        norm = whole(gradient_norm(self.model, train.clip_norm))
        return Step(self.group.sum(loss) / (scale * plan.tokens_per_step), norm)

    def _sequences(self, first: int, micro_batches: int) -> Tensor:
        """The sequences of so many micro-batches from the step's number `first`."""
        size, count = self.plan.train.batch_size, self.plan.sequences_per_step
        start = self.state.sequences + first * size
        return self._batches.get(start, micro_batches * size, following=start + count)

    def _break_off_if_asked(self) -> None:
        """Drop the step when a signal came; on several GPUs, ranks only agree between steps."""
        if self.group.size > 1:
            if self.device.type != "cpu":
                return
            self.stop.agree(self.group.highest)
        if self.stop.signalled():
            raise _Interrupted

    # --- bad steps --------------------------------------------------------------------------------

    def _judged(self, step: int, taken: Step) -> Step:
        """The step with the reason against it if it is bad and to be left out.

        `JagptError` if it ends the run, `Rewound` if the run goes back.
        """
        loss, norm = torch.stack([taken.loss, taken.norm.to(taken.loss)]).tolist()
        count = self.plan.sequences_per_step
        try:
            self.state, bad = bad_steps.judged(
                self.plan.train, self.state, self._saved, step, count, loss, norm
            )
        except bad_steps.Unbearable as error:
            raise self._failure(step, str(error)) from None
        if bad is None:
            return taken
        self.metrics.bad_steps(self.state.bad_steps)
        self.progress.say(bad_steps.sentence(bad))
        if bad.resumed is not None and self._saved is not None:
            self.optimizer.zero_grad(set_to_none=True)
            raise Rewound(bad_steps.rewound(self._saved, self.state, bad), self._saved)
        return replace(taken, reason=bad.reason)

    def _note_if_bad(self, step: int, taken: Step) -> None:
        """Remember the first step with a loss or gradient that is no number; the device goes on.

        fp16's scaler skips steps with an infinite gradient: there the loss alone counts.
        """
        if self._watched:
            return
        figures = taken.loss if self.scaler.is_enabled() else taken.loss + taken.norm
        bad = ~torch.isfinite(figures) & (self._first_bad_step == 0)
        self._first_bad_step = torch.where(bad, step, self._first_bad_step)

    def _check_finite(self) -> None:
        if not self._watched and (step := int(self._first_bad_step)):
            raise self._failure(step, "its loss or gradient is not finite")

    def _failure(self, step: int, reason: str) -> JagptError:
        return bad_steps.failure(step, reason, self._saved, self.directory)

    # --- telling ----------------------------------------------------------------------------------

    def _log(self, taken: Step, started: float) -> None:
        parts = (taken.loss, taken.norm, self._first_bad_step)
        # the one time that a logged step waits for the device
        loss, norm, bad = torch.stack([part.double() for part in parts]).tolist()
        if bad:
            raise self._failure(int(bad), "its loss or gradient is not finite")
        self._pace.add(time.perf_counter() - started)
        steps, seconds = self._pace.lap()
        rate = steps * self.plan.tokens_per_step / seconds
        rates = learning_rates(self.optimizer)
        self.metrics.train(
            self.state.step,
            self.state.tokens,
            loss=loss,
            learning_rate=self.plan.learning_rate(self.state.step),
            **({"learning_rates": rates} if len(set(rates.values())) > 1 else {}),
            gradient_norm=norm,
            tokens_per_second=round(rate, 1),
            mfu=round(rate * self._flops / self._peak, 4),
            memory=memory(self.device),
            seconds=seconds,
            seconds_left=round(self._pace.left(self.plan.total_steps - self.state.step), 1),
        )
        self._note = f"loss {loss:.3f}, {rate:,.0f} tokens/s"

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
                self.learner,
                windows,
                batch_size=train.batch_size,
                precision=train.precision,
                stopped=self._asked_to_stop,
            )
            if found is None:
                raise _Interrupted
            if not math.isfinite(found.loss):
                raise JagptError(
                    f"training failed at step {self.state.step}: the validation loss is "
                    f"{found.loss}; lower train.learning_rate or set train.clip_norm=1.0"
                )
            if self._sampler is not None:
                for prompt, text in self._sampler.samples(self.learner, train.precision):
                    self.metrics.sample(self.state.step, prompt, text)
        self.state = self.state.with_validation(found.loss)
        self.metrics.valid(
            self.state.step, self.state.tokens, loss=found.loss, perplexity=found.perplexity
        )

    def _save(self) -> None:
        self._check_finite()
        started = time.monotonic()
        self.state = replace(
            self.state, scaler=self.scaler.state_dict(), machine=dict(self._machine)
        )
        with self.group.together():
            if self.group.main:
                checkpoints.save(self.directory, self.state, self._write_tensors)
            else:
                self._write_tensors(None)
            self._saved = self.state
            if self.group.main:
                checkpoints.settle(self.directory, self.state, self.plan)
        self._pace.saving = time.monotonic() - started

    def _write_tensors(self, folder: Path | None) -> None:
        weights.write(folder, self.model, self.optimizer, self.average.tensors)

    # --- leaving ----------------------------------------------------------------------------------

    def _asked_to_stop(self) -> bool:
        """Whether any rank was told to stop."""
        self.stop.agree(self.group.highest)
        return self.stop.signalled()

    def _leave_if_asked(self, first: int) -> None:
        late = self.state.step > first and self.stop.out_of_time(self._pace.reserve())
        if self._asked_to_stop() or (self.stop.limited and self.group.highest(int(late))):
            self._leave()

    def _leave(self) -> NoReturn:
        """Save where the run stands, then leave; a step or validation under way is done again."""
        if self.state.step and self.state != self._saved:
            self._save()
        of = f"{self.state.step:,} of {self.plan.total_steps:,}"
        self.stop.leave(f"training stopped after step {of}", self.progress)
