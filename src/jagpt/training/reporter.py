"""What a run reports while it trains: rows for its logs, a progress bar and messages."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jagpt import units
from jagpt.devices import peak
from jagpt.models.size import flops_of
from jagpt.progress import Bar, Progress
from jagpt.training import bad_steps
from jagpt.training.metrics import Metrics
from jagpt.training.optimizers import learning_rates
from jagpt.training.pace import Pace, memory
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan
from jagpt.training.state import BadStep, State
from jagpt.training.trainer import Step, Trainer
from jagpt.training.validation import Nats


class Reporter:
    """Reports every `log_every`th step, the first and the last, validations and bad steps."""

    def __init__(
        self, plan: Plan, learner: Learner, metrics: Metrics, progress: Progress, log_every: int
    ) -> None:
        self.progress, self.pace = progress, Pace()
        self._plan, self._metrics, self._log_every = plan, metrics, log_every
        self._device = learner.device
        self._flops = flops_of(learner.network, plan.block_size)
        self._peak = peak(learner.device, plan.train.precision) * learner.group.size
        self._first, self._bar = 0, Bar("", None, "")

    @contextmanager
    def following(self, state: State) -> Iterator[None]:
        """Logs and a bar that start after `state`, until the block ends."""
        self._metrics.begin(state.step, state.bad_steps)
        self._first, total = state.step, self._plan.total_steps
        what = f"train from step {self._first:,}" if self._first else "train"
        with self.progress.bar(what, total - self._first, "steps") as self._bar:
            yield

    def step(self, trainer: Trainer, state: State, step: Step) -> None:
        """Report a step that was taken and led to `state`; `Unbearable` if it was bad.

        Waits for the GPU if the step is logged, or if the loop is about to wait anyway.
        """
        number, note = state.step, None
        if number % self._log_every == 0 or number in (1, self._plan.total_steps):
            loss, norm = trainer.checked_numbers(step)
            self.pace.add(time.perf_counter() - step.started)
            note = self._log(trainer, state, loss, norm)
        else:
            awaited = self._plan.validates(number) or self._plan.saves(number)
            if awaited or self._device.type == "cpu":
                trainer.check()
            self.pace.add(time.perf_counter() - step.started)
        self._show(number, note)

    def _show(self, step: int, note: str | None = None) -> None:
        """Show `step` on the bar, which is at its start where the run went back beyond that."""
        self._bar.update(max(step - self._first, 0), note)

    def _log(self, trainer: Trainer, state: State, loss: float, norm: float) -> str:
        steps, seconds = self.pace.lap()
        rate = steps * self._plan.tokens_per_step / seconds
        rates = learning_rates(trainer.optimizer)
        self._metrics.train(
            state.step,
            state.tokens,
            loss=loss,
            learning_rate=self._plan.learning_rate(state.step),
            **({"learning_rates": rates} if len(set(rates.values())) > 1 else {}),
            gradient_norm=norm,
            tokens_per_second=round(rate, 1),
            mfu=round(rate * self._flops / self._peak, 4),
            memory=memory(self._device),
            seconds=seconds,
            seconds_left=round(self.pace.left(self._plan.total_steps - state.step), 1),
        )
        return f"loss {loss:.3f}, {rate:,.0f} tokens/s"

    def validation(self, state: State, found: Nats, texts: Sequence[tuple[str, str]]) -> None:
        """Report a validation and the continued prompts."""
        for prompt, text in texts:
            self._metrics.sample(state.step, prompt, text)
        self._metrics.valid(state.step, state.tokens, loss=found.loss, perplexity=found.perplexity)

    def smaller_batches(self, step: int, before: int, now: int) -> None:
        """Report that memory ran out in a step, which was then taken in smaller micro-batches."""
        passes = self._plan.sequences_per_step // now
        self.progress.say(
            f"out of memory in step {step:,} with micro-batches of {before}: from here on they "
            f"have {units.counted(now, 'sequence')}, {passes} per step"
        )

    def bad_step(self, state: State, bad: BadStep) -> None:
        """Report a step that was not taken."""
        self._metrics.bad_steps(state.bad_steps)
        self.progress.say(bad_steps.sentence(bad))

    def went_back(self, state: State) -> None:
        """Remove what was logged beyond `state`, from which the run continues."""
        self._metrics.begin(state.step, state.bad_steps)
        self._show(state.step)

    def end(self, state: State) -> None:
        """Report why a run ended before its last step."""
        if state.step < self._plan.total_steps:
            best = state.best.step if state.best else 0
            self.progress.say(
                f"training ends early after step {state.step:,}: no validation was better than "
                f"that of step {best:,} (train.patience = {self._plan.train.patience})"
            )
