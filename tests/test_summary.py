from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import fakes
import pytest

from jagpt import files, models
from jagpt.errors import DataError
from jagpt.rundir import STAGE_DIRECTORIES, RunDirectory
from jagpt.summary import collect, count_parameters, perplexity, read_metrics


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
    assert found.corpus.lengths == (("0–100", 1), ("100–1,000", 2), ("1,000+", 1))
    assert found.tokens is not None
    assert found.tokens.splits == {"train": 40, "valid": 40, "test": 40}
    assert found.training is not None
    assert vars(found.training) == {
        "best_step": 10, "last_step": 20, "valid_loss": 3.25, "tokens": 10240
    }  # fmt: skip
    assert found.training.valid_perplexity == pytest.approx(math.exp(3.25))
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


def test_metrics_survive_a_torn_end_and_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [
        '{"kind": "train", "step": 2, "loss": 5.0}',
        '{"kind": "train", "step": 1, "loss": 6.0, "gradient_norm": null}',
        '{"kind": "train", "step": 2, "loss": 4.5}',
        '{"kind": "valid", "step": 2, "loss": NaN, "perplexity": 3}',
        '{"kind": ["odd"], "step": 2}',
        "[1]",
        '{"kind": "train", "st',
    ]
    path.write_text("\n".join(rows))
    train, valid = read_metrics(path)
    assert train == ({"step": 1.0, "loss": 6.0}, {"step": 2.0, "loss": 4.5})
    assert valid == ({"step": 2.0, "perplexity": 3.0},)


def test_counts_parameters_without_reading_them(run: RunDirectory) -> None:
    from jagpt.models import size

    folder = run.checkpoints / "step-00000010"
    expected = size.parameter_count(models.open(folder).network)
    assert count_parameters(folder / "model.safetensors") == expected


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, (5).to_bytes(8, "little") + b"[1,2]"])
def test_a_damaged_safetensors_header_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors"):
        count_parameters(path)


def test_perplexity_of_an_endless_loss_is_infinite() -> None:
    assert perplexity(1e6) == math.inf


def test_evaluation_and_samples_are_read_back(run: RunDirectory) -> None:
    value = {
        "split": "test", "checkpoint": "step-00000010", "step": 10, "documents": 2, "tokens": 39,
        "characters": 38, "bytes": 112, "nats": 144.0, "loss": 3.5, "perplexity": 33.1,
        "bits_per_character": 5.5, "bits_per_byte": 1.9, "windows": "sliding", "block_size": 16,
        "stride": 4, "precision": "bf16",
    }  # fmt: skip
    interval = {"level": 0.95, "resamples": 1000, "loss": [3.4, 3.6]}
    spans = {"span_characters": 50, "samples": 3, "spans": 80, "found": 20}
    more = {"interval": interval, "memorization": {**spans, "share": 0.25}}
    files.write_json(run.own("evaluate") / "test.json", {**value, **more})
    samples = [{"prompt": "京都", "continuations": ["は、", "。"]}]
    files.write_json(run.own("release") / "samples.json", {"seed": 1, "samples": samples})
    found = collect(run)
    assert found.evaluation is not None
    assert {name: getattr(found.evaluation, name) for name in value} == value
    assert found.evaluation.intervals == {"loss": (3.4, 3.6)}
    assert found.evaluation.memorization is not None
    assert vars(found.evaluation.memorization) == spans
    assert found.evaluation.memorization.share == 0.25
    assert [vars(s) for s in found.samples] == [{"prompt": "京都", "continuations": ("は、", "。")}]
    (run.own("evaluate") / "test.json").write_text(json.dumps({**value, "loss": "low"}))
    with pytest.raises(DataError, match=r"test\.json"):
        collect(run)


def test_imports_no_torch() -> None:
    program = "import sys, jagpt.report, jagpt.summary; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
