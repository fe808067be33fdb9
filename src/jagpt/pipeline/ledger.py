"""`logs/timing.json`: the clock, and facts of this machine."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jagpt import __version__, files
from jagpt.errors import DataError
from jagpt.rundir import RunDirectory


@dataclass
class Ledger:
    """`logs/timing.json`: the only place for the clock and facts of this machine.

    `times` and `inputs` are caches: they spare hashing what has not been touched, and are checked
    against the file's size and modification time (nanoseconds).
    """

    path: Path
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, list[Any]] = field(default_factory=dict)
    changed: bool = False
    writer: str | None = None
    """The jagpt that wrote it last, where that is another version than this one."""

    @classmethod
    def read(cls, run: RunDirectory) -> Ledger:
        """The ledger of a run; an empty one where there is none or it is damaged."""
        path = run.logs / "timing.json"
        try:
            value = files.read_json(path)
            writer = str(value["machine"]["versions"]["jagpt"])
            return cls(
                path,
                {str(k): dict(v) for k, v in value.get("stages", {}).items()},
                {str(k): int(v) for k, v in value.get("times", {}).items()},
                {str(k): list(v) for k, v in value.get("inputs", {}).items()},
                writer=writer if writer != __version__ else None,
            )
        except (DataError, KeyError, TypeError, ValueError, AttributeError):
            return cls(path)

    def write(self) -> None:
        """Store the ledger with today's description of the machine."""
        value = {
            "machine": machine(),
            "stages": self.stages,
            "times": self.times,
            "inputs": self.inputs,
        }
        files.write_json(self.path, value)
        self.changed = False

    def hash_input(self, path: Path) -> str:
        """SHA-256 of a file outside the run, remembered while size and time stay."""
        status = path.stat()
        key = str(path.absolute())
        known = self.inputs.get(key)
        if known and known[:2] == [status.st_size, status.st_mtime_ns]:
            return str(known[2])
        digest = files.sha256(path)
        self.inputs[key] = [status.st_size, status.st_mtime_ns, digest]
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
        row = ledger.stages.get(name, {})
        before = 0.0 if row.get("finished") else float(row.get("seconds", 0.0))
        ledger.stages[name] = {
            "started": row.get("started") if before else started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds") if finished else None,
            "seconds": round(before + time.monotonic() - clock, 3),
        }
        ledger.write()


def machine() -> dict[str, Any]:
    """What this machine is, for the report."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"jagpt": __version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "tokenizers", "sentencepiece", "pyarrow", "numpy"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "versions": versions,
    }


def _processor() -> str:
    """The processor's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
