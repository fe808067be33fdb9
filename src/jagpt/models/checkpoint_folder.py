"""The folder of checkpoints: what a checkpoint is called, and which one a name selects.

    step-00001000/model.safetensors      weights under their Hugging Face names, tied ones once
                  config.json            with it, `from_pretrained` loads the folder
                  average.safetensors    averaged weights under the same names, if there are any
                  optimizer.safetensors  optimizer state as `<weight's name>.<slot>`
                  state.json             the state of the run, and SHA-256 of the other files
    index.json                           best, last, and every checkpoint that is kept

Above 5 GB, weights and state are several files with an index. This module needs no torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from jagpt.errors import UsageError
from jagpt.records import Count, Record

INDEX = "index.json"
STATE = "state.json"
MODEL = "model.safetensors"
AVERAGE = "average.safetensors"
OPTIMIZER = "optimizer.safetensors"


CheckpointName = Annotated[str, Field(pattern="^step-[0-9]{8,18}$")]


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint's folder, and the validation loss after its step if it was measured."""

    name: CheckpointName
    step: Count
    loss: float | None


@dataclass(frozen=True)
class CheckpointIndex(Record):
    """Every checkpoint that is kept; `best` is the one with the lowest validation loss."""

    FILE = INDEX
    KIND = "index of checkpoints"
    REMEDY = "the next checkpoint of `jagpt train RECIPE` writes it again"

    best: CheckpointName | None
    best_loss: float | None
    last: CheckpointName
    checkpoints: tuple[KeptCheckpoint, ...]


def step_name(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:08d}"


def standing(directory: Path) -> list[int]:
    """The steps that have a checkpoint in `directory`, ascending; nothing is read."""
    if not directory.is_dir():
        return []
    matches = (re.fullmatch(r"step-([0-9]{8,18})", path.name) for path in directory.iterdir())
    steps = (int(match[1]) for match in matches if match)
    return sorted(step for step in steps if (directory / step_name(step)).exists())


def resolve(directory: Path, reference: str) -> Path:
    """The checkpoint named by `best`, `last` or a step's number.

    `DataError` if there is no valid index, `UsageError` if no such checkpoint is kept.
    """
    index = CheckpointIndex.read(directory)
    kept = [checkpoint.name for checkpoint in index.checkpoints]
    named = {"best": index.best, "last": index.last}
    step = re.fullmatch(r"[0-9]{1,18}", reference)
    name = step_name(int(reference)) if step else named.get(reference)
    if name in kept:
        return directory / str(name)
    raise UsageError(
        f"{directory / INDEX}: there is no checkpoint {reference!r}; kept are "
        f"{', '.join(kept) or 'none'} (and the names \"best\" and \"last\")"
    )  # fmt: skip
