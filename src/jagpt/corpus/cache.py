"""Where downloaded dumps are kept, shared between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from jagpt.errors import StorageError


def cache_directory() -> Path:
    """Where dumps are shared between runs: `$JAGPT_CACHE`, or in the user's cache directory.

    `StorageError` if there is neither.
    """
    if chosen := os.environ.get("JAGPT_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        base = _home() / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache")
    return base / "jagpt"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:
        raise StorageError(
            "downloaded dumps are kept below the home directory, and this user has none; set "
            "XDG_CACHE_HOME or JAGPT_CACHE to a folder for them"
        ) from None


def dump_directory(wiki: str, date: str) -> Path:
    """The folder of a wiki's dump in the cache."""
    return cache_directory() / "dumps" / wiki / date
