"""A file system that has no `flock`."""

from __future__ import annotations

import errno


def fails_without_locks(_handle: int, _how: int) -> None:
    """What `fcntl.flock` does there."""
    raise OSError(errno.ENOLCK, "No locks available")
