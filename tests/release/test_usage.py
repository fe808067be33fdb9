from __future__ import annotations

import json
from pathlib import Path

import fakes
import pytest
from released import Run
from rich.console import Console

from jagpt.errors import JagptError
from jagpt.progress import QUIET, Progress
from jagpt.release import usage
from jagpt.release.exports import Export


def test_a_program_for_the_hub_fetches_the_revision_first() -> None:
    exports = [Export("onnx", {}, {}), Export("gguf-q8_0", {}, {}), Export("gguf-f16", {}, {})]
    found = usage.snippets(fakes.recipe(), exports, place="org/name", revision="20210820.1.0")
    assert [one.title for one in found] == [
        "transformers (PyTorch)", "ONNX Runtime", "GGUF (llama.cpp)",
    ]  # fmt: skip
    transformers, onnx, gguf = (str(one.code) for one in found)
    assert 'folder = "org/name"\n' in transformers
    fetched = 'folder = snapshot_download("org/name", revision="20210820.1.0")\n'
    for program in (onnx, gguf):
        assert fetched in program
        assert "from huggingface_hub import snapshot_download\n" in program
        compile(program.strip("`").removeprefix("python"), "program", "exec")
    assert "/model-q8_0.gguf" in gguf


def test_a_prompt_is_a_python_string_whatever_it_holds() -> None:
    evil = '"; import os; os.system("x") # FOLDER\n\\ NAME'
    recipe = fakes.recipe()
    release = recipe.release.model_copy(update={"prompts": (evil,)})
    (found,) = usage.snippets(recipe.model_copy(update={"release": release}), [])
    line = next(line for line in found.code.splitlines() if line.startswith("prompt = "))
    assert json.loads(line.removeprefix("prompt = ")) == evil


def test_what_is_not_installed_is_said(first: Run, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(console=Console(stderr=True))
    exports = [Export("onnx", {}, {})]
    missing = usage.Usage("x", "print(1)", ("no_such_module",), "pip install x")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(usage.USAGES, "onnx", missing)
        usage.check(first[0], exports, first[1].release, progress)
    assert "usage of onnx was not run here: no no_such_module" in capsys.readouterr().err


def test_a_program_that_prints_nothing_is_refused(
    first: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = usage.Usage("x", "pass", (), "pip install x")
    monkeypatch.setitem(usage.USAGES, "transformers", silent)
    with pytest.raises(JagptError, match="prints nothing"):
        usage.check(first[0], [], first[1].release, QUIET)


@pytest.mark.parametrize(
    ("name", "module"),
    [("onnx", "onnxruntime"), ("ctranslate2", "ctranslate2"), ("openvino", "openvino")],
)
def test_programs_run_on_real_exports(first: Run, tmp_path: Path, name: str, module: str) -> None:
    pytest.importorskip(module, reason=f"needs jagpt[{name}]")
    formats = pytest.importorskip("jagpt.export.formats")
    source = pytest.importorskip("jagpt.export.source")
    one = formats.FORMATS[name]
    one.require()
    model = source.Source.open(first[1].model)
    folder = tmp_path / "release"
    (folder / name).mkdir(parents=True)
    for path in first[1].model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    one.write(model, folder / name)
    usage.check(first[0], [Export(name, {}, {})], folder, QUIET)
