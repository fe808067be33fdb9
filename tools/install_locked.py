"""Install what requirements-lock.txt names, with its hashes, where the system is the lock's own.

`make` runs this first in a new environment; pip's options may follow. It needs Python and its pip
alone. A file that is not the lock's stops it. On another system, and for a PyTorch that no index
has (the lock's is the CPU build), constraints.txt's versions are installed afterwards without
hashes, and it says so.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements-lock.txt"
_PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def system() -> str:
    """This system and Python, as the lock's first line says them."""
    python = ".".join(platform.python_version_tuple()[:2])
    return f"{platform.system()} {platform.machine()}, {platform.python_implementation()} {python}"


def main(options: Sequence[str]) -> int:
    """pip's exit code; 0 where the lock is another system's."""
    head, *_ = LOCK.read_text("utf-8").splitlines()
    if f"{system()};" not in head:
        print(f"{LOCK.name} is for another system than {system()}: no hashes are checked")
        return 0
    rows = re.findall(r"(?m)^\S+==.*\\\n.*$", LOCK.read_text("utf-8"))
    torch = next(row for row in rows if row.startswith("torch=="))
    if not _is_there(torch.split()[0], options):
        print(f"{torch.split()[0]}, of {LOCK.name}, is in no index: PyTorch's hash is not checked")
        rows.remove(torch)
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "locked.txt"
        listed.write_text("\n".join(rows) + "\n")
        command = (*_PIP, "install", "--no-compile", "--no-deps", "--require-hashes", *options)
        done = subprocess.run([*command, "--requirement", listed], check=False)  # noqa: S603
    if done.returncode:
        print(f"what {LOCK.name} names was not installed; LOCKED=no installs without hashes")
    return done.returncode


def _is_there(requirement: str, options: Sequence[str]) -> bool:
    command = (*_PIP, "install", "--quiet", "--dry-run", "--no-deps", *options, requirement)
    done = subprocess.run(command, stderr=subprocess.DEVNULL, check=False)  # noqa: S603
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
