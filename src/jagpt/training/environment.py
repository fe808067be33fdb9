"""`logs/environment.json`: what a run was trained on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from jagpt import machines, units
from jagpt.records import Count, Record


@dataclass(frozen=True, kw_only=True)
class Environment(Record):
    """What the latest part of the training ran on: `world_size` processes, `threads` in each.

    `device` is a GPU's name or `cpu`; `cores` are those of the machine of rank 0.
    """

    FILE = "environment.json"
    KIND = "record of the training's machine"
    REMEDY = "delete it: it is only for humans"

    world_size: Count
    device: str
    processor: str
    cores: Count | None
    threads: Count
    python: str
    torch: str
    transformers: str

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Environment:
        """The environment whose `training.machine.facts` are `facts`."""
        names = ("world_size", "device", "threads", "python", "torch", "transformers")
        known = {name: facts[name] for name in names}
        return cls(**known, processor=machines.processor(), cores=os.cpu_count())

    @property
    def all_threads(self) -> int:
        """The threads of all processes."""
        return self.world_size * self.threads

    @property
    def hardware(self) -> str:
        """`8 × NVIDIA A100-SXM4-80GB`, or the processor with the threads of all processes."""
        if self.device != "cpu":
            return self.device if self.world_size == 1 else f"{self.world_size} × {self.device}"
        return f"CPU ({self.processor}, {units.counted(self.all_threads, 'thread')})"

    @property
    def versions(self) -> tuple[str, ...]:
        """Versions of what computed."""
        return tuple(
            f"{name} {getattr(self, name)}" for name in ("python", "torch", "transformers")
        )
