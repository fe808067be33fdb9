from __future__ import annotations

import tomllib
from pathlib import Path

import fakes
import pytest

from jagpt.errors import DataError
from jagpt.manifests import Manifest
from jagpt.recipe import SECTIONS, Recipe
from jagpt.release.facts import as_made, hub_datasets
from jagpt.release.recipe_text import recipe_text
from jagpt.rundir import RunDirectory

SHARED = ("corpus", "tokenizer", "tokens")


def sharing(root: Path, theirs: Recipe) -> RunDirectory:
    """A run that shares three stages from one of another recipe."""
    places = {name: root / "other" / name for name in SHARED}
    for name, place in places.items():
        section = {name: getattr(theirs, name).semantic()}
        Manifest(name, 1, "f" * 64, section, {}).write(place)
    return RunDirectory(root / "run", places)


def test_what_another_run_made_is_told_as_its_own_recipe_says(tmp_path: Path) -> None:
    theirs = fakes.recipe(
        fakes.RECIPE, "corpus.min_characters=7", "tokenizer.vocab_size=900", "tokens.by_line=true"
    )
    mine = fakes.recipe(
        fakes.RECIPE, "corpus.source=[]", "corpus.min_characters=3000", "tokens.from=/a/run"
    )
    made = as_made(mine, sharing(tmp_path, theirs))
    ours, others = (tomllib.loads(recipe_text(each)) for each in (made, theirs))
    assert ours == {**tomllib.loads(recipe_text(mine)), **{name: others[name] for name in SHARED}}
    assert made.tokenizer.from_ is not None  # it was not trained for this model


def test_a_shared_section_that_is_none_of_a_recipe_is_refused(tmp_path: Path) -> None:
    run = sharing(tmp_path, fakes.recipe())
    place = run.shared["corpus"]
    Manifest("corpus", 1, "f" * 64, {"corpus": {"future": 1}}, {}).write(place)
    with pytest.raises(DataError, match=r"other/corpus/manifest\.json: its \[corpus\] is none"):
        as_made(fakes.recipe(), run)


def test_every_section_of_a_recipe_reads_back_what_its_manifest_holds() -> None:
    recipe = fakes.recipe()
    for name in SHARED:
        section = getattr(recipe, name)
        assert SECTIONS[name].model_validate(section.semantic()).semantic() == section.semantic()


@pytest.mark.parametrize("rows", [True, 1, "x", {"a": 1}, [True, [], {"kind": "text"}], None])
def test_sources_that_are_no_tables_name_no_data_set(tmp_path: Path, rows: object) -> None:
    Manifest("corpus", 1, "f" * 64, {"corpus": {"source": rows}}, {}).write(tmp_path)
    assert hub_datasets(tmp_path) == {}
