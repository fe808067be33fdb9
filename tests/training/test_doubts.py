from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_training import Heard, make_recipe, write_tokens

from jagpt import recipe as recipes
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.training import session
from jagpt.training.data import prepare
from jagpt.training.doubts import doubts

MakeRun = Callable[..., RunDirectory]


def found(recipe: Recipe, tokens: Path) -> list[str]:
    data, plan = prepare(recipe, tokens, 1)
    return list(doubts(recipe, plan, data))


def test_steps_at_a_rate_of_zero_are_told(inputs: dict[str, Path]) -> None:
    decays: dict[str, Any] = {"schedule": "linear", "decay_steps": 8}
    (doubt,) = found(make_recipe(**decays), inputs["tokens"])
    assert "train.decay_steps is 8: from step 9 to the last, 12, the learning rate is 0" in doubt
    assert not found(make_recipe(**decays, min_learning_rate_share=0.1), inputs["tokens"])
    assert not found(make_recipe(schedule="linear", decay_steps=12), inputs["tokens"])
    assert not found(make_recipe(schedule="constant"), inputs["tokens"])


def test_a_valid_split_of_one_document_is_told(tmp_path: Path) -> None:
    write_tokens(tmp_path, {"train": 60, "valid": 1, "test": 1})
    (doubt,) = found(make_recipe(), tmp_path)
    assert "the valid split is a single document of" in doubt


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("quickstart", ["train.batch_size=1"], "the shipped quickstart, where a step has 2,048 .*"
         "here it has 256, and smaller steps need lower rates"),
        ("quickstart", ["train.batch_size=64"], "larger steps need higher rates"),
        ("quickstart", ["train.batch_size=4"], None),
        ("quickstart", ["train.batch_size=1", "train.learning_rate=1e-4"], None),
        ("mine", ["train.grad_accum_steps=1"], "train.learning_rate: as in the defaults, where a "
         "step has 32,768 tokens; here it has 2,048"),
        ("mine", ["train.optimizer=muon", "train.grad_accum_steps=1"], "train.learning_rate and "
         "train.muon_learning_rate: as in the defaults"),
        ("mine", ["train.grad_accum_steps=1", "train.learning_rate=1e-4"], None),
    ],
)  # fmt: skip
def test_a_rate_that_is_of_another_batch_is_told(
    inputs: dict[str, Path], name: str, settings: list[str], words: str | None
) -> None:
    if name == "mine":
        text = 'name = "mine"\n[[corpus.source]]\nname = "n"\nkind = "text"\npath = "n.txt"\n'
        recipe = recipes.parse(text, overrides=["train.max_steps=5", *settings])
    else:
        recipe = recipes.load(name, settings)
    data, plan = prepare(make_recipe(), inputs["tokens"], 1)
    told = list(doubts(recipe, plan, data))
    assert len(told) == (words is not None)
    assert words is None or re.search(words, told[0])


def test_a_doubt_is_said_before_the_first_step(make_run: MakeRun) -> None:
    heard = Heard()
    session.run(make_recipe(schedule="linear", decay_steps=8), make_run(), heard)
    assert heard.lines[0].startswith("warning: train.decay_steps is 8")
