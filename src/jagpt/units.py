"""Numbers as people read them: bytes, counts, times, shares."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

_ONE = re.compile(
    r"(?<![\d.,])1 (character|core|document|file|part|run|sample|shard|span|step|thread|token)s\b"
)


def size(count: float) -> str:
    """Bytes in decimal units: `967 B`, `8.86 MB`."""
    return _scaled(count, ("B", "kB", "MB", "GB", "TB", "PB"))


def amount(value: float) -> str:
    """A large number in few characters: `2.21 M`, `361 k`; below 1,000 without a unit."""
    return _scaled(value, ("", "k", "M", "B", "T")).strip()


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number and what it counts: `1 thread`, `2,500 threads`, `2 processes`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def agreeing(text: str) -> str:
    """A filled-in English text with `1 file` instead of `1 files`."""
    return _ONE.sub(r"1 \1", text)


def perplexity(loss: float) -> float:
    """exp of nats per token; infinite where it does not fit a float."""
    return math.exp(loss) if loss < 700 else math.inf


def duration(seconds: float) -> str:
    """A time that was measured: `0.4 s`, `1 min 7 s`, `26 h 18 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min"


def rough_duration(seconds: float) -> str:
    """An estimated or approximate time: `31 seconds`, `8 minutes`, `1.3 hours`."""
    if seconds < 120:
        return f"{max(2, round(seconds))} seconds"
    if seconds < 3600:
        return f"{round(seconds / 60)} minutes"
    return f"{seconds / 3600:,.1f} hours"


def percent(share: float) -> str:
    """A share of 1 in percent with three significant digits: `3.05%`, `0.0124%`."""
    return f"{100 * share:.3g}%" if share >= 1e-6 else "0%"


def _scaled(value: float, units: Sequence[str]) -> str:
    """Three significant digits and the first unit that gives fewer than a thousand."""
    place = 0
    while abs(value) >= 999.5 and place + 1 < len(units):
        value /= 1000
        place += 1
    return f"{value:.3g} {units[place]}" if abs(value) < 999.5 else f"{value:,.0f} {units[place]}"
