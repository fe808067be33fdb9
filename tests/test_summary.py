from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import pytest

from jagpt import files, manifests
from jagpt.errors import DataError
from jagpt.manifests import Manifest
from jagpt.release.samples import Sample, Samples
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory
from jagpt.summary import collect
from jagpt.training.state import Validation


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return fakes.run_directory(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(original: RunDirectory, tmp_path: Path) -> RunDirectory:
    return RunDirectory(Path(shutil.copytree(original.root, tmp_path / "run")))


def test_tells_what_the_finished_stages_left(run: RunDirectory) -> None:
    found = collect(run)
    assert found.name == "tiny"
    assert found.corpus is not None
    assert found.corpus.documents == 4
    assert found.corpus.sources[0].files[0].sha256 == "ab" * 32
    labels = [("0–100", 1), ("100–1,000", 2), ("1,000+", 1)]
    assert list(found.corpus.lengths.labelled()) == labels
    assert found.tokens is not None
    assert found.tokens.counts == {"train": 40, "valid": 40, "test": 40}
    assert found.training is not None
    assert (found.training.step, found.training.tokens) == (20, 10240)
    assert found.training.best == Validation(10, 5120, 3.25)
    assert [len(found.train_rows), len(found.valid_rows)] == [20, 2]
    assert found.seconds == 64.5
    assert found.missing == ("evaluate", "export", "formats", "release")
    assert set(found.files) == {"corpus", "tokenizer", "tokens", "train"}
    assert (found.evaluation, found.parameters, found.samples) == (None, None, ())


def test_every_part_may_be_missing(tmp_path: Path) -> None:
    found = collect(RunDirectory(tmp_path / "nothing"))
    assert found.name == "nothing"
    assert found.missing == tuple(STAGE_DIRECTORIES)
    assert found.seconds is None


@pytest.mark.parametrize("stage", list(STAGE_DIRECTORIES))
def test_any_one_stage_may_be_missing(run: RunDirectory, stage: str) -> None:
    shutil.rmtree(run.own(stage), ignore_errors=True)
    assert stage in collect(run).missing


def test_reads_a_shared_stage_where_it_stands(run: RunDirectory, tmp_path: Path) -> None:
    sharing = RunDirectory(tmp_path / "second", {"corpus": run.corpus})
    found = collect(sharing)
    assert found.corpus == collect(run).corpus
    assert "corpus" not in found.missing


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"sources": 3, "splits": {}, "dropped": {}}']
)
def test_a_damaged_file_is_named(run: RunDirectory, content: str) -> None:
    (run.corpus / "stats.json").write_text(content)
    with pytest.raises(DataError, match=r"stats\.json"):
        collect(run)


def test_a_recipe_of_another_version_is_passed_over(run: RunDirectory) -> None:
    run.recipe.write_text('name = "new"\n[train]\nlater_key = 1\n')
    found = collect(run)
    assert found.recipe is None
    assert found.name == run.root.name


def test_evaluation_and_samples_are_read_back(run: RunDirectory) -> None:
    fakes.EVALUATION.write(run.own("evaluate"))
    samples = Samples(1, (Sample("京都", ("は、", "。")),))
    samples.write(run.own("release"))
    found = collect(run)
    assert found.evaluation == fakes.EVALUATION
    assert found.samples == samples.samples


def test_hub_data_sets_are_those_of_the_corpus_manifest(run: RunDirectory) -> None:
    rows = [{"name": "web", "kind": "hf", "dataset": "org/texts"}, {"name": "jawiki"}]
    files.remove(run.corpus / manifests.MANIFEST)
    entries = manifests.entries(run.corpus)
    Manifest("corpus", 1, "f" * 64, {"corpus": {"source": rows}}, {}, entries).write(run.corpus)
    assert collect(run).datasets == {"web": "org/texts"}


def test_imports_no_torch() -> None:
    program = "import sys, jagpt.report, jagpt.summary; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
