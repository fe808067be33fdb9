"""Progress on standard error: a bar on a terminal, plain lines in a log, nothing if asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from jagpt import units
from jagpt.terminal import Terminal

Style = Literal["auto", "quiet"]
LINE_INTERVAL = 10.0
"""Seconds between two lines of one piece of work in a log."""
WIDE = 110
"""Columns from which a bar has its full length."""


class Bar:
    """A long piece of work; `total` is None if it is not known."""

    def __init__(self, what: str, total: int | None, unit: str) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.note = ""

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """`count` more units are done."""
        self.update(self.done + count, note)

    def update(self, done: int, note: str | None = None) -> None:
        """`done` units are done in total; `note` is shown beside."""
        self.done = done
        if note is not None:
            self.note = note
        self._show()

    def finish(self) -> None:
        """The work is done, however much it was thought to be."""

    def _show(self) -> None:
        """Nothing in a quiet bar."""


class _TerminalBar(Bar):
    def __init__(self, what: str, total: int | None, unit: str, rich: RichProgress) -> None:
        super().__init__(what, total, unit)
        self._rich = rich
        self._task = rich.add_task(what, total=total, unit=unit, note="")

    def finish(self) -> None:
        self.total = self.done
        self._rich.update(self._task, total=self.done, completed=self.done)

    def _show(self) -> None:
        self._rich.update(self._task, completed=self.done, note=self.note)


class _LogBar(Bar):
    def __init__(self, what: str, total: int | None, unit: str, console: Console) -> None:
        super().__init__(what, total, unit)
        self._console = console
        self._started = self._shown = time.monotonic()
        self._told_all = False

    def _show(self) -> None:
        now = time.monotonic()
        if now - self._shown >= LINE_INTERVAL:
            self._shown = now
            self.line()

    def finish(self) -> None:
        self.total = self.done
        if not self._told_all:
            self.line()

    def line(self) -> None:
        of = f" of {self.total:,}" if self.total else ""
        seconds = time.monotonic() - self._started
        left = ""
        if self.total and 0 < self.done < self.total:
            left = f", {seconds / self.done * (self.total - self.done):.0f} s left"
        note = f"  {self.note}" if self.note else ""
        self._told_all = self.done == self.total
        counts = units.agreeing(f"{self.done:,}{of} {self.unit}")
        self._console.print(
            f"{self.what}: {counts}, {seconds:.0f} s{left}{note}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


class _Words(ProgressColumn):
    """A text that is cut where there is no room for it."""

    def __init__(self, field: str) -> None:
        super().__init__()
        self._field = field

    def render(self, task: Task) -> Text:
        words = task.description if self._field == "description" else task.fields[self._field]
        return Text(words, no_wrap=True, overflow="ellipsis")


class _Counts(ProgressColumn):
    """`12 of 34 parts`."""

    def render(self, task: Task) -> Text:
        of = f" of {task.total:,.0f}" if task.total and not task.finished else ""
        return Text(units.agreeing(f"{task.completed:,.0f}{of} {task.fields['unit']}"))


class _Times(ProgressColumn):
    """`1:07 elapsed, 0:31 left`."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        left = None if task.finished else task.time_remaining
        return Text(
            f"{_clock(elapsed or 0.0)} elapsed" + (f", {_clock(left)} left" if left else "")
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns(width: int) -> tuple[ProgressColumn, ...]:
    """The text next to a bar, cut so that it fits: names and notes give way, never a figure."""
    return (
        _Words("description"),
        BarColumn(bar_width=40 if width >= WIDE else 8),
        _Counts(table_column=Column(no_wrap=True)),
        _Times(table_column=Column(no_wrap=True)),
        _Words("note"),
    )


class _Console(Terminal):
    """Standard error; the work continues even if nobody reads it any more."""

    def __init__(self) -> None:
        super().__init__(stderr=True)

    def on_broken_pipe(self) -> None:
        self.quiet = True


class Progress:
    """Where stages report what they do."""

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
            with RichProgress(*_columns(self.console.width), console=self.console) as rich:
                shown = _TerminalBar(what, total, unit, rich)
                yield shown
                shown.finish()
        else:
            bar = _LogBar(what, total, unit, self.console)
            yield bar
            bar.finish()


QUIET = Progress("quiet")
