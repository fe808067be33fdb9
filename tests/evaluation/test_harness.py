from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import fakes
import pytest
from fakes import model_folder

from jagpt import models
from jagpt.errors import DataError, MissingExtraError, StorageError, UsageError
from jagpt.evaluation import checkpoint, harness
from jagpt.evaluation.result import TaskFigures
from jagpt.progress import QUIET
from jagpt.release import metadata
from jagpt.release.facts import Facts

FOUND = TaskFigures(
    harness="lm-eval 0.4.13", version="1.0", shots=3, examples=8, dataset="ORG/SET part",
    prompt="解く。問：{{ question }}", metrics={"acc,none": 0.5},
)  # fmt: skip


@pytest.fixture
def subject(tmp_path: Path) -> models.ModelFolder:
    return models.open(model_folder(tmp_path / "model"))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for lm_eval that notes what it is handed."""
    seen = SimpleNamespace(error=None)

    def simple_evaluate(
        model: Any, tasks: list[str], task_manager: Any, gen_kwargs: Any
    ) -> dict[str, Any]:
        if seen.error:
            raise seen.error
        seen.tasks, seen.model, seen.gen_kwargs = tasks, model, gen_kwargs
        row = {"alias": "known", "acc,none": 0.5, "acc_stderr,none": "N/A"}
        config = {"dataset_path": "ORG/SET", "dataset_name": "part", "description": "解く。",
                  "doc_to_text": "問：{{ question }}"}  # fmt: skip
        return {
            "results": dict.fromkeys(tasks, row),
            "configs": dict.fromkeys(tasks, config),
            "versions": dict.fromkeys(tasks, 1.0),
            "n-shot": dict.fromkeys(tasks, 3),
            "n-samples": {task: {"original": 9, "effective": 8} for task in tasks},
        }

    class TaskManager:
        def match_tasks(self, names: list[str]) -> list[str]:
            return [name for name in names if name == "known" or name.startswith("ja_")]

    names = ("lm_eval", "lm_eval.models", "lm_eval.models.huggingface", "lm_eval.tasks")
    modules: dict[str, Any] = {name: ModuleType(name) for name in names}
    modules["lm_eval"].simple_evaluate = simple_evaluate
    modules["lm_eval"].__version__ = "0.4.13"
    modules["lm_eval.models.huggingface"].HFLM = lambda **named: SimpleNamespace(**named)
    modules["lm_eval.tasks"].TaskManager = TaskManager
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def test_the_loaded_model_is_handed_over(
    subject: models.ModelFolder, given: SimpleNamespace
) -> None:
    assert harness.measure(subject, ["known"]) == {"known": FOUND}
    assert given.model.pretrained is subject.network
    assert given.model.tokenizer is subject.tokenizer
    assert given.gen_kwargs == {"max_gen_toks": 24}  # half of a context below 256


def test_an_unknown_task_is_named(subject: models.ModelFolder, given: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="nothing: lm-evaluation-harness knows no such task"):
        harness.measure(subject, ["known", "nothing"])


def test_data_that_cannot_be_fetched(subject: models.ModelFolder, given: SimpleNamespace) -> None:
    given.error = ConnectionError("offline")
    with pytest.raises(StorageError, match="offline"):
        harness.measure(subject, ["known"])


def test_what_the_harness_cannot_do_is_told_in_a_line(
    subject: models.ModelFolder, given: SimpleNamespace
) -> None:
    given.error = ValueError("BuilderConfig 'JNLI' not found.\nAvailable: none")
    with pytest.raises(DataError, match="failed: BuilderConfig 'JNLI' not found"):
        harness.measure(subject, ["known"])


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"\[harness\]"):
        harness.require()


SUITE = fakes.RECIPE.replace("[release]", '[evaluate]\nsuite = "ja"\n\n[release]')


def test_a_recipes_suite_is_measured_and_told_by_the_cards_metadata(
    tmp_path: Path, given: SimpleNamespace
) -> None:
    run, recipe = fakes.run_directory(tmp_path / "run"), fakes.recipe(SUITE)
    found = checkpoint.measure_checkpoint(recipe, run, QUIET)
    assert tuple(found.tasks) == harness.SUITES["ja"]
    assert set(given.tasks) == set(harness.SUITES["ja"])
    found.write(run.evaluation)
    assert type(found).read(run.evaluation) == found
    results = metadata.of_model(recipe, Facts(evaluation=found)).to_dict()["model-index"][0]
    (told,) = (row for row in results["results"] if "jnli" in str(row["metrics"]))
    assert (told["dataset"]["type"], told["dataset"]["config"]) == ("ORG/SET", "part")
    name = "acc (ja_leaderboard_jnli 1.0, 3-shot, lm-eval 0.4.13)"
    assert {"type": "accuracy", "value": 0.5, "name": name} in told["metrics"]


def test_the_suite_changes_no_finished_evaluation() -> None:
    assert "suite" not in fakes.recipe().evaluate.semantic()
    assert fakes.recipe(SUITE).evaluate.semantic()["suite"] == "ja"


def test_a_suite_without_the_package_is_refused_before_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jagpt.stages import EVALUATE

    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"evaluate\.suite.*\[harness\]"):
        EVALUATE.check(fakes.recipe(SUITE))
    EVALUATE.check(fakes.recipe())
