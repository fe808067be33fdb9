from __future__ import annotations

import json
from collections.abc import Callable

from tiny_training import contents, make_recipe

from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import session
from jagpt.training.metrics import SAMPLES

MakeRun = Callable[..., RunDirectory]


def test_each_validation_continues_the_prompts_and_training_does_not_notice(
    make_run: MakeRun,
) -> None:
    talking, silent = make_run("talking"), make_run("silent")
    prompts = {"sample_prompts": '["<s> <cls>", ""]', "sample_tokens": 4}
    session.run(make_recipe(execution=prompts), talking, QUIET)
    session.run(make_recipe(execution={"sample_prompts": "[]"}), silent, QUIET)
    rows = [json.loads(line) for line in (talking.logs / SAMPLES).read_text().splitlines()]
    assert [(row["step"], row["prompt"]) for row in rows] == [
        (step, prompt) for step in (4, 8, 12) for prompt in ("<s> <cls>", "")
    ]
    assert (silent.logs / SAMPLES).read_text() == ""
    assert contents(talking.own("train")) == contents(silent.own("train"))
