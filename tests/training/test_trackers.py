"""W&B and trackio get the figures, with packages that only look like them."""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tiny_training import make_recipe

from jagpt import files
from jagpt.errors import MissingExtraError
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.training import session, trackers

MakeRun = Callable[..., RunDirectory]


class Fake(ModuleType):
    """A tracker's package that remembers what it is told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = importlib.machinery.ModuleSpec(name, None)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def init(self, **options: Any) -> Fake:
        self.calls.append(("init", options))
        return self

    def define_metric(self, *names: str, **options: Any) -> None:
        self.calls.append(("define_metric", options))

    def log(self, values: dict[str, float], step: int | None = None) -> None:
        self.calls.append(("log", {"step": step, **values}))

    def finish(self) -> None:
        self.calls.append(("finish", {}))


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_gets_the_figures_of_every_row(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    fake = Fake(name)
    monkeypatch.setitem(sys.modules, name, fake)
    execution = {"trackers": f'["{name}"]', "log_every": 4}
    session.run(make_recipe(execution=execution), make_run(), QUIET)
    kind, options = fake.calls[0]
    assert kind == "init"
    assert (options["project"], options["resume"]) == ("jagpt", "allow")
    assert options["name"].partition("-")[0] == "tiny"
    assert options["config"]["train"]["max_steps"] == 12
    logged = [values for kind, values in fake.calls if kind == "log"]
    train = [values for values in logged if "loss/train" in values]
    assert [values["step"] for values in train] == [1, 4, 8, 12]
    assert {"train/mfu", "train/memory", "train/seconds_left"} <= set(train[0])
    assert sum("loss/valid" in values for values in logged) == 3
    assert fake.calls[-1][0] == "finish"


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_tracker_that_is_not_installed_is_told_before_anything_runs(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(trackers.importlib.util, "find_spec", lambda _: None)
    recipe = make_recipe(execution={"trackers": f'["{name}"]'})
    with pytest.raises(MissingExtraError, match=rf"\[{name}\]") as caught:
        session.preflight(recipe, make_run())
    assert caught.value.exit_code == 2


def test_without_trackers_none_is_opened(tmp_path: Path) -> None:
    with trackers.opened(make_recipe(), tmp_path, fresh=True) as found:
        assert found == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "key"), [("wandb", "id"), ("trackio", "name")])
def test_a_training_that_goes_on_is_one_run_and_a_new_one_another(
    make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    fake = Fake(name)
    monkeypatch.setitem(sys.modules, name, fake)

    def train(steps: int, **changed: Any) -> str:
        settings = {"schedule": "constant", "execution": {"trackers": f'["{name}"]'}, **changed}
        session.run(make_recipe(max_steps=steps, **settings), run, QUIET)
        return str([options for kind, options in fake.calls if kind == "init"][-1][key])

    run = make_run()
    first = train(6)
    assert train(9) == first
    files.remove(run.own("train"))  # as a stage that is made anew finds it
    second = train(6, learning_rate=1e-3)
    assert second != first
    (run.logs / trackers.ID).write_text("{")  # a damaged log stops nothing
    third = train(9, learning_rate=1e-3)
    assert third not in (first, second)
    assert train(12, learning_rate=1e-3) == third
