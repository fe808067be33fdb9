"""Progress on standard error: a bar on a terminal, plain lines in a log, nothing where asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as RichProgress,
)

from jagpt.terminal import Terminal

Style = Literal["auto", "quiet"]
LINE_INTERVAL = 10.0
"""Seconds between two lines of one piece of work in a log."""


class Bar:
    """One piece of long work; `total` is None where it is not known."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.note = ""

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """`count` more units are done."""
        self.update(self.done + count, note)

    def update(self, done: int, note: str | None = None) -> None:
        """`done` units are done in all; `note` is shown beside."""
        self.done = done
        if note is not None:
            self.note = note
        self._show()

    def _show(self) -> None:
        """Nothing in a quiet bar."""


class _TerminalBar(Bar):
    def __init__(self, what: str, total: int | None, unit: str, rich: RichProgress) -> None:
        super().__init__(what, total, unit)
        self._rich = rich
        self._task = rich.add_task(escape(what), total=total, unit=unit, note="")

    def _show(self) -> None:
        self._rich.update(self._task, completed=self.done, note=escape(self.note))


class _LogBar(Bar):
    def __init__(self, what: str, total: int | None, unit: str, console: Console) -> None:
        super().__init__(what, total, unit)
        self._console = console
        self._started = self._shown = time.monotonic()

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown >= LINE_INTERVAL:
            self._shown = now
            self.line()

    def line(self) -> None:
        of = f" of {self.total:,}" if self.total else ""
        seconds = time.monotonic() - self._started
        left = ""
        if self.total and 0 < self.done < self.total:
            left = f", {seconds / self.done * (self.total - self.done):.0f} s left"
        note = f"  {self.note}" if self.note else ""
        self._console.print(
            f"{self.what}: {self.done:,}{of} {self.unit}, {seconds:.0f} s{left}{note}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


class _Console(Terminal):
    """Standard error; the work goes on where nobody reads it any more."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Progress:
    """Where stages tell what they do."""

    def __init__(self, style: Style = "auto", console: Console | None = None) -> None:
        self.style = style
        self.console = console or _Console()

    def say(self, text: str) -> None:
        """One line for the user."""
        if self.style != "quiet":
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def bar(self, what: str, total: int | None = None, unit: str = "") -> Iterator[Bar]:
        """A bar for `total` units of work, until the block ends."""
        if self.style == "quiet":
            yield Bar(what, total, unit)
        elif self.console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[unit]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            with RichProgress(*columns, console=self.console) as rich:
                yield _TerminalBar(what, total, unit, rich)
        else:
            bar = _LogBar(what, total, unit, self.console)
            yield bar
            bar.line()


QUIET = Progress("quiet")
