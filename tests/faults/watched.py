"""Many inputs in a child process that is watched: its end, its time, its memory, its files.

A library's crash would take the test's own process along, and what an input takes is the child's.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from jagpt.errors import JagptError

SECONDS = 30
"""For one input; it takes milliseconds."""
ROOM = 2 * 1024**3
"""Address space beyond what the child has at its beginning."""


@dataclass(frozen=True)
class Outcome:
    """What became of the inputs: how many, those refused, and the child's peak in bytes."""

    tried: int
    refused: int
    peak: int

    def show(self, what: str, capsys: pytest.CaptureFixture[str]) -> None:
        """Print the counts where many inputs were asked for (`JAGPT_MUTATIONS`)."""
        if "JAGPT_MUTATIONS" in os.environ:
            with capsys.disabled():
                print(f"\n{what}: {self.tried:,} tried, {self.refused:,} refused, "
                      f"peak {self.peak / 1e6:,.0f} MB")  # fmt: skip


def watch(read: Callable[[bytes], object], inputs: Iterable[bytes], outside: Path) -> Outcome:
    """Hand each input to `read`, which must return or raise one of jagpt's errors, in one line.

    What returns False refused it too.

    `AssertionError` with the input where it does something else, takes over `SECONDS` or `ROOM`,
    looks up a name, ends the process, or anything below `outside` changes.
    """
    before = _seen(outside)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _try_all(read, inputs, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        answer = told.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended == 0, f"ended with {ended}: {answer[-2000:]!r}"
    problem, *figures = json.loads(answer)
    assert not problem, problem
    assert _seen(outside) == before, "something outside was changed"
    return Outcome(*figures)


def _try_all(read: Callable[[bytes], object], inputs: Iterable[bytes], writing: int) -> NoReturn:
    def too_long(*_: object) -> NoReturn:
        raise TimeoutError(f"over {SECONDS} s")

    def no_look_up(*_: object, **__: object) -> NoReturn:
        raise AssertionError("a name was looked up")

    signal.signal(signal.SIGALRM, too_long)
    socket.getaddrinfo = no_look_up
    limit = _status("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tried = refused = 0
    content = b""
    try:
        for content in inputs:
            signal.alarm(SECONDS)
            refused += _refused(read, content)
            tried += 1
        signal.alarm(0)
        answer = ["", tried, refused, _status("VmHWM")]
    except BaseException:
        answer = [f"input {tried}: {traceback.format_exc()}\n{content[:2000]!r}"]
    with os.fdopen(writing, "w") as told:
        json.dump(answer, told)
    sys.stdout.flush()
    os._exit(0)


def _refused(read: Callable[[bytes], object], content: bytes) -> bool:
    try:
        return read(content) is False
    except JagptError as error:
        said = str(error)
        assert said, "an error that says nothing"
        assert "\n" not in said, f"more than a line: {said}"
        return True


def _status(name: str) -> int:
    """A figure of this process's memory in bytes, as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def _seen(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in (root, *root.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns)
    return found
