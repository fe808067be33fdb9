"""A model folder as others hand it over: tiny, with a character tokenizer."""

from __future__ import annotations

import shutil
from pathlib import Path

import fakes


def model_folder(folder: Path, step: str = "step-00000010") -> Path:
    """`config.json`, weights and tokenizer in one folder."""
    fakes.write_tokenizer(folder)
    (folder / "stats.json").unlink()
    checkpoints = folder.parent / f"{folder.name}-checkpoints"
    fakes.write_checkpoints(checkpoints)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(checkpoints / step / name, folder / name)
    return folder
