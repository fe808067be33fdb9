"""The stages, in order: what each is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jagpt.recipe import Recipe


@dataclass(frozen=True)
class Stage:
    """One step of the way; `version` rises when its output or the meaning of a default changes."""

    name: str
    version: int
    sections: tuple[str, ...]
    inputs: tuple[str, ...]
    module: str
    named: bool = False
    """Whether the run's name stands in what the stage makes."""
    settling: str | None = None
    """The module whose `settle` puts values where the recipe leaves them to the machine."""

    def semantic(self, recipe: Recipe) -> dict[str, Any]:
        """What of the recipe enters the fingerprint, as plain JSON values."""
        section: dict[str, Any] = {name: getattr(recipe, name).semantic() for name in self.sections}
        if "export" in section:
            section["export"]["checkpoint"] = recipe.export_checkpoint
        if self.name == "export":  # the further formats are a stage of their own
            del section["export"]["formats"]
        return {**section, "recipe": {"name": recipe.name}} if self.named else section


STAGES = (
    Stage("corpus", 1, ("corpus",), (), "jagpt.corpus.stage"),
    Stage("tokenizer", 1, ("tokenizer",), ("corpus",), "jagpt.tokenizer.stage"),
    Stage("tokens", 1, ("tokens",), ("corpus", "tokenizer"), "jagpt.tokens.stage"),
    Stage(
        "train",
        2,
        ("model", "train"),
        ("tokenizer", "tokens"),
        "jagpt.training.stage",
        settling="jagpt.training.settling",
    ),
    Stage(
        "evaluate",
        2,
        ("evaluate",),
        ("corpus", "tokenizer", "tokens", "train"),
        "jagpt.evaluation",
    ),
    Stage("export", 1, ("export",), ("tokenizer", "train"), "jagpt.export.huggingface"),
    Stage("formats", 1, ("export",), ("tokens", "export"), "jagpt.export.stage"),
    Stage(
        "release",
        2,
        ("release",),
        ("corpus", "tokenizer", "tokens", "train", "evaluate", "export", "formats"),
        "jagpt.release.folder",
        named=True,
    ),
)
STAGE_NAMES = tuple(stage.name for stage in STAGES)
