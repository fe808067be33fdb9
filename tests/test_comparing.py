from __future__ import annotations

import shlex

import fakes
import pytest

from jagpt import comparing
from jagpt import recipe as recipes


def test_tells_the_shipped_recipe_and_what_was_set() -> None:
    changes = ["train.max_steps=60", "train.learning_rate=2e-3", "release.title=私の モデル"]
    recipe = recipes.load("quickstart", changes)
    found = comparing.command(recipe, "mine")
    words = shlex.split(found)
    assert words[:3] == ["jagpt", "run", "quickstart"]
    assert words[-2:] == ["--run-dir", "mine"]
    assert recipes.load("quickstart", words[4:-2:2]) == recipe
    assert len(words[3:-2]) == 2 * len(changes)


@pytest.mark.parametrize("name", list(recipes.shipped_recipes()))
def test_a_shipped_recipe_needs_nothing_set(name: str) -> None:
    assert comparing.command(recipes.load(name), name) == f"jagpt run {name}"


def test_what_decides_nothing_is_left_out() -> None:
    recipe = recipes.load("quickstart", ["execution.workers=7"])
    assert comparing.command(recipe, "quickstart") == "jagpt run quickstart"


@pytest.mark.parametrize(
    "change",
    ["corpus.source.0.path=elsewhere.xml", "train.decay_steps=150", "tokens.from=../other"],
)
def test_what_set_can_say_is_said(change: str) -> None:
    recipe = recipes.load("quickstart", [change])
    assert change.split("=")[0] in comparing.command(recipe, "x")


def test_other_recipes_are_named_by_their_run() -> None:
    assert comparing.command(fakes.recipe(), "runs a") == "jagpt run 'runs a'"
    assert comparing.command(None, "x") == "jagpt run x"


def test_differences_are_the_keys_that_are_not_alike() -> None:
    one, two = recipes.load("quickstart"), recipes.load("quickstart", ["train.max_steps=60"])
    assert comparing.differences([one, two]) == [("train.max_steps", ["200", "60"])]
    assert comparing.differences([one, None]) == []
    assert comparing.differences([one]) == []
