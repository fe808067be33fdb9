"""What can go wrong, as a user sees it.

    JagptError                 1   failed: a check out of bounds, out of memory, a lost rank
    ├── UsageError             2   a wrong flag, name or prompt
    │   ├── RecipeError        2   a recipe with mistakes, all of them listed
    │   └── MissingExtraError  2   an optional package that is not installed
    ├── DataError              3   a file that is damaged, altered or unfit
    │   ├── NewerVersionError  3   a file that a newer jagpt wrote
    │   └── TooLittleTextError 3   a corpus too small for its recipe
    ├── StorageError           4   disk or network
    ├── RunInUseError          5   another process works in the run directory
    └── StoppedError          75   stopped early; the same command continues

Each message names the file, place or flag, says what was found and what was expected, and what to
do next. The command line prints the message and exits with that number; it shows no traceback.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence

from jagpt import __version__, installation

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class JagptError(Exception):
    """A failure with a message made for the user."""

    exit_code = 1


class UsageError(JagptError):
    """The command line asks for something that does not exist or is impossible."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be used; `problems` holds every mistake found, one line each."""

    def __init__(self, origin: str, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = f"{len(self.problems)} mistake{'s' if len(self.problems) != 1 else ''}"
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{origin}: {count}; nothing was run\n{lines}")


class MissingExtraError(UsageError):
    """A feature whose optional packages are not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra [{extra}] of jagpt, which is not installed here: "
            f"{installation.command(extra)}"
        )


class DataError(JagptError):
    """Input or output data that is missing, damaged, altered or unfit for its purpose."""

    exit_code = 3


class NewerVersionError(DataError):
    """Written by a newer jagpt: this one cannot read it, and neither replaces nor deletes it."""

    def __init__(self, path: object, found: int, known: int, writer: str | None = None) -> None:
        self.path, self.found, self.known = path, found, known
        newer = f"jagpt {writer}" if writer else "a newer jagpt"
        super().__init__(
            f"{path}: {newer} wrote this in version {found} of its format, and this jagpt "
            f"({__version__}) knows version {known}: it is left as it is. Use that jagpt, work "
            "elsewhere with --run-dir, or rerun the stage with --force"
        )


class TooLittleTextError(DataError):
    """A corpus that is too small for its recipe."""


class StorageError(JagptError):
    """The disk or the network refused."""

    exit_code = 4


class RunInUseError(JagptError):
    """Another process holds the run directory's lock."""

    exit_code = 5


class StoppedError(JagptError):
    """Work stopped early on request (SIGTERM, a time limit) and can be resumed."""

    exit_code = 75


class Terminated(BaseException):
    """SIGTERM was received; like `KeyboardInterrupt`, it must not be mistaken for a file error by
    code in between."""


NAME_BYTES, PATH_BYTES = 255, 4095
"""The longest name of a file or folder, and the longest path, that common systems take."""
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space or raise the quota",
    errno.EACCES: "check the permissions",
    errno.EPERM: "check the permissions",
    errno.EROFS: "choose a writable place with --run-dir",
    errno.EIO: "check the disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def storage_error(error: OSError, doing: str = "") -> StorageError | UsageError:
    """An error of the operating system as a message that says what to do next."""
    place = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENAMETOOLONG:  # whoever gave the name can give another
        return UsageError(
            f"{place}the name is too long: most systems take {NAME_BYTES} bytes for each file or "
            f"folder, and {PATH_BYTES:,} for a path"
        )
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "check the disk and the path")
    what = f" while {doing}" if doing else ""
    return StorageError(
        f"{place}{reason}{what}; {advice}, then run the same command again: finished work is kept"
    )


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The name closest to `word`, in brackets, to follow it; empty if none is close."""
    close = difflib.get_close_matches(word, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
