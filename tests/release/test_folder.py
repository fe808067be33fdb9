from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fakes
import pytest
from programs import programs_here
from rich.console import Console

from jagpt import files, manifests
from jagpt.errors import DataError, JagptError
from jagpt.evaluation.stage import EVALUATE
from jagpt.export import huggingface
from jagpt.manifests import Manifest
from jagpt.progress import QUIET, Progress
from jagpt.release import folder, usage
from jagpt.release.publication import lfs_attributes
from jagpt.rundir import RunDirectory


@pytest.fixture(scope="module", autouse=True)
def in_process() -> Iterator[None]:
    """Another process needs seconds for the card's programs."""
    with programs_here():
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    run = fakes.run_directory(tmp_path_factory.mktemp("run"))
    for stage, module in (
        ("evaluate", EVALUATE), ("export", huggingface), ("release", folder),
    ):  # fmt: skip
        module.run(fakes.recipe(), run, QUIET)
        fakes.finish(run, stage)
    return run


@pytest.fixture
def copy(run: RunDirectory, tmp_path: Path) -> RunDirectory:
    copied = RunDirectory(Path(shutil.copytree(run.root, tmp_path / "run")))
    shutil.rmtree(copied.own("release"))
    return copied


def test_holds_the_model_and_what_goes_with_it(run: RunDirectory) -> None:
    assert manifests.list_files(run.release) == [
        ".gitattributes", "CHANGELOG.md", "README.md", "SHA256SUMS", "config.json",
        "generation_config.json", "model.safetensors", "samples.json", "tokenizer.json",
        "tokenizer_config.json", "valid_loss_curve.png",
    ]  # fmt: skip
    for name in manifests.list_files(run.model):
        assert (run.release / name).read_bytes() == (run.model / name).read_bytes()
    for name in manifests.list_files(run.release):
        assert (run.release / name).stat().st_mode & 0o777 == 0o644


def test_the_card_tells_of_a_shared_corpus_as_the_run_that_made_it(
    copy: RunDirectory, tmp_path: Path
) -> None:
    theirs = fakes.recipe(fakes.RECIPE, "corpus.min_characters=7")
    place = copy.own("corpus").rename(tmp_path / "corpus")
    section = {"corpus": theirs.corpus.semantic()}
    replace(Manifest.read(place), section=section).write(place)
    mine = fakes.recipe(
        fakes.RECIPE, "corpus.source=[]", "corpus.min_characters=3000", "corpus.from=/a/run"
    )
    folder.run(mine, RunDirectory(copy.root, {"corpus": place}), QUIET)
    page = (copy.own("release") / "README.md").read_text("utf-8")
    assert "min_characters = 7\n" in page
    assert "min_characters = 3000" not in page


def test_weights_take_their_space_once(run: RunDirectory) -> None:
    assert (run.release / "model.safetensors").samefile(run.model / "model.safetensors")
    assert not (run.release / "config.json").samefile(run.model / "config.json")


def test_copies_where_the_disk_allows_no_link(
    copy: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    folder.run(fakes.recipe(), copy, QUIET)
    ours, theirs = (place / "model.safetensors" for place in (copy.release, copy.model))
    assert ours.read_bytes() == theirs.read_bytes()
    assert not ours.samefile(theirs)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs coreutils")
def test_sha256sum_accepts_the_checksums(run: RunDirectory) -> None:
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=run.release, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert len(done.stdout.splitlines()) == len(manifests.list_files(run.release)) - 1


def test_the_same_run_gives_the_same_bytes(run: RunDirectory, copy: RunDirectory) -> None:
    shutil.rmtree(copy.logs)  # clock and machine are told there, and nowhere else
    folder.run(fakes.recipe(fakes.RECIPE, "execution.threads=2"), copy, QUIET)
    before = {entry.name: entry.sha256 for entry in manifests.entries(run.release)}
    assert {entry.name: entry.sha256 for entry in manifests.entries(copy.release)} == before


def test_samples_are_three_continuations_of_each_prompt(run: RunDirectory) -> None:
    value = files.read_json(run.release / "samples.json")
    assert value["seed"] == folder.SAMPLE_SEED
    assert [row["prompt"] for row in value["samples"]] == ["統計的推定を使うことで、"]
    assert [len(row["continuations"]) for row in value["samples"]] == [3]
    card = (run.release / "README.md").read_text()
    assert all(text in card for text in value["samples"][0]["continuations"])


def test_the_cards_usage_runs(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    card = (run.release / "README.md").read_text("utf-8")
    program = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert len(program) == 2  # and the client of a server, which `make compat` runs
    monkeypatch.chdir(run.release)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(program[0], "README.md", "exec"), {})  # noqa: S102 - the code under test
    assert output.getvalue().count("統計的推定を使うことで、") >= 3


def test_git_lfs_takes_every_heavy_format() -> None:
    first, *lines = lfs_attributes().splitlines()
    assert first == "* -text"
    patterns = {line.split()[0] for line in lines}
    original = (
        *("*.bin.*", "*.lfs.*", "*.bin", "*.h5", "*.tflite", "*.tar.gz", "*.ot", "*.onnx"),
        *("*.arrow", "*.ftz", "*.joblib", "*.model", "*.msgpack", "*.pb", "*.pt", "*.pth"),
    )
    since = {"*.safetensors", "*.gguf", "*.onnx_data", "*.onnx.data", "*.parquet", "*.png"}
    assert since | set(original) == patterns
    assert all(line.endswith(" filter=lfs diff=lfs merge=lfs -text") for line in lines)


def test_the_curve_is_a_picture_that_the_card_shows(run: RunDirectory) -> None:
    assert (run.release / "valid_loss_curve.png").read_bytes().startswith(b"\x89PNG")
    assert "](valid_loss_curve.png)" in (run.release / "README.md").read_text()


def test_a_usage_that_fails_leaves_no_folder(
    copy: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(usage.USAGES["transformers"], source="raise OSError('no such model')")
    monkeypatch.setitem(usage.USAGES, "transformers", broken)
    with pytest.raises(JagptError, match=r"usage of transformers .* fails \(OSError: no such"):
        folder.run(fakes.recipe(), copy, QUIET)
    assert manifests.list_files(copy.own("release")) == []


@pytest.mark.parametrize("characters", [30, 47, 48, 500])
def test_a_prompt_too_long_for_the_context_is_cut_to_what_fits(
    copy: RunDirectory, characters: int
) -> None:
    said = io.StringIO()
    long = ("統計的推定を使うことで、" * 50)[:characters]
    recipe = fakes.recipe(fakes.RECIPE, f'release.prompts=["{long}", "京都"]')
    folder.run(recipe, copy, Progress(console=Console(file=said, width=1000)))
    prompts = [row["prompt"] for row in files.read_json(copy.release / "samples.json")["samples"]]
    assert prompts == [long[:24], "京都"]  # half of the context of 48 is for what is added
    assert f"prompt 1 is cut to its first 24 characters of {characters}" in said.getvalue()
    assert f'prompt = "{long[:24]}"\n' in (copy.release / "README.md").read_text()


def test_a_licence_that_is_not_the_dumps_is_said(
    copy: RunDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = (replace(fakes.CORPUS.sources[0], licence="cc-by-sa-4.0"),)
    replace(fakes.CORPUS, sources=sources).write(copy.corpus)
    folder.run(fakes.recipe(), copy, Progress())
    assert "Wikipedia's text of 20210820 is under cc-by-sa-3.0" in capsys.readouterr().err


def test_a_model_that_is_missing_is_named(copy: RunDirectory) -> None:
    shutil.rmtree(copy.own("export"))
    with pytest.raises(DataError, match="`jagpt export RECIPE` makes it"):
        folder.run(fakes.recipe(), copy, QUIET)
