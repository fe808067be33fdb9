"""The story of training: from a run's current state to its last step."""

from __future__ import annotations

from jagpt.training import bad_steps
from jagpt.training.keeper import Keeper
from jagpt.training.plan import Plan
from jagpt.training.reporter import Reporter
from jagpt.training.state import BadStep, State
from jagpt.training.stopping import Interrupted, StopRequest
from jagpt.training.trainer import Step, Trainer
from jagpt.training.validation import Validator


def fit(
    plan: Plan,
    trainer: Trainer,
    validator: Validator,
    keeper: Keeper,
    reporter: Reporter,
    stop: StopRequest,
) -> State:
    """Train to the plan's last step, or until patience ends; returns the final state.

    The trainer's weights always belong to `state`. Raises `StoppedError` (SIGTERM, the time limit)
    or `KeyboardInterrupt` once there is a checkpoint from which the same command continues, and
    `JagptError` after a step from which the run cannot continue. Every rank runs this, in the same
    state.
    """
    state = keeper.restore(trainer)
    with reporter.following(state), keeper.explained():
        try:
            while True:
                if plan.validates(state.step) and not state.validated():
                    state = _validated(trainer, validator, reporter, stop, state)
                if state.due(plan):
                    state = keeper.save(trainer, state)
                if state.step == plan.total_steps or state.exhausted(plan.train.patience):
                    break
                stop.between_steps(reporter.pace.reserve(keeper.seconds))
                state, step = _gradient(plan, trainer, reporter, stop, state)
                state, bad = _judged(plan, keeper, state, step)
                if bad is None:
                    trainer.take(step)
                else:
                    reporter.bad_step(state, bad)
                    if bad.resumed is not None:
                        state = keeper.go_back(trainer, state, bad)
                        reporter.went_back(state)
                        continue
                    trainer.leave_out(step)
                state = state.stepped(plan)
                reporter.step(trainer, state, step)
            state = keeper.save(trainer, state)
            reporter.end(state)
        except Interrupted:
            if state.step:
                keeper.save(trainer, state)
            done = f"{state.step:,} of {plan.total_steps:,}"
            stop.leave(f"training stopped after step {done}", reporter.progress)
    keeper.settle(state)
    return state


def _gradient(
    plan: Plan, trainer: Trainer, reporter: Reporter, stop: StopRequest, state: State
) -> tuple[State, Step]:
    """The gradient of the next step; the state records its micro-batch, if that is ours to
    choose.
    """
    size = trainer.batch_size
    step = trainer.gradient(state, stop.break_off)
    if trainer.batch_size < size:
        reporter.smaller_batches(step.number, size, trainer.batch_size)
    return state.in_batches_of(trainer.batch_size) if plan.sizes else state, step


def _validated(
    trainer: Trainer, validator: Validator, reporter: Reporter, stop: StopRequest, state: State
) -> State:
    """The state with the loss of the weights that count: the average, if there is one."""
    trainer.check()
    with trainer.average.in_place():
        found = validator.measure(state.step, trainer.batch_size, stop.asked)
        texts = validator.samples()
    reporter.validation(state, found, texts)
    return state.with_validation(found.loss)


def _judged(plan: Plan, keeper: Keeper, state: State, step: Step) -> tuple[State, BadStep | None]:
    """The state with the result of `step`, and what is wrong with it; waits for the GPU."""
    if not bad_steps.watched(plan.train):
        return state, None
    return bad_steps.judged(plan, state, keeper.due, *step.numbers())
