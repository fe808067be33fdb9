"""No module is ever imported from the current folder.

Python puts that folder in front of its path for `-m` and `-c`, and so in every process that
multiprocessing starts: a `json.py` among downloaded files would run. Only `os` and `sys`, which
Python itself has loaded by then, are imported here.
https://docs.python.org/3/using/cmdline.html#cmdoption-P
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_OWN = os.path.realpath(os.path.dirname(os.path.dirname(__file__)))  # noqa: PTH120
"""The folder that holds jagpt, which may be the current one."""


def enter() -> None:
    """Remove the current folder from the path of this process and of all that it starts."""
    if sys.flags.ignore_environment and not sys.flags.safe_path:  # -E, and children get it too
        os.execv(sys.executable, [sys.executable, "-P", *sys.orig_argv[1:]])  # noqa: S606
    sys.path[:] = [place for place in sys.path if not _is_current(place)]
    os.environ.update(variables())


def variables() -> dict[str, str]:
    """Options that keep the current folder off a process's path."""
    found = {"PYTHONSAFEPATH": "1"}
    if (path := os.environ.get("PYTHONPATH")) is not None:
        places = (place for place in path.split(os.pathsep) if not _is_current(place))
        kept = map(os.path.abspath, places)  # whatever folder the process starts in
        found["PYTHONPATH"] = os.pathsep.join(kept)
    return found


@contextmanager
def inherited() -> Iterator[None]:
    """Processes started within the block get the `variables`: for callers other than jagpt's own
    command line, whose environment stays as it is."""
    before = dict(os.environ)
    os.environ.update(variables())
    try:
        yield
    finally:
        for name in variables():
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


@contextmanager
def no_settings(name: str) -> Iterator[None]:
    """Within the block no library finds its settings under `name` in the current folder."""
    exists = os.path.exists
    setattr(os.path, "exists", lambda path: path != name and exists(path))  # noqa: B010
    try:
        yield
    finally:
        setattr(os.path, "exists", exists)  # noqa: B010


def _is_current(place: str) -> bool:
    """Whether an entry of the path means the current folder, and is not where jagpt is from."""
    try:
        here = os.path.realpath(os.getcwd())  # noqa: PTH109
    except OSError:  # it was deleted
        return place == ""
    return os.path.realpath(place or here) == here != _OWN
