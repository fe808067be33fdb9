"""A search over settings: what it may name, how it goes on, and what it leaves."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_training import Heard, make_recipe, signalled_at, weighted, write_tokenizer

from jagpt import recipe as recipes
from jagpt.errors import (
    DataError,
    JagptError,
    MissingExtraError,
    RecipeError,
    StoppedError,
    UsageError,
)
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.report import render
from jagpt.rundir import RunDirectory
from jagpt.training import search, session
from jagpt.training.stage import TrainStage
from jagpt.training.trials import BEST, Trials, Tried

MakeRun = Callable[..., RunDirectory]
RATE = {"train.learning_rate": {"low": 1e-4, "high": 1e-1}}
BASE = 'name = "x"\n[[corpus.source]]\nname = "s"\nkind = "text"\npath = "a.txt"\n'
BASE += "[train]\nmax_steps = 1\n[search.keys]\n"


def searched(keys: dict[str, Any], **train: Any) -> Recipe:
    recipe = make_recipe(**{"max_steps": 4, "validate_every": 2, "warmup_steps": 0, **train})
    table = recipes.Search.model_validate({"keys": keys})
    return recipe.model_copy(update={"search": table})


def test_a_search_that_is_stopped_ends_as_an_unbroken_one(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = searched({**RATE, "model.dropout": {"choice": [0.0, 0.2]}})
    whole, broken = make_run("whole"), make_run("broken")
    expected = search.search(recipe, whole, 6, None, QUIET)
    search.search(recipe, broken, 2, None, QUIET)
    for step in (2, 3):
        with signalled_at(monkeypatch, step, signal.SIGTERM), pytest.raises(StoppedError):
            search.search(recipe, broken, 6, None, QUIET)
    found = search.search(recipe, broken, 6, None, QUIET)
    assert [(one.settings, one.loss) for one in found.trials] == [
        (one.settings, one.loss) for one in expected.trials
    ]
    assert len({one.loss for one in found.trials}) > 2
    assert found == Trials.read(broken.root / "search")
    assert sorted(path.name for path in (broken.root / "search").iterdir()) == [
        BEST, Trials.FILE,
    ]  # fmt: skip
    assert search.search(recipe, broken, 3, None, QUIET) == found  # nothing is left to do


@pytest.mark.parametrize("failed", [False, True])
@pytest.mark.parametrize("more", [0, 1])
def test_a_search_that_is_killed_after_its_record_is_settled_by_the_next(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, failed: bool, more: int
) -> None:
    class Killed(BaseException):
        """As a SIGKILL: nothing catches it."""

    run, recipe = make_run(), searched(RATE)
    place, written = run.root / "search", Trials.write

    def write_and_die(self: Trials, directory: Path) -> None:
        lost = tuple(replace(one, loss=None, failed="lost") for one in self.trials)
        written(replace(self, trials=lost) if failed else self, directory)
        if self.trials:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Trials, "write", write_and_die)
        with pytest.raises(Killed):
            search.search(recipe, run, 1, None, QUIET)
    assert (place / "trial-1").is_dir()
    (place / BEST).write_text("an older one", "utf-8")
    found = search.search(recipe, run, 1 + more, None, QUIET)
    names = {path.name for path in place.iterdir()}
    if found.best is None:
        assert names == {Trials.FILE}
    else:
        assert names == {Trials.FILE, BEST}
        rate = found.best.settings["train.learning_rate"]
        assert recipes.load(place / BEST).train.learning_rate == rate


def test_the_best_recipe_is_a_recipe_and_trains_to_its_loss(make_run: MakeRun) -> None:
    run = make_run()
    found = search.search(searched(RATE), run, 3, None, QUIET)
    assert found.best is not None
    assert found.best.loss == min(one.loss for one in found.trials if one.loss is not None)
    best = recipes.load(run.root / "search" / BEST)
    assert best.train.learning_rate == found.best.settings["train.learning_rate"]
    assert not best.search.keys
    again = make_run("again")
    session.run(best, again, QUIET)
    losses = [row.loss for row in search.read_metrics(again.logs)[1]]
    assert min(loss for loss in losses if loss is not None) == found.best.loss
    page = render([run])
    assert "Trials of settings" in page
    assert f"{found.best.loss:.4f}" in page


def test_a_trial_that_fails_is_told_and_the_search_goes_on(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, heard, train = make_run(), Heard(), session.run

    def sometimes(recipe: Recipe, place: RunDirectory, progress: Any) -> None:
        if place.root.name == "trial-1":
            raise JagptError("the loss is not finite")
        train(recipe, place, progress)

    monkeypatch.setattr(session, "run", sometimes)
    found = search.search(searched(RATE), run, 2, None, heard)
    assert (found.trials[0].loss, found.trials[0].failed) == (None, "the loss is not finite")
    assert found.best is found.trials[1]
    assert [number for number, _ in found.ranked()] == [2, 1]
    assert "trial 1 failed: the loss is not finite" in heard.lines


def test_the_time_that_is_given_ends_the_search_and_a_later_one_goes_on(make_run: MakeRun) -> None:
    run, heard = make_run(), Heard()
    recipe = searched(RATE, max_steps=60)
    assert search.search(recipe, run, 2, 1e-7, heard).trials == ()
    assert any("hours are over" in line or "max_hours" in line for line in heard.lines)
    assert len(search.search(searched(RATE), run, 1, None, QUIET).trials) == 1


@pytest.mark.parametrize("change", ["recipe", "data", "weights", "teacher", "version"])
def test_trials_of_another_training_are_set_aside(
    make_run: MakeRun, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, begun = make_run(), tmp_path / "begun"
    session.run(make_recipe(max_steps=1, warmup_steps=0), make_run("first"), QUIET)
    shutil.copytree(make_run("first").own("train") / "step-00000001", begun)
    write_tokenizer(begun)
    given: dict[str, Any] = {}
    if change == "weights":
        given["model"] = {"from": str(begun)}
    elif change == "teacher":
        given["teacher"] = [str(begun)]
    recipe = other = searched(RATE, **given)
    first = search.search(recipe, run, 1, None, QUIET)
    assert search.search(recipe, run, 1, None, QUIET) == first
    if change == "recipe":
        other = searched(RATE, batch_size=1)
    elif change == "data":
        other = weighted(recipe, 0.5)
    elif change == "version":
        monkeypatch.setattr(TrainStage, "version", TrainStage.version + 1)
    else:
        tensors = load_file(begun / "model.safetensors")
        save_file({name: -value for name, value in tensors.items()}, begun / "model.safetensors")
    second = search.search(other, run, 1, None, QUIET)
    assert second.made_of != first.made_of
    assert Trials.read(run.superseded / "search") == first


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('"train.schedule" = { choice = [1] }', "a key that is not a number"),
        ('"train.document_mask" = { choice = [0, 1] }', "a key that is not a number"),
        ('"tokenizer.vocab_size" = { low = 1.0, high = 2.0 }', "changes the tokens"),
        ('"train.block_size" = { choice = [8, 16] }', "what losses are compared on"),
        ('"train.learning_rat" = { low = 0.1, high = 0.2 }', "a key that is not a number"),
        ('"train.learning_rate" = { low = 0.0, high = 0.2 }', "0 < low < high"),
        ('"train.learning_rate" = { low = 0.2 }', "0 < low < high"),
        ('"train.learning_rate" = { choice = [0.1], low = 0.2 }', "0 < low < high"),
        ('"train.learning_rate" = { low = 0.1, high = 20.0 }', "20; .*less than or equal to 10"),
        ('"train.warmup_steps" = { low = 1.5, high = 4.0 }', "1.5; .*valid integer"),
        ('"train.learning_rate" = { lowest = 0.1 }', "allowed are low, high, choice"),
    ],
)
def test_what_cannot_be_searched_over_is_told_with_all_mistakes(line: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        recipes.parse(BASE + line)


def test_ranges_and_choices_of_numbers_are_taken() -> None:
    lines = (
        '"train.learning_rate" = { low = 1e-4, high = 1 }',
        '"train.warmup_steps" = { low = 1, high = 1 }',
        '"train.clip_norm" = { choice = [0.5, 1] }',
        '"model.n_layer" = { choice = [2, 4] }',
    )
    with pytest.raises(RecipeError, match="warmup_steps"):
        recipes.parse(BASE + "\n".join(lines))
    recipe = recipes.parse(BASE + "\n".join(line for line in lines if "warmup" not in line))
    assert set(recipe.search.keys) == {"train.learning_rate", "train.clip_norm", "model.n_layer"}
    assert recipes.parse(recipe.to_toml()) == recipe
    assert "search" not in recipes.parse(BASE).to_toml()


@pytest.mark.parametrize(
    "settings",
    [
        {"a": 1},
        {},
        {"train.learning_rate": 0.01},
        {"train.learning_rate": 0.2, "model.n_layer": 1},
        {"train.learning_rate": 0.01, "model.n_layer": 3},
        {"train.learning_rate": 0.01, "model.n_layer": 1.5},
        {"train.learning_rate": 10**400, "model.n_layer": 1},
    ],
)
def test_trials_that_the_search_cannot_have_tried_are_damaged(
    make_run: MakeRun, settings: dict[str, float | int]
) -> None:
    run, recipe = make_run(), searched({**RATE, "model.n_layer": {"low": 1, "high": 2}})
    place = run.root / "search"
    known = search.search(recipe, run, 1, 1e-9, QUIET)
    told = Tried(settings=settings, loss=1.0, steps=1, seconds=1.0)
    replace(known, trials=(told,)).write(place)
    with pytest.raises(DataError, match=r"trials\.json: .* damaged: .*; delete the folder"):
        search.search(recipe, run, 1, None, QUIET)
    assert not (place / BEST).exists()


def test_whole_numbers_are_tried_as_such_however_they_are_written(make_run: MakeRun) -> None:
    keys = {"train.warmup_steps": {"choice": [1.0, 2.0]}, "model.n_layer": {"choice": [1.0]}}
    found = search.search(searched(keys), make_run(), 2, None, QUIET)
    for one in found.trials:
        assert one.failed is None
        assert [type(value) for value in one.settings.values()] == [int, int]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_search_whose_trials_all_failed_is_an_error(
    make_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    as_json: bool,
) -> None:
    from jagpt import cli, pipeline

    def fail(*_: Any) -> None:
        raise JagptError("the loss\nis not finite")

    run = make_run()
    recipe = run.root / "mine.toml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(BASE + '"train.learning_rate" = { low = 1e-4, high = 1e-1 }', "utf-8")
    monkeypatch.setattr(session, "run", fail)
    monkeypatch.setattr(pipeline, "require_inputs", lambda given, *_: given)
    arguments = ["train", str(recipe), "--trials", "2", "--run-dir", str(run.root)]
    with pytest.raises(SystemExit) as left:
        cli.main([*arguments, *["--json"] * as_json])
    assert left.value.code == 1
    said = capsys.readouterr()
    assert len(said.out.split("failed")) > 2  # the table of the trials, or their JSON
    assert "every trial failed: the loss is not finite; correct that, delete" in said.err


def test_a_recipe_without_keys_and_a_machine_without_optuna_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match=r"no \[search.keys\]"):
        search.check(make_recipe())
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"\[search\]"):
        search.check(searched(RATE))


def test_a_search_is_a_verb_s_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jagpt import cli

    for arguments, words in (
        (["--hours", "1"], "--hours needs --trials"),
        (["--trials", "2", "--nproc", "2"], "cannot be combined with --nproc or --force"),
        (["--trials", "2"], "no [search.keys]"),
    ):
        with pytest.raises(SystemExit) as left:
            cli.main(["train", "quickstart", "--run-dir", str(tmp_path / "run"), *arguments])
        assert left.value.code == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
