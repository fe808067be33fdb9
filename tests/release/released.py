"""Finished tiny runs to publish, and further revisions of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import fakes
from programs import programs_here

from jagpt.evaluation.stage import EVALUATE
from jagpt.export import huggingface
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.release import folder
from jagpt.rundir import RunDirectory

FIRST, SECOND = "20210820.1.0", "20260101.1.0"

Run = tuple[Recipe, RunDirectory]


def finished(root: Path) -> Run:
    """A run whose release folder is finished."""
    recipe, run = fakes.recipe(), fakes.run_directory(root)
    fakes.ENVIRONMENT.write(run.logs)
    with programs_here():
        for stage, module in (
            ("evaluate", EVALUATE), ("export", huggingface), ("release", folder),
        ):  # fmt: skip
            module.run(recipe, run, QUIET)
            fakes.finish(run, stage)
    return recipe, run


def another(run: Run, root: Path, *overrides: str) -> Run:
    """The same run with other values in `[release]`: another revision, or other texts."""
    return fakes.recipe(fakes.RECIPE, *overrides), RunDirectory(
        Path(shutil.copytree(run[1].root, root))
    )


def later(run: Run, root: Path) -> Run:
    """The same recipe on a dump of 2026, with other weights."""
    recipe, copied = another(run, root)
    sources = (replace(fakes.CORPUS.sources[0], date=SECOND[:8]),)
    replace(fakes.CORPUS, sources=sources).write(copied.corpus)
    weights = copied.release / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()  # a link to the exported model
    weights.write_bytes(content[:-4] + b"\0\0\0\0")
    fakes.finish(copied, "corpus")
    fakes.finish(copied, "release")
    return recipe, copied
