from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from jagpt.recipe import Model, Train
from jagpt.training.plan import Plan, continues, make_plan, same_steps

SHAPE = Model(n_layer=1, n_head=1, n_embd=8, n_positions=10)
TOKENS = 1000


def train(**values: Any) -> Train:
    return Train(**{"batch_size": 2, "grad_accum_steps": 5, **values})


def plan(**values: Any) -> Plan:
    return make_plan(SHAPE, train(**values), TOKENS)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"max_steps": 7}, 7),
        ({"max_epochs": 1.0}, 10),
        ({"max_epochs": 2.59}, 25),
        ({"max_epochs": 0.001}, 1),
        ({"max_epochs": 3.0, "max_steps": 12}, 12),
        ({"max_epochs": 1.0, "max_steps": 12}, 10),
    ],
)
def test_a_run_ends_with_what_comes_first(values: dict[str, Any], steps: int) -> None:
    assert plan(**values).total_steps == steps


def test_tokens_of_a_step() -> None:
    assert plan(max_steps=1).tokens_per_step == 2 * 5 * 10
    assert plan(max_steps=1, block_size=4).tokens_per_step == 2 * 5 * 4


def test_the_last_step_is_always_validated_and_saved() -> None:
    it = plan(max_steps=10, validate_every=4, checkpoint_every=3)
    assert [step for step in range(11) if it.validates(step)] == [4, 8, 10]
    assert [step for step in range(11) if it.saves(step)] == [3, 6, 9, 10]


def test_the_last_due_checkpoints_are_kept() -> None:
    it = plan(max_steps=10, checkpoint_every=3, keep_checkpoints=2)
    assert it.kept(2) == set()
    assert it.kept(3) == {3}
    assert it.kept(8) == {3, 6}
    assert it.kept(9) == {6, 9}
    assert it.kept(10) == {9, 10}


def section(**values: Any) -> dict[str, Any]:
    return {"model": SHAPE.semantic(), "train": train(**values).semantic()}


LONG, SHORT = {"max_steps": 100}, {"max_steps": 50}


@pytest.mark.parametrize(
    ("old", "new", "done", "expected"),
    [
        pytest.param({"schedule": "constant"} | SHORT, {"schedule": "constant"} | LONG, 50, True,
                     id="constant rate, longer"),
        pytest.param({"schedule": "constant"} | LONG, {"schedule": "constant"} | SHORT, 50, True,
                     id="constant rate, shorter"),
        pytest.param({"schedule": "constant"} | LONG, {"schedule": "constant"} | SHORT, 51, False,
                     id="already beyond the new end"),
        pytest.param({"schedule": "cosine"} | SHORT, {"schedule": "cosine"} | LONG, 50, False,
                     id="cosine to the run's end"),
        pytest.param({"schedule": "cosine", "warmup_steps": 20} | SHORT,
                     {"schedule": "cosine", "warmup_steps": 20} | LONG, 20, True,
                     id="still in the warm-up"),
        pytest.param({"schedule": "cosine", "warmup_steps": 20} | SHORT,
                     {"schedule": "cosine", "warmup_steps": 20} | LONG, 22, False,
                     id="just after the warm-up"),
        pytest.param({"schedule": "linear", "decay_steps": 40} | SHORT,
                     {"schedule": "linear", "decay_steps": 40} | LONG, 50, True,
                     id="the schedule's end is given"),
        pytest.param({"schedule": "constant"} | SHORT, {"schedule": "constant", "max_epochs": 3.0},
                     30, True, id="steps against epochs"),
        pytest.param({"schedule": "linear", "max_epochs": 5.0}, {"schedule": "linear"} | SHORT,
                     30, True, id="epochs that are as many steps"),
        pytest.param({"schedule": "wsd", "decay_share": 0.2} | SHORT,
                     {"schedule": "wsd", "decay_share": 0.2} | LONG, 40, True,
                     id="on the plateau"),
        pytest.param({"schedule": "wsd", "decay_share": 0.2} | SHORT,
                     {"schedule": "wsd", "decay_share": 0.2} | LONG, 42, False,
                     id="in the decay"),
        pytest.param({"schedule": "wsd", "decay_share": 0.2} | LONG,
                     {"schedule": "wsd", "decay_share": 0.2} | SHORT, 30, True,
                     id="a decay that begins earlier, but not yet"),
        pytest.param({"schedule": "constant", "average": "tail", "average_share": 0.1} | SHORT,
                     {"schedule": "constant", "average": "tail", "average_share": 0.1} | LONG,
                     45, True, id="not averaged yet"),
        pytest.param({"schedule": "constant", "average": "ema", "average_share": 0.1} | SHORT,
                     {"schedule": "constant", "average": "ema", "average_share": 0.1} | LONG,
                     46, False, id="averaged from another step on"),
        pytest.param({"schedule": "constant", "seed": 1} | SHORT,
                     {"schedule": "constant", "seed": 2} | LONG, 10, False, id="another seed"),
        pytest.param(SHORT, SHORT | {"keep_checkpoints": 3, "validate_every": 7, "patience": 2,
                                     "validate_tokens": 99, "checkpoint_every": 5}, 50, True,
                     id="when to look, save and end"),
        pytest.param({"schedule": "wsd", "decay_share": 0.2} | LONG,
                     {"schedule": "wsd", "decay_share": 0.4} | LONG, 60, True,
                     id="a decay of another length that has not begun"),
        pytest.param({"schedule": "wsd", "decay_share": 0.2} | LONG,
                     {"schedule": "wsd", "decay_share": 0.4} | LONG, 62, False,
                     id="a decay of another length that would have begun"),
        pytest.param({"schedule": "constant"} | LONG,
                     {"schedule": "wsd", "decay_share": 0.2} | LONG, 80, True,
                     id="a plateau is a constant rate"),
        pytest.param({"schedule": "constant"} | LONG,
                     {"schedule": "constant", "average": "tail", "average_share": 0.1} | LONG,
                     90, True, id="an average that has not begun"),
        pytest.param({"average": "ema", "average_share": 0.5, "average_decay": 0.9} | LONG,
                     {"average": "ema", "average_share": 0.5, "average_decay": 0.99} | LONG,
                     51, False, id="another average that has begun"),
        pytest.param({"average": "ema", "average_share": 0.5} | LONG,
                     {"average": "tail", "average_share": 0.5} | LONG,
                     51, False, id="another kind of average that has begun"),
        pytest.param({"on_bad_step": "stop"} | LONG, {"on_bad_step": "skip"} | LONG, 50, True,
                     id="what follows a bad step, and there was none"),
        pytest.param(LONG, {"spike_factor": 2.0} | LONG, 50, False, id="what a bad step is"),
        pytest.param(LONG, {"learning_rate": 1e-3} | LONG, 1, False, id="another rate"),
    ],
)  # fmt: skip
def test_a_run_goes_on_where_its_steps_would_have_been_the_same(
    old: dict[str, Any], new: dict[str, Any], done: int, expected: bool
) -> None:
    assert continues(section(**old), section(**new), done, TOKENS) is expected


def test_the_last_share_of_the_steps_is_averaged() -> None:
    assert plan(max_steps=50).average_start is None
    assert plan(max_steps=50, average="tail", average_share=0.1).average_start == 46
    assert plan(max_steps=50, average="ema", average_share=1.0).average_start == 1


def test_a_run_with_bad_steps_goes_on_only_under_the_same_rules() -> None:
    old, new = (section(max_steps=9, on_bad_step=rule) for rule in ("skip", "rewind"))
    assert continues(old, new, 5, TOKENS)
    assert not continues(old, new, 5, TOKENS, bad_steps=True)


@pytest.mark.parametrize("key", ["validate_every", "validate_tokens", "checkpoint_every"])
@pytest.mark.parametrize("rule", ["skip", "rewind"])
def test_where_a_bad_step_returned_to_stays_the_same(rule: str, key: str) -> None:
    old, new = ({"max_steps": 9, "on_bad_step": rule} | change for change in ({}, {key: 5}))
    rewinds = rule == "rewind"
    assert continues(section(**old), section(**new), 5, TOKENS)
    assert continues(section(**old), section(**new), 5, TOKENS, bad_steps=True) is not rewinds
    assert same_steps(section(**old), section(**new)) is not rewinds
    taught = (section(own_teachers=1, **values) for values in (old, new))
    assert continues(*taught, 5, TOKENS) is not rewinds  # the teachers may have had bad steps


@pytest.mark.parametrize("key", ["keep_checkpoints", "patience"])
def test_what_is_kept_and_when_to_end_is_free_after_bad_steps_too(key: str) -> None:
    old, new = ({"max_steps": 9, "on_bad_step": "rewind"} | change for change in ({}, {key: 5}))
    assert continues(section(**old), section(**new), 5, TOKENS, bad_steps=True)
    assert same_steps(section(**old), section(**new))


def test_another_model_never_goes_on() -> None:
    old, new = section(max_steps=5), section(max_steps=5)
    new["model"] = {**new["model"], "n_layer": 2}
    assert not continues(old, new, 1, TOKENS)


def test_a_section_of_another_version_does_not_go_on() -> None:
    old, new = section(max_steps=5), section(max_steps=6)
    for value in (old, new):
        value["train"] = {**value["train"], "a_key_of_the_future": 1}
    assert not continues(old, new, 1, TOKENS)
    assert not continues({}, section(max_steps=6), 1, TOKENS)


def test_planning_and_finding_checkpoints_import_no_torch() -> None:
    code = (
        "import sys, jagpt.training.plan, jagpt.training.checkpoints; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
