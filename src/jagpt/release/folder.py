"""The release stage: a folder that can be published as it is.

It holds the model folder's files, the model card, the changelog, what Git LFS must take care of,
and the checksums of all. The continuations that card and report show are drawn here, once.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from jagpt import files, generation
from jagpt.errors import DataError
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.release import card, changelog
from jagpt.rundir import RunDirectory
from jagpt.summary import SAMPLES, Sample, collect

SAMPLE_SEED = 1000
SAMPLES_A_PROMPT = 3

CARD = "README.md"
CHANGELOG = "CHANGELOG.md"
LFS_ATTRIBUTES = ".gitattributes"
CHECKSUMS = "SHA256SUMS"

LFS_PATTERNS = (
    *("*.bin.*", "*.lfs.*", "*.bin", "*.h5", "*.tflite", "*.tar.gz", "*.ot", "*.onnx", "*.arrow"),
    *("*.ftz", "*.joblib", "*.model", "*.msgpack", "*.pb", "*.pt", "*.pth"),
    *("*.safetensors", "*.gguf", "*.onnx_data", "*.onnx.data"),
)
"""Files that a remote keeps in Git LFS: the original's list, and the formats that came since."""


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Make the release folder of a run whose model is exported.

    Raises `DataError` where the model folder is missing, `UsageError` for a prompt that does not
    fit the model's context.
    """
    names = files.list_files(run.model) if run.model.is_dir() else []
    if "model.safetensors" not in names:
        raise DataError(f"{run.model}: no exported model here; `jagpt export RECIPE` makes it")
    with files.staging(run.own("release")) as folder:
        _add_model(run.model, names, folder)
        _add_texts(recipe, run, folder, progress)
        files.write_text(folder / LFS_ATTRIBUTES, lfs_attributes())
        files.write_text(folder / CHECKSUMS, checksums(folder))
    progress.say(f"release: {run.own('release')}")


def samples(run: RunDirectory, recipe: Recipe) -> list[dict[str, Any]]:
    """The exported model's continuations of the recipe's prompts: {"prompt", "continuations"} each.

    The seed is fixed, and one thread computes, so that the number of cores changes nothing.
    """
    settings = generation.Settings(num_return_sequences=SAMPLES_A_PROMPT, seed=SAMPLE_SEED)
    prompts = recipe.release.prompts
    with _one_thread():
        loaded = generation.load(run.model)
        found = list(generation.scored(loaded, prompts, settings))
    return generation.as_records(prompts, found)


def lfs_attributes() -> str:
    """The `.gitattributes` of a model repository."""
    return "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS)


def checksums(folder: Path) -> str:
    """The files of a folder as `sha256sum --check` reads them."""
    entries = (entry for entry in files.entries(folder) if entry.name != CHECKSUMS)
    return "".join(f"{entry.sha256}  {entry.name}\n" for entry in entries)


def _add_texts(recipe: Recipe, run: RunDirectory, folder: Path, progress: Progress) -> None:
    """Samples, card and changelog."""
    progress.say(f"release: {SAMPLES_A_PROMPT} continuations of each prompt")
    drawn = samples(run, recipe)
    files.write_json(folder / SAMPLES, {"seed": SAMPLE_SEED, "samples": drawn})
    summary = replace(
        collect(run),
        samples=tuple(Sample(row["prompt"], tuple(row["continuations"])) for row in drawn),
    )
    new = changelog.entry(recipe, summary)
    text = changelog.with_entry(None, new)
    files.write_text(folder / CHANGELOG, text)
    files.write_text(folder / CARD, card.render(recipe, summary, changelog.parse(text)))


def _add_model(model: Path, names: list[str], folder: Path) -> None:
    """The model's files; weights are linked where the disk allows, since both stay as they are."""
    for name in names:
        target = folder / name
        files.make_directory(target.parent)
        if name.endswith(".safetensors"):
            _link(model / name, target)
        else:
            shutil.copyfile(model / name, target)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
