"""What is of another recipe than the run's is shown as stale everywhere, and is no figure of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from jagpt import report
from jagpt.cli.common import open_run

from .conftest import inside
from .projects import overrides

LATER = ("evaluate", "export", "formats", "release")


@pytest.fixture(scope="module")
def partly(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was trained again under another recipe, and no more than that."""
    run = Path(shutil.copytree(finished, tmp_path_factory.mktemp("partly") / "run"))
    shorter = ("--until", "train", "--yes", *overrides("train.max_steps=2"))
    assert inside("run", run, *shorter) == 0
    return run


def test_the_table_and_its_json_tell_of_this_recipe_alone(
    finished: Path, partly: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert inside("run", finished, "--json") == 0
    before = json.loads(capsys.readouterr().out)
    assert inside("run", partly, "--until", "train", "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["done"] == ["corpus", "tokenizer", "tokens", "train"]
    assert found["stale"] == {
        "evaluate": ["train changed"],
        "export": ["train changed"],
        "formats": ["export changed"],
        "release": ["evaluate changed", "export changed", "formats changed", "train changed"],
    }
    assert set(found["seconds"]) == set(found["done"])
    gone = {"parameters": None, "test_loss": None, "test_perplexity": None, "samples": []}
    assert {name: found[name] for name in gone} == gone
    assert all(before[name] for name in gone)
    assert inside("run", partly, "--until", "train") == 0
    said = capsys.readouterr().out
    for name in LATER:
        assert f"{name:<10} " in said
        assert "stale (" in said
    for figure in ("test loss", "bits per character", "Continuations", "model:  ", "all stages"):
        assert figure not in said


def test_status_and_the_table_agree(partly: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inside("status", partly, "--json") == 0
    states = {row["stage"]: row["status"] for row in json.loads(capsys.readouterr().out)["stages"]}
    assert [name for name, status in states.items() if status == "stale"] == list(LATER)


def test_report_and_comparison_have_no_stale_figure(finished: Path, partly: Path) -> None:
    from jagpt import pipeline

    whole, part = (pipeline.as_it_stands(*open_run(run)) for run in (finished, partly))
    page = report.render([part])
    assert page == (partly / "report.html").read_text("utf-8")
    assert "Stale, and not shown:" in page
    assert 'class="stale">evaluate' in page
    assert "Test loss" not in page
    assert "Drawn once with a fixed seed" not in page
    assert "Test loss" in report.render([whole])
    compared = report.render([whole, part])
    assert compared.count('data-label="Test loss" class="num">stale<') == 1
    assert compared.count('data-label="Valid loss" class="num">–<') == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "{}", "東京は", "--max-new-tokens", "1"),
        ("evaluate", "--model", "{}", "--text", "text.txt"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_who_takes_the_model_of_such_a_run_is_told(
    finished: Path, partly: Path, arguments: tuple[str, ...], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("東京は大きい。", "utf-8")
    assert inside(*(part.replace("{}", str(partly)) for part in arguments)) == 0
    assert f"note: {partly / 'model'} is stale (train changed)" in capsys.readouterr().err
    assert inside(*(part.replace("{}", str(finished)) for part in arguments)) == 0
    assert "stale" not in capsys.readouterr().err
