from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import fakes
import pytest
from released import Run

from jagpt import files, manifests, models
from jagpt.errors import DataError
from jagpt.formats.bounds import TENSORS, Parity
from jagpt.progress import QUIET
from jagpt.release import exports, folder, usage
from jagpt.rundir import RunDirectory


@pytest.fixture
def run(first: Run, tmp_path: Path) -> RunDirectory:
    """A run with two further formats, a file for beside the model and a folder of its own."""
    copied = RunDirectory(Path(shutil.copytree(first[1].root, tmp_path / "run")))
    shutil.rmtree(copied.release)
    model = models.open(copied.model).fingerprint()
    for name, weights in (("flax", "flax_model.msgpack"), ("onnx", "model.onnx")):
        place = copied.root / "export" / name
        place.mkdir(parents=True)
        (place / weights).write_bytes(name.encode())
        (place / "config.json").write_text("{}")
        proof = {"weights": weights, "source": model, "precision": "fp32", "compared": TENSORS}
        Parity(format=name, **proof, equal=True).write(place)
    fakes.finish(copied, "formats")
    return copied


def test_formats_go_into_the_release(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "check", lambda *_: None)  # these files are none that load
    folder.run(fakes.recipe(), run, QUIET)
    names = manifests.list_files(run.release)
    assert "flax_model.msgpack" in names
    assert {"onnx/model.onnx", "onnx/config.json"} <= set(names)
    assert files.read_json(run.release / "config.json") != {}
    assert set(files.read_json(run.release / "parity.json")) == {"flax", "onnx"}
    sums = (run.release / "SHA256SUMS").read_text()
    assert hashlib.sha256(b"onnx").hexdigest() + "  onnx/model.onnx" in sums
    assert "| onnx | fp32 | – | every tensor equal |" in (run.release / "README.md").read_text()
    assert [export.name for export in exports.released(run.release)] == ["flax", "onnx"]


def test_what_no_manifest_lists_is_not_released(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "check", lambda *_: None)
    for place in ("model", "model/export/gguf-f16", "export", "export/onnx", "export/notes"):
        files.write_text(run.root / place / ".env", "SECRET=1")
        files.write_text(run.root / place / "mine.json", "{}")
    folder.run(fakes.recipe(), run, QUIET)
    names = manifests.list_files(run.release)
    assert [name for name in names if "env" in name or "mine" in name or "export" in name] == []
    assert {"config.json", "onnx/model.onnx"} <= set(names)


def test_an_unfinished_export_is_refused(run: RunDirectory) -> None:
    (run.root / "export" / "onnx" / "parity.json").unlink()
    with pytest.raises(DataError, match=r"not finished; `jagpt export RECIPE --format onnx`"):
        exports.found(run)


@pytest.mark.parametrize(
    "name", ['onnx"); import os; os.mkdir("crater") #', "gguf-x", "ONNX", "onnx\n", "notes", "-x"]
)
def test_a_folder_that_is_no_format_is_refused_by_name(run: RunDirectory, name: str) -> None:
    (run.root / "export" / "onnx").rename(run.root / "export" / name)
    fakes.finish(run, "formats")
    with pytest.raises(DataError) as caught:
        folder.preflight(fakes.recipe(), run)
    assert f"export: {name!r} is not a format that jagpt makes" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_proof_of_what_is_no_format_is_refused_by_name(run: RunDirectory) -> None:
    files.write_json(run.own("release") / "parity.json", {'x"': fakes.PARITY.as_json()})
    with pytest.raises(DataError, match=r"release: 'x\"' is not a format"):
        exports.released(run.release)


def test_an_export_of_another_model_is_refused(run: RunDirectory) -> None:
    place = run.root / "export" / "onnx"
    replace(Parity.read(place), source="0" * 64).write(place)
    with pytest.raises(DataError, match="made from another model"):
        exports.found(run)


def test_a_run_without_formats_has_none(first: Run) -> None:
    assert exports.found(first[1]) == ()
    assert exports.released(first[1].release) == ()
