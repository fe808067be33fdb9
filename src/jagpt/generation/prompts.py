"""Prompts from a file or from standard input, one per line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from jagpt import files
from jagpt.errors import DataError, UsageError

STANDARD_INPUT = "-"


def read_prompts(place: str) -> list[str]:
    """The lines of the file `place` (`-`: standard input) that are not blank.

    Raises `UsageError` if there is no such file, `DataError` if it is empty or not UTF-8.
    """
    if place == STANDARD_INPUT:
        if sys.stdin is None:
            raise UsageError("--prompts -: standard input is closed; name a file")
        name, content = "standard input", sys.stdin.buffer.read()
    else:
        name, path = place, Path(place)
        if not path.is_file():
            reason = "no such file"
            if path.exists():
                reason = f"expected a file, found {files.sort_of(path)}"
            raise UsageError(f"--prompts {place}: {reason}; `-` reads standard input")
        content = path.read_bytes()
    try:
        lines = re.split("\r\n|\n|\r", content.decode("utf-8-sig"))  # U+2028 and its kin are text
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}: line {line} is not UTF-8; prompts are text, one per line"
        ) from None
    found = [line for line in lines if line.strip()]
    if not found:
        raise DataError(f"{name}: no prompt in it; expected one per line")
    return found
