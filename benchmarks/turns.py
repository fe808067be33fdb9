"""Processes that take turns: one works while the others hold what they have and wait."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any


class Process:
    """A process that works whenever it is asked to, and answers with numbers by name."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._name = name
        self._process = subprocess.Popen(  # noqa: S603
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

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

    def __init__(self, device: Any) -> None:
        self._device = device
        self._out = sys.stdout
        sys.stdout = sys.stderr  # what libraries print is no answer

    def wait(self) -> None:
        while (question := sys.stdin.readline()).strip() == "peak":
            print(_peak(self._device), file=self._out, flush=True)
        if not question:
            raise SystemExit

    def answer(self, numbers: dict[str, float]) -> None:
        print(json.dumps(numbers), file=self._out, flush=True)


def _peak(device: Any) -> int:
    """Bytes: of the GPU's memory where there is one, else of this process."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
