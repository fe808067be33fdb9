"""Continuations on a terminal: as they come, and with each token's log-probability."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from jagpt import units
from jagpt.generation import Continuation, Drawing, TextGenerator, Token
from jagpt.terminal import Terminal, styled
from jagpt.text import printable

SHADES = ((0.5, 28), (0.2, 64), (0.05, 100), (0.01, 130), (0.0, 124))
"""Probability from which a colour of the 256 holds: from green, expected, to red, a surprise."""


class Printer:
    """Prints continuations after their prompts; with `scores` coloured, or with a table."""

    def __init__(self, scores: bool) -> None:
        self._console = Terminal(highlight=False, soft_wrap=True)
        self._scores = scores
        self._coloured = scores and self._console.color_system is not None
        if self._coloured:
            self._console.print(_legend())

    def show(self, prompt: str, continuations: Sequence[Continuation]) -> None:
        """All continuations of a prompt."""
        for continuation in continuations:
            self._begin(prompt)
            for token in continuation.tokens:
                self._add(token)
            self._end(continuation.tokens)

    def stream(
        self, prompt: str, loaded: TextGenerator, ids: Sequence[int], drawing: Drawing
    ) -> None:
        """The same, one continuation after the other, each token as it comes."""
        for row in range(drawing.first_row, drawing.first_row + drawing.rows):
            self._begin(prompt)
            tokens: list[Token] = []
            try:
                for (token,) in loaded.stream(ids, replace(drawing, first_row=row, rows=1)):
                    if token is not None:
                        tokens.append(token)
                        self._add(token)
            except KeyboardInterrupt:
                click.echo()  # what comes next begins on its own line
                raise
            self._end(tokens)

    def _begin(self, prompt: str) -> None:
        self._write(prompt, bold=True)

    def _add(self, token: Token) -> None:
        self._write(token.text, fg=_shade(token.logprob) if self._coloured else None)

    def _end(self, tokens: Sequence[Token]) -> None:
        click.echo()
        if self._scores and tokens:
            if not self._coloured:
                Terminal(width=60).print(_table(tokens))
            mean = sum(token.logprob for token in tokens) / len(tokens)
            click.echo(f"{units.counted(len(tokens), 'token')}, {mean:.3f} nats per token")

    def _write(self, text: str, **style: Any) -> None:
        styled(printable(text), **style)
        sys.stdout.flush()


def _shade(logprob: float) -> int:
    probability = math.exp(logprob)
    return next(colour for least, colour in SHADES if probability >= least)


def _legend() -> str:
    def named() -> Iterable[str]:
        for least, colour in SHADES:
            yield f"[color({colour})]{f'≥ {least:.0%}' if least else 'less'}[/]"

    return "probability: " + " ".join(named())


def _table(tokens: Sequence[Token]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("token", "log-probability", "probability"):
        table.add_column(heading, justify="left" if heading == "token" else "right")
    for token in tokens:
        shown = escape(repr(printable(token.text))[1:-1])
        table.add_row(shown, f"{token.logprob:.3f}", f"{math.exp(token.logprob):.2%}")
    return table
