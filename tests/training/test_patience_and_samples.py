"""What follows a validation: an early end, and texts."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tiny_training import contents, make_recipe

from jagpt import files
from jagpt.models import checkpoint_folder
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import stage
from jagpt.training.checkpoints import State, Validation
from jagpt.training.metrics import SAMPLES

MakeRun = Callable[..., RunDirectory]


def state(*losses: float) -> State:
    return State(validation=tuple(Validation(n, n, loss) for n, loss in enumerate(losses, 1)))


@pytest.mark.parametrize(
    ("losses", "patience", "exhausted"),
    [
        ((), 1, False),
        ((3.0, 2.0), 1, False),
        ((2.0, 2.0), 1, True),
        ((2.0, 3.0, 2.5), 2, True),
        ((2.0, 3.0, 1.5), 2, False),
        ((1.0, 2.0, 3.0, 4.0), None, False),
    ],
)
def test_patience_ends_with_validations_that_are_no_better(
    losses: tuple[float, ...], patience: int | None, exhausted: bool
) -> None:
    assert state(*losses).exhausted(patience) == exhausted


def test_a_run_without_progress_ends_early_and_is_done(make_run: MakeRun) -> None:
    recipe = make_recipe(learning_rate=1e-30, patience=2, max_steps=40, checkpoint_every=5)
    whole, broken = make_run("whole"), make_run("broken")
    stage.run(recipe, whole, QUIET)
    assert checkpoint_folder.standing(whole.own("train")) == [4, 10, 12]
    index = files.read_json(whole.own("train") / "index.json")
    assert (index["best"], index["last"]) == ("step-00000004", "step-00000012")
    stage.run(recipe, whole, QUIET)  # nothing is left to do

    def die(operation: str, path: object) -> None:
        if operation == "rename" and str(path).endswith("step-00000010"):
            raise RuntimeError("killed")

    with files.observed(die), pytest.raises(RuntimeError, match="killed"):
        stage.run(recipe, broken, QUIET)
    stage.run(recipe, broken, QUIET)
    assert contents(broken.own("train")) == contents(whole.own("train"))


def test_each_validation_continues_the_prompts_and_training_does_not_notice(
    make_run: MakeRun,
) -> None:
    talking, silent = make_run("talking"), make_run("silent")
    prompts = {"sample_prompts": '["<s> <cls>", ""]', "sample_tokens": 4}
    stage.run(make_recipe(execution=prompts), talking, QUIET)
    stage.run(make_recipe(execution={"sample_prompts": "[]"}), silent, QUIET)
    rows = [json.loads(line) for line in (talking.logs / SAMPLES).read_text().splitlines()]
    assert [(row["step"], row["prompt"]) for row in rows] == [
        (step, prompt) for step in (4, 8, 12) for prompt in ("<s> <cls>", "")
    ]
    assert (silent.logs / SAMPLES).read_text() == ""
    assert contents(talking.own("train")) == contents(silent.own("train"))
