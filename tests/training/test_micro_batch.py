"""The micro-batch that the machine chooses: what fits, what a run goes on with, what it changes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_training import Heard, contents, logged_rows, make_recipe, train_section

from jagpt.errors import JagptError
from jagpt.models import build
from jagpt.progress import QUIET
from jagpt.recipe import Model, Recipe
from jagpt.rundir import RunDirectory
from jagpt.training import micro_batch, parallel, session
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan, micro_batches
from jagpt.training.state import BatchSize, State

MakeRun = Callable[..., RunDirectory]


def recipe(max_steps: int = 8, **values: Any) -> Recipe:
    """Four sequences per step, and no dropout unless it is asked for."""
    plain = {"batch_size": "auto", "grad_accum_steps": None, "sequences_per_step": 4}
    plain |= {"schedule": "constant", "checkpoint_every": 2, "model": {"dropout": 0.0}}
    return make_recipe(**{**plain, "max_steps": max_steps, **values})


def plan(sequences: int = 24, block_size: int = 1024, ranks: int = 1) -> Plan:
    train = train_section(batch_size="auto", sequences_per_step=sequences, precision="fp32")
    found = Plan(train, block_size, total_steps=10)
    return replace(found, sizes=micro_batches(found, ranks))


class Small:
    """A device whose memory holds `most` sequences in training; `sizes` are those that came."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.most, self.sizes = most, list[int]()
        nats = parallel.model_nats

        def bounded(network: Any, sequences: torch.Tensor, *rest: Any, **options: Any) -> Any:
            if torch.is_grad_enabled():
                self.sizes.append(len(sequences))
                if len(sequences) > self.most:
                    raise torch.OutOfMemoryError("CUDA out of memory")
            return nats(network, sequences, *rest, **options)

        monkeypatch.setattr(parallel, "model_nats", bounded)


def losses(run: RunDirectory) -> list[float]:
    return [row["loss"] for row in logged_rows(run)]


def sizes_of(run: RunDirectory, step: int) -> list[tuple[int, int]]:
    path = run.own("train") / f"step-{step:08}" / "state.json"
    found = json.loads(path.read_text("utf-8"))
    return [(entry["step"], entry["size"]) for entry in found["batch_sizes"]]


def test_a_micro_batch_divides_each_ranks_share_of_a_step() -> None:
    assert plan().sizes == (24, 12, 8, 6, 4, 3, 2, 1)
    assert plan(ranks=2).sizes == (12, 6, 4, 3, 2, 1)
    assert plan(block_size=8192).sizes == (8, 6, 4, 3, 2, 1)
    assert plan(block_size=1 << 20).sizes == (1,)
    smaller = plan().in_batches_of(7)
    assert smaller is not None
    assert (smaller.train.batch_size, smaller.train.grad_accum_steps) == (6, 4)
    assert smaller.tokens_per_step == plan().tokens_per_step
    assert plan().in_batches_of(0) is None


@pytest.fixture
def learner() -> Learner:
    shape = Model(n_layer=1, n_head=2, n_embd=16, n_positions=16, dropout=0.1)
    return Learner(build.network(shape, 64, build.SPECIAL, 0))


def test_on_a_cpu_the_choice_is_the_same_everywhere(learner: Learner) -> None:
    heard = Heard()
    assert micro_batch.chosen(plan(), learner, None, heard).train.batch_size == 8
    assert heard.lines == ["train.batch_size: 8 (at most 8,192 tokens on cpu), 3 a step"]


def test_a_run_that_goes_on_keeps_its_micro_batch(learner: Learner) -> None:
    state = State(step=5, batch_sizes=(BatchSize(1, 12), BatchSize(3, 6)))
    assert micro_batch.chosen(plan(), learner, state, QUIET).train.batch_size == 6
    shared = micro_batch.chosen(plan(ranks=3), learner, state, QUIET)  # 8 sequences a rank
    assert shared.train.batch_size == 4


def test_the_largest_that_fits_is_found_by_trying(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(monkeypatch, most=5)
    before = [parameter.clone() for parameter in learner.network.parameters()]
    assert micro_batch._largest(plan(block_size=16), learner) == 4
    assert small.sizes == [24, 12, 8, 6, 4, 4]  # with the gradients of a first one there
    assert all(map(torch.equal, before, learner.network.parameters()))
    assert all(parameter.grad is None for parameter in learner.network.parameters())


def test_other_errors_are_no_want_of_memory(
    learner: Learner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("an illegal memory access")

    monkeypatch.setattr(parallel, "model_nats", broken)
    with pytest.raises(RuntimeError, match="illegal"):
        micro_batch._largest(plan(block_size=16), learner)


def test_out_of_memory_a_run_goes_on_with_half_and_says_so(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, lowered, heard = make_run("whole"), make_run("lowered"), Heard()
    session.run(recipe(), whole, QUIET)
    assert sizes_of(whole, 8) == [(1, 4)]
    small = Small(monkeypatch, most=4)
    session.run(recipe(4), lowered, heard)
    small.most = 2
    session.run(recipe(), lowered, heard)
    said = "out of memory in step 5 with micro-batches of 4: from here on they have 2 sequences, 2"
    assert [line for line in heard.lines if line.startswith(said)]
    assert sizes_of(lowered, 8) == [(1, 4), (5, 2)]
    assert small.sizes == [4] * 5 + [2] * 8
    assert losses(lowered) == pytest.approx(losses(whole), rel=1e-5)


def test_what_was_lowered_stays_and_bits_are_those_of_an_unbroken_run(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropping = {"model": {"dropout": 0.1}}
    small = Small(monkeypatch, most=2)
    whole, broken = make_run("whole"), make_run("broken")
    session.run(recipe(**dropping), whole, QUIET)
    session.run(recipe(4, **dropping), broken, QUIET)
    small.most, small.sizes = 4, []
    session.run(recipe(**dropping), broken, QUIET)
    assert set(small.sizes) == {2}
    assert contents(broken.own("train")) == contents(whole.own("train"))


def test_the_machines_choice_is_that_of_a_recipe_which_says_it(make_run: MakeRun) -> None:
    open_, said = make_run("open"), make_run("said")
    session.run(recipe(model={"dropout": 0.1}), open_, QUIET)
    stated = recipe(model={"dropout": 0.1}, batch_size=4, grad_accum_steps=1)
    session.run(stated, said, QUIET)
    ours, theirs = contents(open_.own("train")), contents(said.own("train"))
    assert {key for key in ours if ours[key] != theirs[key]} == {
        key for key in ours if key.endswith("state.json")
    }


def test_one_sequence_that_does_not_fit_is_told(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = Small(monkeypatch, most=0)
    with pytest.raises(JagptError, match=r"out of memory with a micro-batch of one sequence: "):
        session.run(recipe(), make_run(), QUIET)
    assert small.sizes == [4, 2, 1]
