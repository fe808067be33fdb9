"""Nothing is imported from the folder that one stands in, by whichever process."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import jagpt
from jagpt import safepath

SOURCE = Path(jagpt.__file__).parent.parent
SCRIPT = "from jagpt.__main__ import main\nif __name__ == '__main__':\n    main()\n"
LAUNCH = "import sys\nfrom jagpt.training import ranks\nsys.exit(ranks.launch(['--version'], 2))\n"
WORKERS = """
from jagpt.workers import Workers
if __name__ == "__main__":
    with Workers(abs, 2) as workers:
        assert list(workers.results(range(-4, 0))) == [4, 3, 2, 1]
"""
RAY = """
from jagpt.workers.cluster import RayExecutor
from jagpt.errors import DataError
executor = RayExecutor(None, 1)
assert type(executor.submit(DataError, "jagpt was imported there").result()) is DataError
executor.shutdown()
"""
LATER = ("json", "multiprocessing", "signal", "pickle", "threading", "click", "rich", "numpy",
         "sentencepiece", "torch", "sitecustomize")  # fmt: skip
"""Modules that no Python has imported when jagpt's first line runs."""
ALL = (*LATER, "runpy", "typing", "contextlib", "pkgutil", "__future__")
MADE = ("run", "quickstart", "--until", "tokenizer", "--set", "execution.workers=2")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Where a program's text can stand, like an installed `jagpt`."""
    place = tmp_path / "bin" / "program"
    place.parent.mkdir()
    return place


def hostile(folder: Path, names: Sequence[str], *, package: bool = True) -> Path:
    """A folder of modules that note when they run, then do what the real ones do not."""
    for name in names:
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'a').write({name!r})\n")
    if package:
        (folder / "jagpt").mkdir()
        (folder / "jagpt" / "__init__.py").write_text(
            f"open({str(folder / 'ran')!r}, 'a').write('jagpt')\n"
        )
    return folder


def run(folder: Path, command: Sequence[str | Path], path: str = str(SOURCE)) -> None:
    """Run a Python in the folder; nothing of it may have run."""
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONSAFEPATH", None)
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    ran = folder / "ran"
    assert not ran.exists(), ran.read_text()
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", [LAUNCH, WORKERS], ids=["ranks", "workers"])
def test_what_is_started_takes_no_module_from_here(
    tmp_path: Path, program: Path, text: str
) -> None:
    program.write_text(text)
    run(hostile(tmp_path, ALL), [program])


def test_a_run_with_workers_takes_no_module_from_here(tmp_path: Path, program: Path) -> None:
    program.write_text(SCRIPT)
    run(hostile(tmp_path, ALL), [program, *MADE])


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_workers_of_ray_take_no_module_from_here(tmp_path: Path, program: Path) -> None:
    program.write_text(RAY)
    run(hostile(tmp_path, ALL), [program])


def test_started_by_module_the_folder_counts_only_until_jagpt_begins(tmp_path: Path) -> None:
    run(hostile(tmp_path, LATER[:-1], package=False), ["-m", "jagpt", *MADE])


@pytest.mark.parametrize("options", [[], ["-E"]])
def test_an_empty_entry_of_the_path_is_not_this_folder(
    tmp_path: Path, program: Path, options: list[str]
) -> None:
    program.write_text(f"import sys\nsys.path.insert(0, {str(SOURCE)!r})\n{SCRIPT}")
    path = f":{SOURCE}"
    run(hostile(tmp_path, LATER[:-1], package=False), [*options, program, *MADE], path)


def test_settings_of_a_library_are_not_taken_from_here(tmp_path: Path) -> None:
    """matplotlib's could start LaTeX, or ask for a picture of any size."""
    command = (
        "from pathlib import Path; from jagpt.training.curve import draw; "
        "draw(Path('curve.png'), [(1, 2.0), (9, 1.0)]); import matplotlib; "
        "assert matplotlib.rcParams['font.size'] == 10, 'the file was read'"
    )
    pictures = []
    for settings in (b"font.size: 40\ntext.usetex: True\nfigure.dpi: 9\n", b"\xff", b""):
        folder = tmp_path / str(len(pictures))
        folder.mkdir()
        (folder / "matplotlibrc").write_bytes(settings)
        run(folder, ["-P", "-c", command])
        pictures.append((folder / "curve.png").read_bytes())
    assert len(set(pictures)) == 1


def test_the_folder_that_holds_jagpt_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SOURCE)
    monkeypatch.setenv("PYTHONPATH", str(SOURCE))
    assert safepath.variables() == {"PYTHONSAFEPATH": "1", "PYTHONPATH": str(SOURCE)}


def test_a_callers_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "a")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    before = dict(os.environ)
    with safepath.inherited():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        assert Path(os.environ["PYTHONPATH"]).is_absolute()
    assert dict(os.environ) == before
