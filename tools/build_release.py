"""Build wheel and sdist, and try them where nothing of this repository is (`make release`).

The wheel is installed into an empty environment outside the repository: alone, to extract the
bundled sample; then with [train], to run the quickstart. The Dockerfile's own steps are tried
in the same way. `dist/` holds only files that passed. pip's options may follow.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "constraints.txt"


def main(options: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="jagpt-release-") as folder:
        scratch = Path(folder)
        built = _build(scratch / "dist", options)
        (wheel,) = (path for path in built if path.suffix == ".whl")
        _check_dockerfile()
        python = _environment(scratch / "environment", str(wheel), options)
        _try_core(python, scratch)
        _uvx(python, wheel, scratch, options)
        _install(python, f"jagpt[train] @ {wheel.as_uri()}", options)
        _try_quickstart(python, scratch)
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        shutil.copytree(scratch / "dist", ROOT / "dist")
    for path in sorted((ROOT / "dist").iterdir()):
        print(f"dist/{path.name}: {path.stat().st_size:,} bytes")
    return 0


def _build(dist: Path, options: Sequence[str]) -> list[Path]:
    """Wheel and sdist; the wheel is built from the sdist, so that both are whole."""
    environment = dist.parent / "builder"
    venv.create(environment, with_pip=True)
    python = _python(environment)
    _run(python, "-m", "pip", "install", "--quiet", *options, "build>=1.2", "hatchling>=1.27")
    _run(python, "-m", "build", "--no-isolation", "--outdir", dist, ROOT)
    return sorted(dist.iterdir())


def _environment(folder: Path, wheel: str, options: Sequence[str]) -> Path:
    venv.create(folder, with_pip=True)
    python = _python(folder)
    _install(python, wheel, options)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"the core alone: {size / 1e6:,.0f} MB of environment")
    return python


def _install(python: Path, what: str, options: Sequence[str]) -> None:
    _run(python, "-m", "pip", "install", "--quiet", "--constraint", CONSTRAINTS, *options, what)


def _try_core(python: Path, scratch: Path) -> None:
    began = time.monotonic()
    _run(python.parent / "jagpt", "extract", "jagpt:sample", "--output", scratch / "text",
         "--format", "txt", folder=scratch)  # fmt: skip
    print(f"extract jagpt:sample: {time.monotonic() - began:.1f} s")
    if not (scratch / "text" / "documents.txt").stat().st_size:
        raise SystemExit("extract left no text")


def _uvx(python: Path, wheel: Path, scratch: Path, options: Sequence[str]) -> None:
    """`uvx --from WHEEL jagpt`, where the index has uv."""
    command = [python, "-m", "pip", "install", "--quiet", *options, "uv"]
    if subprocess.run([*map(str, command)], check=False).returncode:  # noqa: S603
        print("uv could not be installed: uvx is not tried")
        return
    _run(python.parent / "uvx", "--python", python, "--constraints", CONSTRAINTS, "--from", wheel,
         "jagpt", "--version", folder=scratch)  # fmt: skip


def _try_quickstart(python: Path, scratch: Path) -> None:
    jagpt = python.parent / "jagpt"
    _run(jagpt, "run", "quickstart", "--run-dir", scratch / "run", folder=scratch)
    _run(jagpt, "generate", scratch / "run", "統計的推定を使うことで、", folder=scratch)


def _check_dockerfile() -> None:
    """What the Dockerfile copies is there, and what it installs is what was tried above."""
    text = (ROOT / "Dockerfile").read_text("utf-8")
    copied = [name for line in re.findall(r"(?m)^COPY (.+) \S+$", text) for name in line.split()]
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    for name in copied:
        if not (ROOT / name).exists() or f"!{name}" not in ignored:
            raise SystemExit(f"Dockerfile: COPY {name}: not there, or not let in by .dockerignore")
    (installs,) = re.findall(r"(?m)^RUN (python -m pip install .+)$", text)
    if "/src[train]" not in shlex.split(installs):
        raise SystemExit("Dockerfile: it does not install /src[train]")


def _python(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(*command: str | Path, folder: Path | None = None) -> None:
    """Run a program; its failure ends this one. Nothing of the repository is on its path."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], cwd=folder, env=clean, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {done.returncode}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
