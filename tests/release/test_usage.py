from __future__ import annotations

import ast
import json
import shutil
from dataclasses import replace
from pathlib import Path

import fakes
import pytest
from released import Run
from rich.console import Console

from jagpt.errors import JagptError
from jagpt.progress import QUIET, Progress
from jagpt.release import usage

PROMPT = "統計的推定を使うことで、"


def test_a_program_for_the_hub_fetches_the_revision_first() -> None:
    exports = [fakes.released("onnx"), fakes.released("gguf-q8_0"), fakes.released("gguf-f16")]
    found = usage.snippets(
        fakes.recipe(), exports, PROMPT, place="org/name", revision="20210820.1.0"
    )
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


@pytest.mark.parametrize(
    ("overrides", "ending"),
    [
        ((), "transformers torch"),
        (("tokenizer.keep_newlines=false", "tokenizer.byte_fallback=false"),
         "transformers torch sentencepiece protobuf"),
        (("tokenizer.from=some/where",), "transformers torch sentencepiece protobuf"),
    ],
)  # fmt: skip
def test_the_install_line_has_what_the_tokenizer_needs(
    overrides: tuple[str, ...], ending: str
) -> None:
    recipe = fakes.recipe(fakes.RECIPE, *overrides)
    transformers, gguf = usage.snippets(recipe, [fakes.released("gguf-q8_0")], PROMPT)
    assert transformers.install == f"pip install {ending}"
    assert gguf.install == "pip install xllamacpp"


HOSTILE = (
    'x"',
    "y'",
    '"""',
    "\\",
    'ends with \\"',
    "$folder ${prompt} $$ $",
    "FOLDER REVISION PROMPT NAME PART CONTEXT NEW_TOKENS",
    "{{ 7 * 7 }} {% raw %} {0} %s",
    "a\nimport os",
    "a\r\nb\x00\x0b\x0c\x1b[2J\x7f\x85",
    "\u2028\u2029\u202e\u2066",
    "\ud800 \udc80",
    "```\n````\n</code>",
    '") or __import__("os").mkdir("crater") or ("',
    "\u3000全角😀",
)
FORMATS = ("onnx", "openvino", "ctranslate2", "gguf-q8_0", "tensorflow", "flax")
EVERY = [fakes.released(name) for name in FORMATS]


def code_of(snippet: usage.Snippet) -> str:
    """What stands between a snippet's fences."""
    first, *lines, _ = snippet.code.split("\n")
    assert first.lstrip("`") == "python"
    return "\n".join(lines)


def strings(program: str) -> set[object]:
    """The constants of a program."""
    return {n.value for n in ast.walk(ast.parse(program)) if isinstance(n, ast.Constant)}


def shape(program: str) -> list[str]:
    """What a program is but for the values of its constants."""
    return [type(node).__name__ for node in ast.walk(ast.parse(program))]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_literal_is_one_line_of_text_that_python_reads_back(text: str) -> None:
    found = usage.literal(text)
    assert ast.literal_eval(found) == text
    assert len(found.splitlines()) == 1
    assert found.encode("utf-8")


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("published", [False, True])
def test_no_value_becomes_code(text: str, published: bool) -> None:
    def programs(value: str) -> list[str]:
        at = {"place": value, "revision": value} if published else {}
        return [code_of(one) for one in usage.snippets(fakes.recipe(), EVERY, value, **at)]

    made = programs(text)
    assert len(made) == 7
    for innocent, program in zip(programs("innocent"), made, strict=True):
        assert shape(program) == shape(innocent)
        assert text in strings(program)


@pytest.mark.parametrize(
    "name", ["MY_PROMPTS", "REVISION", 'x"); import os; os.mkdir("crater"); ("', "a\nb", "$folder"]
)
def test_a_folder_is_only_a_folder(
    first: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = "print(open($folder + '/file').read(), $prompt)"
    monkeypatch.setitem(usage.USAGES, "transformers", usage.Usage("x", source, (), "pip"))
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    (Path(name) / "file").write_text(name)
    usage.check(first[0], [], PROMPT, Path(name), QUIET)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_not_installed_is_said(first: Run, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(console=Console(stderr=True))
    exports = [fakes.released("onnx")]
    there = usage.Usage("x", "print(1)", (), "pip install x")
    missing = replace(there, modules=("no_such_module",))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(usage.USAGES, "transformers", there)
        patch.setitem(usage.USAGES, "onnx", missing)
        usage.check(first[0], exports, PROMPT, first[1].release, progress)
    assert "usage of onnx was not run here: no no_such_module" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pass", r"prints nothing$"),
        ("raise OSError('no\\nmodel')", r"fails \(OSError: no model\)$"),
        ("import os; os.write(2, b'a\\nno memory'); os._exit(7)",
         r"ends its process \(code 7: no memory\)$"),
        ("import os; os.kill(os.getpid(), 11)", r"ends its process \(SIGSEGV\)$"),
        ("import time; time.sleep(60)", r"does not finish within 0 minutes$"),
        ("input('Run it? [y/N] ')", r"fails \(EOFError: .*\)$"),
    ],
)  # fmt: skip
def test_a_program_that_does_not_work_is_one_line(
    first: Run, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    monkeypatch.setattr(usage, "TIME_LIMIT", 1.0 if "sleep" in source else 60.0)
    monkeypatch.setitem(usage.USAGES, "transformers", usage.Usage("x", source, (), "pip"))
    with pytest.raises(JagptError, match=r"^release: the usage of transformers .*" + message):
        usage.check(first[0], [], PROMPT, first[1].release, QUIET)


def test_the_second_program_is_named_where_it_is_the_one_that_fails(
    first: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, source in (("transformers", "print('ok')"), ("onnx", "import os; os._exit(3)")):
        monkeypatch.setitem(usage.USAGES, name, usage.Usage("x", source, (), "pip"))
    with pytest.raises(JagptError, match=r"usage of onnx .* ends its process \(code 3\)"):
        usage.check(first[0], [fakes.released("onnx")], PROMPT, first[1].release, QUIET)


PROBE = """
import json, os, sys
found = {"names": sorted(os.environ), "home": os.path.expanduser("~"), "here": os.getcwd(),
         "there": os.listdir("."), "path": sys.path, "safe": sys.flags.safe_path}
with open($folder + "/found.json", "w") as file:
    json.dump(found, file)
print("done")
"""


def test_a_program_finds_no_secret_and_nothing_of_the_current_folder(
    first: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "SSH_AUTH_SOCK", "GIT_ASKPASS",
               "GITHUB_TOKEN", "ANYTHING_ELSE")  # fmt: skip
    for name in secrets:
        monkeypatch.setenv(name, "secret")
    monkeypatch.setitem(usage.USAGES, "transformers", usage.Usage("x", PROBE, (), "pip"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "json.py").write_text("raise SystemExit('the current folder counts')")
    usage.check(first[0], [], PROMPT, tmp_path, QUIET)
    found = json.loads((tmp_path / "found.json").read_text())
    assert not set(secrets) & set(found["names"])
    assert "HF_HUB_OFFLINE" in found["names"]
    assert found["safe"]
    assert found["there"] == []
    assert found["home"] == found["here"] not in found["path"]
    assert not Path(found["here"]).exists()


def test_programs_run_on_real_exports(first: Run, tmp_path: Path) -> None:
    from jagpt.formats import table
    from jagpt.formats.source import ModelSource

    names = [one for one in ("onnx", "ctranslate2", "openvino") if table.FORMATS[one].installed()]
    if not names:
        pytest.skip("needs jagpt[onnx], jagpt[ctranslate2] or jagpt[openvino]")
    model = ModelSource.open(first[1].model)
    folder = tmp_path / "release"
    shutil.copytree(first[1].model, folder)
    for name in names:
        (folder / name).mkdir()
        table.FORMATS[name].write(model, folder / name)
    usage.check(first[0], [fakes.released(name) for name in names], PROMPT, folder, QUIET)
