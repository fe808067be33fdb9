"""Where downloaded dumps are kept, shared between runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_directory() -> Path:
    """Where dumps are shared between runs: `$JAGPT_CACHE`, or in the user's cache directory."""
    if chosen := os.environ.get("JAGPT_CACHE"):
        return Path(chosen)
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Caches"
    elif os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "jagpt"


def dump_directory(wiki: str, date: str) -> Path:
    """The folder of a wiki's dump in the cache."""
    return cache_directory() / "dumps" / wiki / date
