"""A loss that is no number, or a spike, ends the run, is left out, or sends the run back."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tiny_training import contents, logged_rows, make_recipe, signalled_at, train_section

from jagpt import files
from jagpt.errors import JagptError, StoppedError
from jagpt.models.checkpoint_folder import standing
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit, TrainingOrder
from jagpt.training import bad_steps, session
from jagpt.training.bad_steps import Unbearable
from jagpt.training.checkpoints import read
from jagpt.training.metrics import BAD_STEPS
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan
from jagpt.training.reporter import Reporter
from jagpt.training.state import State

MakeRun = Callable[..., RunDirectory]


@contextmanager
def poisoned(
    monkeypatch: pytest.MonkeyPatch, run: RunDirectory, sequences: set[int], factor: float
) -> Iterator[None]:
    """Nats of training batches that begin with one of these sequences come out times `factor`."""
    order = TrainingOrder(
        TokenSplit.open(run.tokens, "train"),
        block_size=16, order="documents", seed=7, shuffle_buffer=1,
    )  # fmt: skip
    poison = [torch.from_numpy(order.sequences(number, 1))[0] for number in sequences]
    nats = Learner.nats

    def poisoned_nats(self: Learner, batch: Any, scale: Any = None) -> Any:
        bad = torch.is_grad_enabled() and any(torch.equal(batch[0], one) for one in poison)
        return nats(self, batch, scale) * (factor if bad else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "nats", poisoned_nats)
        yield


def recipe(action: str, **values: Any) -> Recipe:
    return make_recipe(**{"on_bad_step": action, "max_steps": 12, **values})


def plan_of(action: str, **values: Any) -> Plan:
    train = recipe(action, **values).train
    assert train.max_steps is not None
    return Plan(train, 16, train.max_steps)


def last_state(run: RunDirectory) -> State:
    return read(sorted(run.own("train").glob("step-*"))[-1])


@pytest.mark.parametrize(
    ("loss", "norm", "reason"),
    [
        (math.nan, 1.0, "its loss is not finite"),
        (1.0, math.inf, "its gradient is not finite"),
        (4.1, 1.0, "its loss 4.100 is above 2 × 2.000"),
        (3.9, 99.0, None),
    ],
)
def test_what_is_bad(loss: float, norm: float, reason: str | None) -> None:
    train = train_section(spike_factor=2.0, spike_window=2)
    state = State(losses=(1.0, 3.0))
    assert bad_steps.reason_against(train, state, loss, norm) == reason


def test_spikes_are_looked_for_once_the_window_is_full() -> None:
    train = train_section(spike_factor=1.5, spike_window=3)
    state = State(losses=(1.0, 1.0))
    assert bad_steps.reason_against(train, state, 9.0, 1.0) is None
    state = bad_steps.remembered(train, state, 2.0)
    state = bad_steps.remembered(train, state, 3.0)
    assert state.losses == (1.0, 2.0, 3.0)
    assert bad_steps.remembered(train_section(), State(), 1.0).losses == ()


def test_in_fp16_the_scaler_cares_for_infinite_gradients() -> None:
    assert bad_steps.reason_against(train_section(precision="fp16"), State(), 1.0, math.inf) is None


def test_too_many_bad_steps_end_the_run() -> None:
    plan = Plan(train_section(on_bad_step="skip", max_bad_steps=2), 16, 10)
    state = State()
    for step in (1, 2):
        state, bad = bad_steps.judged(plan, state, None, math.nan, 1.0)
        assert bad is not None
        assert bad.step == step
        state = state.stepped(plan)
    with pytest.raises(
        Unbearable, match=r"2 before it were bad too \(train.max_bad_steps = 2\)"
    ) as caught:
        bad_steps.judged(plan, state, None, math.nan, 1.0)
    assert caught.value.step == 3


def test_a_bad_step_is_left_out_and_logged(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    with poisoned(monkeypatch, run, {16, 18}, math.nan):  # both micro-batches of step 5
        session.run(recipe("skip"), run, QUIET)
    (bad,) = last_state(run).bad_steps
    assert (bad.step, bad.sequence, bad.sequences, bad.loss, bad.resumed) == (5, 16, 4, None, None)
    (row,) = [json.loads(line) for line in (run.logs / BAD_STEPS).read_text().splitlines()]
    assert row["reason"] == "its loss is not finite"
    logged = {r["step"]: r["loss"] for r in logged_rows(run) if r["kind"] == "train"}
    assert logged.pop(5) is None
    assert len(logged) == 11
    assert all(math.isfinite(loss) for loss in logged.values())
    stop = make_run("stop")
    with poisoned(monkeypatch, stop, {16}, math.nan), pytest.raises(JagptError, match="at step 5"):
        session.run(recipe("stop", checkpoint_every=4), stop, QUIET)
    assert last_state(stop).step == 4


def test_a_spike_is_left_out(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    with poisoned(monkeypatch, run, {32, 34}, 3.0):
        session.run(recipe("skip", spike_factor=1.5, spike_window=4), run, QUIET)
    (bad,) = last_state(run).bad_steps
    assert bad.step == 9
    assert bad.loss == pytest.approx(3 * 3.9, rel=0.1)
    assert len(last_state(run).losses) == 4


def test_an_interruption_saves_no_weights_after_a_bad_step_that_nobody_saw(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Reporter.__init__

    def as_on_a_gpu(self: Reporter, *arguments: Any) -> None:  # it waits only for steps it logs
        begin(self, *arguments)
        self._device = torch.device("meta")

    run = make_run()
    it = recipe("stop", checkpoint_every=4, execution={"log_every": 100})
    monkeypatch.setattr(Reporter, "__init__", as_on_a_gpu)
    with (
        poisoned(monkeypatch, run, {16}, math.nan),
        signalled_at(monkeypatch, 7, signal.SIGTERM),
        pytest.raises(JagptError, match=r"failed at step 5.*the checkpoint of step 4 is intact"),
    ):
        session.run(it, run, QUIET)
    assert last_state(run).step == 4
    session.run(it, run, QUIET)
    assert last_state(run).step == 12


@pytest.mark.parametrize("action", ["skip", "rewind"])
def test_a_run_with_bad_steps_that_is_killed_ends_as_the_unbroken_one(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    settings = {"spike_factor": 1.5, "spike_window": 3, "max_steps": 14}
    whole, broken = make_run("whole"), make_run("broken")
    with poisoned(monkeypatch, whole, {20, 40}, 2.5):
        session.run(recipe(action, **settings), whole, QUIET)
        for step in ("step-00000006", "step-00000009", "step-00000012"):

            def die(operation: str, path: Any, step: str = step) -> None:
                if operation == "rename" and path.name == step:
                    raise RuntimeError("killed")

            with files.observed(die), pytest.raises(RuntimeError, match="killed"):
                session.run(recipe(action, **settings), broken, QUIET)
        session.run(recipe(action, **settings), broken, QUIET)
    assert contents(broken.own("train")) == contents(whole.own("train"))
    assert (broken.logs / BAD_STEPS).read_text() == (whole.logs / BAD_STEPS).read_text()
    assert len(last_state(whole).bad_steps) == 2
    for folder in whole.own("train").glob("step-*"):
        assert bad_steps.follows(plan_of(action, **settings), read(folder))


def test_a_run_goes_back_and_on_with_the_data_after_the_bad_step(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    with poisoned(monkeypatch, run, {28, 30}, math.nan):  # step 8; checkpoints at 3, 4, 6
        session.run(recipe("rewind"), run, QUIET)
    state = last_state(run)
    assert [(bad.step, bad.resumed) for bad in state.bad_steps] == [(8, 6)]
    assert (state.step, state.sequences) == (12, (12 + 2) * 4)
    assert bad_steps.follows(plan_of("rewind"), state)
    steps = [row["step"] for row in logged_rows(run) if row["kind"] == "train"]
    assert steps == list(range(1, 13))


def test_an_interruption_changes_nothing_about_where_a_bad_step_returns(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = recipe("rewind", max_steps=16, checkpoint_every=8, validate_every=8)
    whole, broken = make_run("whole"), make_run("broken")
    with poisoned(monkeypatch, whole, {48, 50}, math.nan):  # step 13
        session.run(it, whole, QUIET)
        for step in (11, 10):  # before the bad step, and after the return from there
            with signalled_at(monkeypatch, step, signal.SIGTERM), pytest.raises(StoppedError):
                session.run(it, broken, QUIET)
        assert standing(broken.own("train")) == [8, 9]
        session.run(it, broken, QUIET)
    assert [(bad.step, bad.resumed) for bad in last_state(whole).bad_steps] == [(13, 8)]
    assert contents(broken.own("train")) == contents(whole.own("train"))
    assert [row["step"] for row in logged_rows(broken)] == [
        row["step"] for row in logged_rows(whole)
    ]


def test_before_the_first_checkpoint_there_is_nothing_to_go_back_to(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    with (
        poisoned(monkeypatch, run, {4}, math.inf),
        pytest.raises(JagptError, match="to return to"),
    ):
        session.run(recipe("rewind"), run, QUIET)
