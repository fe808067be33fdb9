"""`logs/timing.json`: the clock, and facts about the machine; no other file of a run has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jagpt.machines import Host
from jagpt.records import Count, Record, Sha256


@dataclass(frozen=True)
class StageTime:
    """When a stage was made (ISO times), and its wall-clock time with that of what it continued
    from; `finished` is None if it was interrupted.
    """

    started: str | None
    finished: str | None
    seconds: float


@dataclass(frozen=True)
class Timing(Record):
    """Times by stage, and the machine that wrote them last.

    `times` (by file of the run: modification time in nanoseconds) and `inputs` (by file outside:
    size, modification time, SHA-256) are caches, which save hashing what has not changed.
    """

    FILE = "timing.json"
    KIND = "record of times"
    REMEDY = "delete it: files will be hashed again"

    machine: Host
    stages: Mapping[str, StageTime]
    times: Mapping[str, int]
    inputs: Mapping[str, tuple[Count, int, Sha256]]
