"""Writing itself fails, in whatever library writes: a file that may not grow, a disk that is full.

The gate of `jagpt.files` sees none of it: the system refuses.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from jagpt.files import STAGING_PREFIX

from .attempts import Fault, Unbroken, in_child, jagpt, lost, on, tree_of

ROOMS = 8
PAGE = 4096
DISK_BYTES = 64 * 1024**2


class WriteFault(Fault):
    """A fault of writing: it is told with the file's name, and no rest of the file stays."""

    def at(self, whole: Unbroken, number: int) -> str:
        del whole
        return f"{number:,} bytes"

    def told_of(self, whole: Unbroken, tree: Path, code: int, said: str) -> str | None:
        problem = self.told(code, said) or lost(whole.command, tree)
        if problem is None and str(tree) not in said:
            problem = f"no file is named:\n{said}"
        rests = [path.name for path in tree.rglob(f"{STAGING_PREFIX}*")]
        return problem or (f"left over: {rests}" if rests else None)


class LongFile(WriteFault):
    """No file may have more than so many bytes: each number breaks off another file."""

    def numbers(self, whole: Unbroken) -> Sequence[int]:
        return sorted({path.stat().st_size // 2 for path in _made(whole)} | {0})

    def broken(self, whole: Unbroken, number: int, tree: Path) -> str | None:
        def work() -> int:
            resource.setrlimit(resource.RLIMIT_FSIZE, (number, resource.RLIM_INFINITY))
            return jagpt(on(whole.command, tree))

        return self.told_of(whole, tree, *in_child(work))


class SmallDisk(WriteFault):
    """A file system with room for so many bytes more than what stands on it."""

    def numbers(self, whole: Unbroken) -> Sequence[int]:
        if not may_mount(whole.end.parent):
            return []
        pages = sum(-(-path.stat().st_size // PAGE) for path in _made(whole))
        return sorted({pages * number // ROOMS * PAGE for number in range(ROOMS)})

    @contextlib.contextmanager
    def ground(self, tree: Path) -> Iterator[None]:
        tree.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(tree))
        try:
            yield
        finally:
            subprocess.run(["umount", str(tree)], check=True)

    def broken(self, whole: Unbroken, number: int, tree: Path) -> str | None:
        disk = os.statvfs(tree)
        taken = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        _mount("-o", f"remount,size={max(PAGE, taken + number)}", str(tree))
        code, said = in_child(lambda: jagpt(on(whole.command, tree)))
        _mount("-o", f"remount,size={DISK_BYTES}", str(tree))
        return self.told_of(whole, tree, code, said) if code != 0 else None  # there was room


def _made(whole: Unbroken) -> list[Path]:
    """The files that the command makes."""
    before = tree_of(whole.command.start)
    names = [name for name, value in whole.tree.items() if before.get(name) != value]
    return [path for name in names if (path := whole.end / name).is_file()]


def may_mount(scratch: Path) -> bool:
    """Whether a file system of its own can be had here."""
    place = scratch / "mounted"
    place.mkdir(exist_ok=True)
    try:
        with SmallDisk("").ground(place / "disk"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        (place / "disk").rmdir()
        place.rmdir()


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


LONG_FILE = LongFile("EFBIG", errno.EFBIG)
SMALL_DISK = SmallDisk("full disk", errno.ENOSPC)
