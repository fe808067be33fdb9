"""Sides of a benchmark that do the same work in turns, each in a process that stays.

This module needs nothing but the standard library: a side may run in another environment.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Turn:
    """What a turn took, and how much came out of it."""

    seconds: float
    count: int


class Side:
    """A side's process, once it is ready: it works whenever `take_turn` is called."""

    def __init__(self, name: str, command: Sequence[str | Path]) -> None:
        self._name = name
        self._process = subprocess.Popen(  # noqa: S603
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait(self) -> None:
        """Return when the process has all that it needs in memory."""
        self._read()

    def take_turn(self) -> Turn:
        """Have the work done once."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):  # the empty answer says so
                self._process.stdin.write("go\n")
                self._process.stdin.flush()
        seconds, count = self._read().split()
        return Turn(float(seconds), int(count))

    def end(self) -> None:
        """Without another question the process leaves."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # in the middle of a turn
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> str:
        answer = self._process.stdout.readline() if self._process.stdout else ""
        if not answer:
            raise RuntimeError(f"the process of {self._name!r} died; its message stands above")
        return answer


def serve(
    work: Callable[[], T],
    count: Callable[[T], int],
    start_up: Callable[[], object] = lambda: None,
) -> None:
    """The other end of `Side`: do the work whenever it is asked for, and tell what it took.

    `count` is called after the clock was read. `start_up` is timed too, and its seconds are taken
    off: for work that cannot be had without it.
    """
    print("ready", flush=True)
    for _ in sys.stdin:
        spent = _timed(start_up)[0]
        seconds, result = _timed(work)
        amount = count(result)
        del result
        print(seconds - spent, amount, flush=True)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result
