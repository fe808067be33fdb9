"""The corpus stage: convert, then assign, in one run directory."""

from __future__ import annotations

from pathlib import Path

from jagpt import files
from jagpt.corpus.assign import assign
from jagpt.corpus.convert import convert
from jagpt.corpus.near_duplicates import check_library
from jagpt.corpus.parts import ExtractedSource, read_index
from jagpt.corpus.stats import CorpusStats
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.workers import executor_of

PARTS = "parts"


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Make the corpus of `recipe` in the run's own corpus directory, or finish an earlier attempt.

    Leaves `{train,valid,test}-NNNNN.parquet`, `dropped.jsonl` and `stats.json`. Raises `DataError`
    where an input is missing, damaged or without articles, or a split stays empty.
    """
    directory = run.own("corpus")
    files.make_directory(directory)
    parts = directory / PARTS
    files.remove_leftovers(directory)  # they must not be taken for a result
    if not (directory / CorpusStats.FILE).exists():  # it is written last
        if recipe.corpus.drop_near_duplicates > 0:
            check_library()
        files.make_directory(parts)
        sources = _convert(recipe, parts, progress)
        assign(recipe.corpus, sources, parts, directory, progress)
    files.remove(parts)


def _convert(recipe: Recipe, directory: Path, progress: Progress) -> list[ExtractedSource]:
    if (done := read_index(directory, len(recipe.corpus.source))) is not None:
        return done  # no cluster is needed for what is there
    workers, executor = executor_of(recipe.execution)
    return convert(recipe.corpus, directory, workers, progress, executor)
