"""The core alone makes text; what needs more says in a line how it is added here."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from jagpt import installation

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
TRAIN = [Requirement(line).name for line in PROJECT["optional-dependencies"]["train"]]
WITHOUT_TRAIN = f"""
import sys
sys.modules.update(dict.fromkeys({[n.replace("protobuf", "google") for n in TRAIN]}))
from jagpt.cli.entry import main
main(sys.argv[1:])
"""
"""jagpt where no package of the extra [train] can be imported."""


def core(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TRAIN, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_the_core_has_few_dependencies() -> None:
    assert len(PROJECT["dependencies"]) <= 10


@pytest.mark.parametrize(
    "arguments",
    [
        ("extract", "jagpt:sample", "--output", "text"),
        ("corpus", "quickstart", "--run-dir", "run"),
        ("run", "quickstart", "--run-dir", "run", "--until", "corpus"),
        ("init", "small"),
        ("recipes",),
        ("download", "--help"),
        ("doctor", "--json"),
    ],
    ids=lambda value: value[0],
)
def test_what_makes_text_needs_the_core_alone(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = core(*arguments, folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "quickstart", "--run-dir", "run"),
        ("tokenizer", "quickstart", "--run-dir", "run"),
        ("train", "quickstart", "--run-dir", "run"),
        ("plan", "small"),
        ("evaluate", "--model", "there", "--text", "texts.txt"),
    ],
    ids=lambda value: value[0],
)
def test_what_needs_more_says_how_it_is_added_and_changes_nothing(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "texts.txt").write_text("京都は古い都である。\n", encoding="utf-8")
    done = core(*arguments, folder=tmp_path)
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert "[train]" in line
    assert "pip install" in line
    assert not list((tmp_path / "run").rglob("*.parquet"))


def test_from_python_too_text_needs_the_core_alone(tmp_path: Path) -> None:
    lines = WITHOUT_TRAIN.partition("from jagpt.cli")[0] + (
        "import jagpt\n"
        "run = jagpt.run('quickstart', run_dir='run', until='corpus')\n"
        "print(run.stages['corpus'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout == "done\n", done.stderr


@pytest.mark.parametrize("name", TRAIN)
def test_each_package_of_train_is_known_by_its_module(name: str) -> None:
    assert installation.extra_of(name.replace("protobuf", "google.protobuf")) == "train"


def test_a_module_that_no_extra_brings_is_an_error_of_our_own() -> None:
    assert installation.extra_of("jagpt.nothing") is None


def origin(monkeypatch: pytest.MonkeyPatch, record: object) -> None:
    text = None if record is None else json.dumps(record)

    class Distribution:
        def read_text(self, _name: str) -> str | None:
            return text

    monkeypatch.setattr(installation.metadata, "distribution", lambda _name: Distribution())
    monkeypatch.setattr(installation, "_has_pip", lambda: True)
    monkeypatch.setattr(sys, "executable", "/opt/venv/bin/python")


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (None, "install 'jagpt[ray]'"),
        ({"url": "file:///w/jagpt.whl", "archive_info": {}}, "'jagpt[ray] @ file:///w/jagpt.whl'"),
        ({"url": "file:///home/a%20b", "dir_info": {"editable": True}}, "-e '/home/a b[ray]'"),
    ],
)
def test_the_command_adds_to_the_installation_that_is_there(
    monkeypatch: pytest.MonkeyPatch, record: object, line: str
) -> None:
    origin(monkeypatch, record)
    command = installation.command("ray")
    assert command.startswith("/opt/venv/bin/python -m pip install")
    assert command.endswith(line)


def test_an_environment_of_uvx_is_not_added_to_but_made_with_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    origin(monkeypatch, {"url": "file:///w/jagpt.whl", "archive_info": {}})
    (tmp_path / "CACHEDIR.TAG").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "archive-v0" / "x"))
    expected = "uvx --from 'jagpt[ray] @ file:///w/jagpt.whl' jagpt …"
    assert installation.command("ray") == expected
    monkeypatch.setattr(sys, "prefix", str(tmp_path))  # an environment that uv tagged itself
    assert installation.command("ray").startswith("/opt/venv/bin/python -m pip install")


def test_where_there_is_no_pip_uv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    origin(monkeypatch, None)
    monkeypatch.setattr(installation, "_has_pip", lambda: False)
    command = installation.command("ray")
    assert command == "uv pip install --python /opt/venv/bin/python 'jagpt[ray]'"
