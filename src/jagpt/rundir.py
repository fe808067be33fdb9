"""The run directory: which stage reads and writes where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

STAGE_DIRECTORIES: Mapping[str, str] = MappingProxyType(
    {
        "corpus": "corpus",
        "tokenizer": "tokenizer",
        "tokens": "tokens",
        "train": "checkpoints",
        "evaluate": "evaluation",
        "export": "model",
        "formats": "export",
        "release": "release",
    }
)
"""Stage → the directory that it alone writes, in the order of the pipeline."""


@dataclass(frozen=True)
class RunDirectory:
    """Paths of a run. `shared` maps a stage to the directory of another run that stands for it."""

    root: Path
    shared: Mapping[str, Path] = field(default_factory=dict)

    def stage(self, name: str) -> Path:
        """Where the stage's files are read: in this run or in the one that shares them."""
        return self.shared.get(name) or self.own(name)

    def own(self, name: str) -> Path:
        """Where this run itself keeps the stage."""
        return self.root / STAGE_DIRECTORIES[name]

    @property
    def corpus(self) -> Path:
        return self.stage("corpus")

    @property
    def tokenizer(self) -> Path:
        return self.stage("tokenizer")

    @property
    def tokens(self) -> Path:
        return self.stage("tokens")

    @property
    def checkpoints(self) -> Path:
        return self.stage("train")

    @property
    def evaluation(self) -> Path:
        return self.stage("evaluate")

    @property
    def model(self) -> Path:
        return self.stage("export")

    @property
    def formats(self) -> Path:
        return self.stage("formats")

    @property
    def release(self) -> Path:
        return self.stage("release")

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def recipe(self) -> Path:
        return self.root / "recipe.toml"

    @property
    def report(self) -> Path:
        return self.root / "report.html"
