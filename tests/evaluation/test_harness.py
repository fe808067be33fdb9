from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fakes import model_folder

from jagpt import models
from jagpt.errors import MissingExtraError, StorageError, UsageError
from jagpt.evaluation import harness


@pytest.fixture
def subject(tmp_path: Path) -> models.ModelFolder:
    return models.open(model_folder(tmp_path / "model"))


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for lm_eval that notes what it is handed."""
    seen = SimpleNamespace(error=None)

    def simple_evaluate(model: Any, tasks: list[str], task_manager: Any) -> dict[str, Any]:
        if seen.error:
            raise seen.error
        seen.tasks, seen.model = tasks, model
        row = {"alias": "known", "acc,none": 0.5, "acc_stderr,none": "N/A"}
        return {"results": dict.fromkeys(tasks, row)}

    class TaskManager:
        def match_tasks(self, names: list[str]) -> list[str]:
            return [name for name in names if name == "known"]

    names = ("lm_eval", "lm_eval.models", "lm_eval.models.huggingface", "lm_eval.tasks")
    modules: dict[str, Any] = {name: ModuleType(name) for name in names}
    modules["lm_eval"].simple_evaluate = simple_evaluate
    modules["lm_eval.models.huggingface"].HFLM = lambda **named: SimpleNamespace(**named)
    modules["lm_eval.tasks"].TaskManager = TaskManager
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return seen


def test_the_loaded_model_is_handed_over(
    subject: models.ModelFolder, given: SimpleNamespace
) -> None:
    assert harness.measure(subject, ["known"]) == {"known": {"acc,none": 0.5}}
    assert given.model.pretrained is subject.network
    assert given.model.tokenizer is subject.tokenizer


def test_an_unknown_task_is_named(subject: models.ModelFolder, given: SimpleNamespace) -> None:
    with pytest.raises(UsageError, match="nothing: lm-evaluation-harness knows no such task"):
        harness.measure(subject, ["known", "nothing"])


def test_data_that_cannot_be_fetched(subject: models.ModelFolder, given: SimpleNamespace) -> None:
    given.error = ConnectionError("offline")
    with pytest.raises(StorageError, match="offline"):
        harness.measure(subject, ["known"])


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(MissingExtraError, match=r"\[harness\]"):
        harness.require()
