"""Everything printed passes through here: control characters in any text are shown as text.

A name in a stranger's file may contain terminal commands: colours, cursor moves, a new title. So
standard output and error accept none from anybody (`guarded`), and what jagpt draws itself, with
rich and `styled`, bypasses that with its texts shown in the same way.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

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


@contextmanager
def guarded() -> Iterator[None]:
    """Standard output and error show control characters, whoever writes there."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Guarded(stream)) for stream in before)
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
    click.echo(click.style(shown(text), **style), file=stream, nl=False)


def _raw(stream: TextIO) -> TextIO:
    return getattr(stream, "rich_proxied_file", stream)
