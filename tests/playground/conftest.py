from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jagpt.playground import desk

SERVING = Path(__file__).with_name("serving.py")


STARTING = 120.0
"""Seconds after which a playground that is not there counts as failed."""


@dataclass
class Served:
    """A running playground; `log` is the file of all that it prints."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path


@pytest.fixture(scope="module")
def start(
    tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Served]]:
    """Starts playgrounds of the tiny model: (seconds a token, names…); ends those still running.

    `gone` is the seconds after which whoever does not listen loses the place.
    """
    pytest.importorskip("gradio", reason="needs the extra jagpt[playground]")
    running: list[subprocess.Popen[bytes]] = []

    def started(seconds: float, *names: str, gone: float = desk.GONE) -> Served:
        log = tmp_path_factory.mktemp("playground") / "log.txt"
        with log.open("wb") as out:  # a pipe that nobody reads would block it once it is full
            process = subprocess.Popen(
                [sys.executable, str(SERVING), str(tiny_model), str(seconds), str(gone), *names],
                stdout=out, stderr=subprocess.STDOUT, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        running.append(process)
        begun = time.monotonic()
        while process.poll() is None and time.monotonic() - begun < STARTING:
            if found := re.search(r"http://\S+/", log.read_text("utf-8")):
                return Served(found[0], process, log)
            time.sleep(0.05)
        raise AssertionError(f"the playground did not start:\n{log.read_text('utf-8')}")

    yield started
    for process in running:
        process.kill()
        process.wait()
