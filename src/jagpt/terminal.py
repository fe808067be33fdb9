"""Everything printed passes through here: control characters in any text are shown as text.

A name in a stranger's file may contain terminal commands: colours, cursor moves, a new title. So
standard output and error accept none from anybody (`guarded`), and what jagpt draws itself, with
rich and `styled`, bypasses that with its texts shown in the same way.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from jagpt.text import shown

_UP = re.compile(r"(\x1b\[A)+")
"""How a library with several bars (tqdm) moves between them."""


class Terminal(Console):
    """A rich console whose texts are shown as they are, whatever they contain."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(emoji=False, **settings)  # ":key:" in a path is no picture of a key

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of `renderable`; the only control codes are rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=shown(segment.text))


class _Guarded:
    """A stream that shows control characters, except those with which libraries draw bars."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # where rich writes, which has drawn already

    def write(self, text: str) -> int:
        drawn = text if _UP.fullmatch(text) else "\r" if text.startswith("\r") else ""
        self.rich_proxied_file.write(drawn + shown(text[len(drawn) :]))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


class _Watched:
    """A standard stream for which `failed` decides what an error of writing means."""

    def __init__(self, stream: TextIO, failed: Callable[[TextIO, OSError], None]) -> None:
        self._stream, self._failed = stream, failed

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except OSError as error:
            self._failed(self._stream, error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._failed(self._stream, error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _dispensed_with(stream: TextIO, _error: OSError) -> None:
    """A command works without standard error: what cannot be written there (nobody reads, a full
    disk) goes nowhere.
    """
    send_nowhere(stream)


def _told(_stream: TextIO, error: OSError) -> NoReturn:
    """The system does not say what it could not write to."""
    error.filename = "standard output"
    raise error


def send_nowhere(stream: TextIO) -> None:
    """What is written from now on, and what is still buffered, is dropped."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def open_closed() -> None:
    """Let standard streams that the caller closed be empty ones: files would get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115


@contextmanager
def guarded() -> Iterator[None]:
    """Standard output and error show control characters, whoever writes there."""
    before = sys.stdout, sys.stderr
    watched = _Watched(sys.stdout, _told), _Watched(sys.stderr, _dispensed_with)
    sys.stdout, sys.stderr = (cast(TextIO, _Guarded(cast(TextIO, one))) for one in watched)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


@contextmanager
def unguarded() -> Iterator[None]:
    """For a library that draws with its own control codes."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_raw(stream) for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def styled(text: str, *, err: bool = False, **style: Any) -> None:
    """Print `text` without a newline, in a click style if the stream is a terminal."""
    stream = _raw(sys.stderr if err else sys.stdout)
    text = click.style(shown(text), **style)
    click.echo(text, file=stream, nl=False, color=stream.isatty())


def _raw(stream: TextIO) -> TextIO:
    return getattr(stream, "rich_proxied_file", stream)
