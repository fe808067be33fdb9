"""Run as a program by `usage`: executes a card's programs, and knows nothing of jagpt.

Reads a JSON list of them from standard input; writes for each a line of JSON: null, or what is
wrong with it, after which it ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys


def main() -> None:
    """Answer on the original standard output; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # see jagpt.telemetry
    for text in json.load(sys.stdin.buffer):
        problem = problem_of(text)
        print(json.dumps(problem), file=answers, flush=True)
        if problem is not None:
            break


def problem_of(text: str) -> str | None:
    """What goes wrong when the program runs; None if it prints something."""
    output = io.StringIO()
    try:
        with contextlib.redirect_stdout(output):
            exec(compile(text, "usage", "exec"), {"__name__": "usage"})  # noqa: S102 - see above
    except Exception as error:  # a program may fail in any way
        return " ".join(f"fails ({type(error).__name__}: {str(error)[:300]})".split())
    return None if output.getvalue().strip() else "prints nothing"


if __name__ == "__main__":
    main()
