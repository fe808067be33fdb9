"""Requests to stop: SIGTERM, Ctrl-C and the time limit."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from jagpt.errors import StoppedError
from jagpt.progress import Progress

if TYPE_CHECKING:
    from jagpt.training.distributed import Group


class Interrupted(Exception):  # noqa: N818
    """Training should stop; a step or validation in progress is dropped, and done again later."""


class OutOfTime(StoppedError):  # noqa: N818
    """The time limit, not a signal, ended the training."""


class StopRequest:
    """Notes the first SIGTERM or Ctrl-C inside a `with` block; a second Ctrl-C exits at once.

    `max_hours` count from the block's start. With several ranks, a signal to any is one to all.
    """

    def __init__(self, max_hours: float | None = None, group: Group | None = None) -> None:
        self.signal: int | None = None
        self._group = group
        self._limit = None if max_hours is None else max_hours * 3600
        self._started = time.monotonic()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self._started = time.monotonic()
        if (
            threading.current_thread() is threading.main_thread()
        ):  # elsewhere Python does not allow it
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

    def asked(self) -> bool:
        """Whether a signal came to any rank; all must call this."""
        self.signal = self._highest(self.signal or 0) or None
        return self.signalled()

    def break_off(self) -> None:
        """`Interrupted` if a signal came to any rank; all must call this."""
        if self.asked():
            raise Interrupted

    def between_steps(self, reserve: float | None) -> None:
        """`Interrupted` if a signal came, or if `reserve` seconds would exceed the time limit.

        None if no step is taken yet: each call of the program takes at least one.
        """
        late = reserve is not None and self.out_of_time(reserve)
        if self.asked() or (self._limit is not None and self._highest(int(late))):
            raise Interrupted

    def out_of_time(self, seconds_needed: float) -> bool:
        """Whether the next `seconds_needed` would exceed the time limit."""
        if self._limit is None:
            return False
        return time.monotonic() - self._started + seconds_needed >= self._limit

    def _highest(self, number: int) -> int:
        return number if self._group is None else self._group.highest(number)

    def leave(self, where: str, progress: Progress) -> NoReturn:
        """Raise what the signal or the time limit asks for, saying `where` the work is."""
        reasons = {int(signal.SIGTERM): "SIGTERM", int(signal.SIGINT): "Ctrl-C"}
        reason = reasons.get(self.signal or 0, "execution.max_hours")
        message = f"{where} ({reason}); the same command continues from there"
        if self.signal == signal.SIGINT:
            progress.say(message)
            raise KeyboardInterrupt
        raise StoppedError(message) if self.signalled() else OutOfTime(message)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
