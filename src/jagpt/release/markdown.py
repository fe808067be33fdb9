"""Text from users inside Markdown: shown literally, whatever it contains.

A template made here escapes every value by itself; only what carries the `Markdown` type passes as
markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jinja2

from jagpt.text import one_line, printable

_SPECIAL = re.compile(r"[\\`*_\[\]|~#$]")
_LEADING = re.compile(r"^(\d*)(=|[-+](?=[-\s]|$)|(?<=\d)[.)](?=\s|$))")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


def environment(package: str, **filters: Callable[..., Any]) -> jinja2.Environment:
    """Templates of a package, which escape for Markdown; unknown names are errors."""
    found = jinja2.Environment(  # noqa: S701 - `finalize` escapes, for Markdown and its HTML
        loader=jinja2.PackageLoader(package),
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters.update(filters)
    return found


def finalize(value: Any) -> str:
    """How a template shows a value: escaped, unless it is `Markdown`."""
    return value if isinstance(value, Markdown) else escape(str(value))


def escape(text: str) -> str:
    """`text` on one line, so that neither Markdown nor HTML reads anything into it."""
    line = one_line(text)
    line = re.sub("[&<>]", lambda found: _ENTITIES[found.group()], line)
    line = _SPECIAL.sub(lambda found: "\\" + found.group(), line)
    return _LEADING.sub(r"\1\\\2", line)


def fenced(text: str, language: str = "text") -> Markdown:
    """`text` as a code block, whose fence is longer than any run of backticks in it."""
    body = printable(text).strip("\n")
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{body}\n{fence}")


def code(text: str) -> Markdown:
    """`text` as an inline code span on one line; in a table a `|` is shown as `¦`."""
    body = one_line(text).replace("|", "¦")
    longest = max((len(run) for run in re.findall("`+", body)), default=0)
    fence, space = "`" * (longest + 1), " " if "`" in body else ""
    return Markdown(f"{fence}{space}{body}{space}{fence}") if body else Markdown("")
