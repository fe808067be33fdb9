"""Requests to stop: SIGTERM, Ctrl-C and the time limit."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, NoReturn

from jagpt.errors import StoppedError
from jagpt.progress import Progress


class StopRequest:
    """Notes the first SIGTERM or Ctrl-C inside a `with` block; a second Ctrl-C leaves at once.

    `max_hours` count from the block's start.
    """

    def __init__(self, max_hours: float | None = None) -> None:
        self.signal: int | None = None
        self._limit = None if max_hours is None else max_hours * 3600
        self._started = time.monotonic()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._started = time.monotonic()
        if threading.current_thread() is threading.main_thread():  # elsewhere Python allows none
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def signalled(self) -> bool:
        """Whether a signal asked to stop."""
        return self.signal is not None

    def agree(self, highest: Callable[[int], int]) -> None:
        """Make a signal to any rank one to all; `highest` gives the highest of their numbers."""
        self.signal = highest(self.signal or 0) or None

    @property
    def limited(self) -> bool:
        """Whether there is a time limit at all."""
        return self._limit is not None

    def out_of_time(self, seconds_needed: float) -> bool:
        """Whether the next `seconds_needed` would pass the time limit."""
        if self._limit is None:
            return False
        return time.monotonic() - self._started + seconds_needed >= self._limit

    def leave(self, where: str, progress: Progress) -> NoReturn:
        """Leave as the signal or the time limit wants it, saying `where` the work stands."""
        reasons = {int(signal.SIGTERM): "SIGTERM", int(signal.SIGINT): "Ctrl-C"}
        reason = reasons.get(self.signal or 0, "execution.max_hours")
        message = f"{where} ({reason}); the same command goes on from there"
        if self.signal == signal.SIGINT:
            progress.say(message)
            raise KeyboardInterrupt
        raise StoppedError(message)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
