"""Side environments, each kept while its requirements and the interpreter stay the same."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PLACE = ROOT / ".venv" / "compat"
"""git ignores it, and `make clean` deletes it."""
MARK = "installed"
LAYERED = "# on top of the project's own environment"
"""First line of requirements that go beside what is installed already: PyTorch is large."""
WITHOUT = "# without "
"""Begins a line with packages that are taken away again after they were installed."""


def requirements(name: str) -> Path:
    return HERE / f"requirements-{name}.txt"


def python(name: str) -> Path:
    """The interpreter of an environment, which is made first if it is not as the file says."""
    place = PLACE / name
    program = place / "bin" / "python"
    mark = place / MARK
    wanted = _fingerprint(name)
    if mark.is_file() and mark.read_text() == wanted:
        return program
    shutil.rmtree(place, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(place)])
    if requirements(name).read_text("utf-8").startswith(LAYERED):
        own = sysconfig.get_path("purelib")
        Path(_purelib(program), "below.pth").write_text(f"{own}\n", "utf-8")
    for packages, options in _groups(name):
        _run([str(program), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
              *options, *packages])  # fmt: skip
    if unwanted := _unwanted(name):
        _run([str(program), "-m", "pip", "uninstall", "--quiet", "--yes", *unwanted])
    mark.write_text(wanted)
    return program


@contextmanager
def empty(line: str) -> Iterator[Path]:
    """The interpreter of a new environment with nothing but what a card's install line brings.

    PyTorch alone is held to the version that is here, whose build may be chosen (for processors).
    """
    place = PLACE / "empty"
    shutil.rmtree(place, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(place)])
    held = place / "constraints.txt"
    held.write_text(f"torch=={version('torch').partition('+')[0]}\n", "utf-8")
    program, *words = shlex.split(line)
    if program != "pip":
        raise RuntimeError(f"a card says {line!r}, which is no line for pip")
    options = ["--quiet", "--disable-pip-version-check", "--constraint", str(held)]
    try:
        _run([str(place / "bin" / "python"), "-m", "pip", *words, *options])
        yield place / "bin" / "python"
    finally:
        shutil.rmtree(place, ignore_errors=True)


def packages(name: str) -> Path:
    """The folder of a node environment, made with npm if it is not as its package.json says."""
    place, wanted = PLACE / name, (HERE / f"package-{name}.json").read_text("utf-8")
    mark = place / MARK
    if not (mark.is_file() and mark.read_text("utf-8") == wanted):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "package.json").write_text(wanted, "utf-8")
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts",
              "--prefix", str(place)])  # fmt: skip
        mark.write_text(wanted, "utf-8")
    return place


def _groups(name: str) -> list[tuple[list[str], list[str]]]:
    """(packages, pip's options) in order; PyTorch comes first and alone, as its build is chosen."""
    lines = requirements(name).read_text("utf-8").splitlines()
    found: list[tuple[list[str], list[str]]] = []
    plain: list[str] = []
    for line in lines:
        parts = line.split()
        if not parts or parts[0] == "#":
            continue
        if parts[0].startswith("torch==") or len(parts) > 1:
            found.append(([parts[0]], parts[1:]))
        else:
            plain.append(parts[0])
    first = [group for group in found if group[0][0].startswith("torch==")]
    last = [group for group in found if group not in first]
    return [*first, (plain, []), *last]


def _unwanted(name: str) -> list[str]:
    lines = requirements(name).read_text("utf-8").splitlines()
    found = (line.removeprefix(WITHOUT) for line in lines if line.startswith(WITHOUT))
    return " ".join(found).split()


def _purelib(program: Path) -> str:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    done = subprocess.run([str(program), "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    return done.stdout.strip()


def _fingerprint(name: str) -> str:
    content = requirements(name).read_bytes() + sys.version.encode()
    return hashlib.sha256(content).hexdigest()


def _run(command: list[str]) -> None:
    done = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, cwd=PLACE,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout[-3000:]}"
        )
