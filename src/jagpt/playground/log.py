"""The server's log, which a stranger can neither fill nor write in.

gradio prints a traceback with what was sent for each request that it cannot use, and uvicorn and
asyncio log others. While the page is served, all that counts as one more of its kind: an error's
class, or who wrote, and where in the code. A kind is told at its 1st, 10th, 100th … time, without
a word of what was sent.
"""

from __future__ import annotations

import io
import logging
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import FrameType
from typing import TextIO

KINDS = 100
"""Kinds that are told apart; all further ones are one."""
OTHERS = "something else"
PRINTERS = frozenset({__name__, "traceback", "logging", "warnings", "contextlib"})
"""Modules that print for others."""


@contextmanager
def kept_short() -> Iterator[None]:
    """Whatever is printed, logged or warned of meanwhile is told in short on standard error."""
    log = _Log(sys.stderr)
    root, handler = logging.getLogger(), _Handler(log)
    with warnings.catch_warnings(), redirect_stdout(log), redirect_stderr(log):
        warnings.simplefilter("ignore")  # Python would remember the text of each, forever
        root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(handler)


class _Log(io.TextIOBase):
    """A stream that counts what is written to it and tells the counts on another."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._counts: Counter[str] = Counter()
        self._last: int | None = None

    def write(self, text: str) -> int:
        error = sys.exc_info()[1]
        if error is None:
            self.count(f"output of {_writer(sys._getframe(1))}")
        elif id(error) != self._last:  # a traceback is written line by line
            self._last = id(error)
            self.count(_place(error))
        return len(text)

    def count(self, kind: str) -> None:
        """One more of a kind."""
        if kind not in self._counts and len(self._counts) >= KINDS:
            kind = OTHERS
        self._counts[kind] += 1
        times = self._counts[kind]
        if str(times).strip("0") == "1":  # 1, 10, 100 …
            again = "" if times == 1 else f", {times:,} times so far"
            self._out.write(f"a request failed: {kind}{again}\n")
            self._out.flush()


class _Handler(logging.Handler):
    """Counts what libraries log."""

    def __init__(self, log: _Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        where = f"{record.levelname.lower()} in {record.name}.{record.module}, line {record.lineno}"
        self._log.count(where if error is None else _place(error))


def _place(error: BaseException) -> str:
    """An error's class and the line that raised it; its text may be what was sent."""
    frames = [*traceback.walk_tb(error.__traceback__)]
    where = f" in {_module(frames[-1][0])}, line {frames[-1][1]}" if frames else ""
    return type(error).__name__ + where


def _writer(frame: FrameType | None) -> str:
    while frame is not None and _module(frame).partition(".")[0] in PRINTERS:
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{_module(frame)}, line {frame.f_lineno}"


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "?"))
