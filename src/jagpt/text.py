"""Text from anywhere, so that it can be shown: on a terminal, in a message, on a page."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Self

_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_UNSEEN = re.compile(
    "\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""Control characters (except newlines and tabs), line and direction marks, lone surrogates."""


class Said(str):
    """A filled-in text that remembers its form, so that a page can say it in its own language."""

    form: str
    values: Mapping[str, object]

    def __new__(cls, form: str, **values: object) -> Self:
        said = super().__new__(cls, form.format(**values))
        said.form, said.values = form, values
        return said


def is_text(name: str) -> bool:
    """Whether a name of the file system is text, which files and libraries can hold."""
    return not any("\ud800" <= sign <= "\udfff" for sign in name)


def printable(text: str) -> str:
    """`text` without control characters (line breaks and tabs stay) and without bidi overrides."""
    text = _BIDI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(kept)


def shown(text: str) -> str:
    """`text` with its control characters, which `printable` leaves out, as `\\u001b` (in JSON and
    Python, the same text)."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str) -> str:
    """`printable` text with one space for each run of white space, and none around it."""
    return " ".join(printable(text).split())


def shortened(text: str, most: int) -> str:
    """`text` if it has at most this many characters, else its beginning and `…`."""
    return text if len(text) <= most else text[: most - 1] + "…"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened; the name of its type if there is none."""
    line, *_ = [*printable(str(error)).strip().splitlines(), type(error).__name__]
    return shortened(line, 200)
