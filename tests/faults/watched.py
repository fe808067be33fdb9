"""Many inputs in a child process that is watched: its end, its time, its memory, its files.

A library's crash would take the test's own process along, and what an input takes is the child's.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from jagpt.errors import JagptError

SECONDS = 30
"""For one input; it takes milliseconds."""
ROOM = 2 * 1024**3
"""Address space beyond what the child has at its beginning."""
HERE = frozenset({"127.0.0.1", "::1"})
"""Addresses that are no look-up: llama.cpp's server listens there."""
BEGUN = b"."
"""What the child tells as it begins with an input."""
_looked_up: list[str] = []


@dataclass(frozen=True)
class Outcome:
    """What became of the inputs: how many, those refused; the child's peak in bytes, its seconds of
    a processor."""

    tried: int
    refused: int
    peak: int
    seconds: float


Tell = Callable[[str, Outcome], None]
"""The fixture `tally`: an outcome becomes a line of the last table (`tests/conftest.py`)."""


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
    answer = _told(reading, child)
    _, status, spent = os.wait4(child, 0)
    ended = os.waitstatus_to_exitcode(status)
    begun = len(answer) - len(answer.lstrip(BEGUN))
    assert ended == 0, f"input {begun - 1}: ended with {ended}: {answer[begun:][-2000:]!r}"
    problem, *figures = json.loads(answer[begun:])
    assert not problem, problem
    assert _seen(outside) == before, "something outside was changed"
    return Outcome(*figures, spent.ru_utime + spent.ru_stime)


def _told(reading: int, child: int) -> bytes:
    """All that the child tells. It and its own children are killed where it falls silent: no
    handler of Python's runs in a library that waits for a thread which the fork left behind.
    """
    answer = b""
    with os.fdopen(reading, "rb", buffering=0) as told:
        while select.select([told], [], [], 2 * SECONDS)[0]:
            if not (part := told.read(65536)):
                return answer
            answer += part
    os.killpg(child, signal.SIGKILL)
    return answer


def _try_all(read: Callable[[bytes], object], inputs: Iterable[bytes], writing: int) -> NoReturn:
    def too_long(*_: object) -> NoReturn:
        raise TimeoutError(f"over {SECONDS} s")

    os.setpgid(0, 0)
    signal.signal(signal.SIGALRM, too_long)
    socket.getaddrinfo = _noting(socket.getaddrinfo)
    limit = _status("VmSize") + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    tried = refused = 0
    content = b""
    try:
        for content in inputs:
            os.write(writing, BEGUN)
            signal.alarm(SECONDS)
            refused += _refused(read, content)
            tried += 1
        signal.alarm(0)
        inner = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        answer = ["", tried, refused, max(_status("VmHWM"), inner)]
    except BaseException:
        answer = [f"input {tried}: {traceback.format_exc()}\n{content[:2000]!r}"]
    with os.fdopen(writing, "w") as told:
        json.dump(answer, told)
    sys.stdout.flush()
    os._exit(0)


def apart(read: Callable[[bytes], object]) -> Callable[[bytes], bool]:
    """`read` in a process of its own for each input: it leaves no thread, and may crash alone."""

    def read_apart(content: bytes) -> bool:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            try:
                answer = "refused" if _refused(read, content) else "read"
            except BaseException:
                answer = traceback.format_exc()
            os.write(writing, answer.encode("utf-8", "replace"))
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            answer = told.read().decode()
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert answer in ("read", "refused"), answer or f"ended with {ended}"
        return answer == "read"

    return read_apart


def _noting(look_up: Callable[..., Any]) -> Callable[..., Any]:
    def noted(host: object, *others: Any, **options: Any) -> Any:
        if host not in HERE:
            _looked_up.append(str(host))
        return look_up(host, *others, **options)

    return noted


def _refused(read: Callable[[bytes], object], content: bytes) -> bool:
    refused = _is_refused(read, content)
    assert not _looked_up, f"looked up: {_looked_up}"  # a library may swallow an error of ours
    return refused


def _is_refused(read: Callable[[bytes], object], content: bytes) -> bool:
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
