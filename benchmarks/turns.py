"""Processes that take turns: one works while the others hold what they have and wait.

Nothing but the standard library is imported here: a process may run in another environment.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class Process:
    """A process that works whenever it is asked to, and answers with numbers by name."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._process = subprocess.Popen(  # noqa: S603
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def wait(self) -> None:
        """Return when the process has all that it needs."""
        self._ask("ready")

    def work(self) -> dict[str, float]:
        """One piece of work; what it took."""
        return {name: float(value) for name, value in json.loads(self._ask("work")).items()}

    def peak(self) -> int:
        """Largest memory so far, in bytes."""
        return int(self._ask("peak"))

    def end(self) -> None:
        """Without another question the process tidies up and leaves."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # in the middle of its work
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, question: str) -> str:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("a process without pipes")
        with suppress(BrokenPipeError):  # the empty answer says so
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process {self._name!r} died; its message stands above")
        return answer


class Turns:
    """The other end of `Process`: `wait` until work is wanted, then `answer` what it took."""

    def __init__(self, device: Any = None) -> None:
        self._device = device
        self._out = sys.stdout
        sys.stdout = sys.stderr  # what libraries print is no answer

    def wait(self) -> None:
        while (question := sys.stdin.readline()).strip() in ("peak", "ready"):
            answer = _peak(self._device) if question.strip() == "peak" else 0
            print(answer, file=self._out, flush=True)
        if not question:
            raise SystemExit

    def answer(self, numbers: dict[str, float]) -> None:
        print(json.dumps(numbers), file=self._out, flush=True)


def serve(
    work: Callable[[], T],
    count: Callable[[T], int],
    start_up: Callable[[], object] = lambda: None,
) -> None:
    """Do the work whenever it is asked for; answers `seconds`, and the `count` of what it made.

    `count` is called after the clock was read. `start_up` is timed too, and its seconds are taken
    off: for work that cannot be had without it.
    """
    turns = Turns()
    while True:
        turns.wait()
        spent, _ = _timed(start_up)
        seconds, result = _timed(work)
        made = count(result)
        del result
        turns.answer({"seconds": seconds - spent, "count": made})


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def _peak(device: Any) -> int:
    """Bytes: of the GPU's memory where there is one, else of this process."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
