"""Text from anywhere, so that it can be shown: on a terminal, in a message, on a page."""

from __future__ import annotations

import re
import unicodedata

_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """`text` without control characters (line breaks and tabs stay) and without bidi overrides."""
    text = _BIDI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(kept)


def one_line(text: str) -> str:
    """`printable` text with one space for each run of white space, and none around it."""
    return " ".join(printable(text).split())


def shortened(text: str, most: int) -> str:
    """`text` where it has at most so many characters, else its beginning and `…`."""
    return text if len(text) <= most else text[: most - 1] + "…"


def first_line(error: BaseException) -> str:
    """What an error says first, shortened; the name of its type where it says nothing."""
    line, *_ = [*printable(str(error)).strip().splitlines(), type(error).__name__]
    return shortened(line, 200)
