from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

SERVING = Path(__file__).with_name("serving.py")


@dataclass
class Served:
    """A running playground."""

    url: str
    process: subprocess.Popen[str]


@pytest.fixture(scope="module")
def start(tiny_model: Path) -> Iterator[Callable[..., Served]]:
    """Starts playgrounds of the tiny model: (seconds a token, names…); ends those still running."""
    pytest.importorskip("gradio", reason="needs the extra jagpt[playground]")
    running: list[subprocess.Popen[str]] = []

    def started(seconds: float, *names: str) -> Served:
        process = subprocess.Popen(
            [sys.executable, str(SERVING), str(tiny_model), str(seconds), *names],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        running.append(process)
        assert process.stdout is not None
        seen = ""
        for line in process.stdout:
            seen += line
            if found := re.search(r"http://\S+/", line):
                return Served(found[0], process)
        raise AssertionError(f"the playground did not start:\n{seen}")

    yield started
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
