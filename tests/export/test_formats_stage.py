"""The further formats of a run: a stage that keeps what it made when another format is added."""

from __future__ import annotations

import json
from pathlib import Path

import fakes
import pytest

from jagpt import files, models
from jagpt.errors import DataError, JagptError, UsageError
from jagpt.export import huggingface
from jagpt.formats import flax, making
from jagpt.manifests import Manifest
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.stage import Kept
from jagpt.stages import EXPORT, FORMATS

KEPT = "existing formats stay as they are"
TWO = 'export.formats=["flax", "tensorflow"]'


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    made = fakes.run_directory(tmp_path / "run")
    huggingface.run(fakes.recipe(), made, QUIET)
    return made


def test_without_formats_nothing_is_made(run: RunDirectory) -> None:
    making.run(fakes.recipe(), run, QUIET)
    assert list(run.formats.iterdir()) == []


def test_each_format_has_its_folder_with_the_proof(run: RunDirectory) -> None:
    making.run(fakes.recipe(fakes.RECIPE, TWO), run, QUIET)
    assert sorted(path.name for path in run.formats.iterdir()) == ["flax", "tensorflow"]
    told = json.loads((run.formats / "flax" / "parity.json").read_text())
    assert told == {
        "format": "flax", "weights": "flax_model.msgpack", "precision": "fp32",
        "source": models.open(run.model).fingerprint(),
        "compared": "tensors", "equal": True,
        "size": (run.formats / "flax" / "flax_model.msgpack").stat().st_size,
    }  # fmt: skip
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        assert (run.formats / "flax" / name).read_bytes() == (run.model / name).read_bytes()


def test_what_is_made_stays_and_what_is_not_named_is_not_kept(run: RunDirectory) -> None:
    making.run(fakes.recipe(fakes.RECIPE, 'export.formats=["flax"]'), run, QUIET)
    before = (run.formats / "flax" / "flax_model.msgpack").stat()
    making.run(fakes.recipe(fakes.RECIPE, TWO), run, QUIET)
    assert (run.formats / "flax" / "flax_model.msgpack").stat() == before
    old = Manifest("formats", 1, "", {}, {})

    def kept(*names: str) -> Kept | None:
        recipe = fakes.recipe(fakes.RECIPE, f"export.formats={json.dumps(names)}")
        return FORMATS.keeps(recipe, run, old, run.formats)

    assert kept("flax", "tensorflow", "pytorch") == Kept(KEPT, 2)
    assert kept("pytorch", "tensorflow") == Kept(KEPT, 1, frozenset({"tensorflow"}), 0.5)
    assert kept("pytorch") is None


def test_a_format_that_fails_leaves_the_finished_ones(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: object, folder: Path) -> None:
        raise JagptError(f"{folder}: spoiled")

    monkeypatch.setattr(flax, "check", fail)
    with pytest.raises(JagptError, match="spoiled"):
        making.run(fakes.recipe(fakes.RECIPE, TWO), run, QUIET)
    assert [path.name for path in run.formats.iterdir()] == ["tensorflow"]


def test_without_a_model_folder_the_verb_is_named(run: RunDirectory) -> None:
    files.remove(run.model)
    with pytest.raises(DataError, match="no exported model here; `jagpt export RECIPE` makes it"):
        making.run(fakes.recipe(fakes.RECIPE, TWO), run, QUIET)


def test_the_list_of_formats_is_a_matter_of_its_own_stage(run: RunDirectory) -> None:
    plain, two = (fakes.recipe(fakes.RECIPE, *more) for more in ((), (TWO,)))
    assert EXPORT.semantic(plain) == EXPORT.semantic(two)
    assert FORMATS.semantic(plain) != FORMATS.semantic(two)


def test_a_format_that_cannot_hold_the_recipes_model_is_refused_by_the_recipe_alone() -> None:
    recipe = fakes.recipe(fakes.RECIPE, TWO, "model.type=llama")
    with pytest.raises(UsageError, match=r"tensorflow: \[model\] is a llama model, .* takes gpt2"):
        FORMATS.check(recipe)
