"""`logs/timing.json`: the clock, and facts of this machine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from jagpt import __version__, files
from jagpt.errors import DataError
from jagpt.machines import host
from jagpt.rundir import RunDirectory
from jagpt.text import shown
from jagpt.timing import StageTime, Timing


@dataclass
class Ledger:
    """A run's `Timing` while it is kept up to date."""

    logs: Path
    stages: dict[str, StageTime] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    changed: bool = False
    writer: str | None = None
    """The version of jagpt that wrote it last, if different from this one."""

    @classmethod
    def read(cls, run: RunDirectory) -> Ledger:
        """The ledger of a run; an empty one where there is none or it is damaged."""
        try:
            found = Timing.find(run.logs)
        except DataError:
            found = None
        if found is None:
            return cls(run.logs)
        writer = found.machine.versions.get("jagpt")
        return cls(
            run.logs,
            dict(found.stages),
            dict(found.times),
            dict(found.inputs),
            writer=writer if writer != __version__ else None,
        )

    def write(self) -> None:
        """Store the ledger with today's description of the machine."""
        Timing(host(), self.stages, self.times, self.inputs).write(self.logs)
        self.changed = False

    def carry_over(self, name: str, earlier: StageTime | None, share: float) -> None:
        """Count a share of an earlier result's time as the stage's own: it continues from there."""
        if earlier is not None:
            seconds = round(share * earlier.seconds, 3)
            self.stages[name] = StageTime(earlier.started, None, seconds)
            self.write()

    def hash_input(self, path: Path) -> str:
        """SHA-256 of a file outside the run, remembered while size and time stay."""
        status = path.stat()
        key = shown(str(path.absolute()))  # a file name need not be text
        known = self.inputs.get(key)
        if known and known[:2] == (status.st_size, status.st_mtime_ns):
            return known[2]
        digest = files.sha256(path)
        self.inputs[key] = (status.st_size, status.st_mtime_ns, digest)
        self.changed = True
        return digest


@contextmanager
def timed(ledger: Ledger, name: str) -> Iterator[None]:
    """Add the block's seconds to the stage's, also when it is left early."""
    started, clock = datetime.now(UTC), time.monotonic()
    finished = False
    try:
        yield
        finished = True
    finally:
        known = ledger.stages.get(name)
        left = known if known and known.finished is None else None
        ledger.stages[name] = StageTime(
            started=left.started if left else started.isoformat(timespec="seconds"),
            finished=datetime.now(UTC).isoformat(timespec="seconds") if finished else None,
            seconds=round((left.seconds if left else 0.0) + time.monotonic() - clock, 3),
        )
        ledger.write()
