"""The corpus stage: convert, then assign, in one run directory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jagpt import units
from jagpt.stage import Hash, Stage, by_split

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from jagpt.corpus.parts import ExtractedSource
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory


PARTS = "parts"


class CorpusStage(Stage):
    name = "corpus"
    help = "From a dump or texts to documents in three splits."
    version = 3
    sections = ("corpus",)
    part = None

    def outside(self, recipe: Recipe, digest: Hash, known: Mapping[str, str]) -> dict[str, str]:
        from jagpt.corpus.sources import profile_input, source_inputs

        found: dict[str, str] = {}
        for source in recipe.corpus.source:
            found |= source_inputs(source, digest, known)
        if recipe.corpus.hojichar is not None:
            found["hojichar"] = profile_input(recipe.corpus.hojichar, digest, known)
        return found

    def shared_from(self, recipe: Recipe) -> str | None:
        return recipe.corpus.from_ or recipe.tokens.from_

    def check(self, recipe: Recipe) -> None:
        from jagpt import workers
        from jagpt.corpus import cleaning, encodings, hub_datasets, near_duplicates

        workers.check(recipe.execution)
        if recipe.corpus.drop_near_duplicates > 0:
            near_duplicates.check_library()
        if any(source.encoding == encodings.AUTO for source in recipe.corpus.source):
            encodings.check_library()
        cleaning.profile_at(recipe.corpus.hojichar)
        if any(source.kind == "hf" for source in recipe.corpus.source):
            hub_datasets.check_library()

    def fetch(self, recipe: Recipe, progress: Progress) -> None:
        from jagpt.corpus.download import fetch_sources

        fetch_sources(recipe.corpus.source, recipe.execution.mirror, progress)

    def run(self, recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
        """Make the corpus in the run's own directory, or finish an earlier attempt.

        Leaves `{train,valid,test}-NNNNN.parquet`, `dropped.jsonl` and `stats.json`. Raises
        `DataError` if an input is missing, damaged or without articles, or a split stays empty.
        """
        from jagpt import files
        from jagpt.corpus.assign import assign
        from jagpt.corpus.stats import CorpusStats

        directory = run.own(self.name)
        files.make_directory(directory)
        parts = directory / PARTS
        files.remove_leftovers(directory)  # they must not be mistaken for a result
        if not (directory / CorpusStats.FILE).exists():  # it is written last
            files.make_directory(parts)
            sources = _convert(recipe, parts, progress)
            workers, executor = _helpers(recipe, sources)
            assign(recipe.corpus, sources, parts, directory, progress, workers, executor)
        files.remove(parts)

    def outcome(self, run: RunDirectory) -> str:
        from jagpt.corpus.stats import CorpusStats

        found = CorpusStats.read(run.corpus)
        splits = by_split({name: split.documents for name, split in found.splits.items()})
        documents = units.counted(found.documents, "document")
        return f"{documents}, {found.characters:,} characters; {splits}"


CORPUS = CorpusStage()


LEAST_BYTES = 64 * 1024 * 1024
"""Of sources that are not larger, the assignment is done before other processes would be there."""


def _helpers(recipe: Recipe, sources: Sequence[ExtractedSource]) -> tuple[int, Executor | None]:
    """Who runs the jobs of the assignment."""
    from jagpt.workers import executor_of

    if sum(file.size for source in sources for file in source.files) < LEAST_BYTES:
        return 1, None
    return executor_of(recipe.execution)


def _convert(recipe: Recipe, directory: Path, progress: Progress) -> list[ExtractedSource]:
    from jagpt.corpus.convert import convert
    from jagpt.corpus.parts import read_index
    from jagpt.workers import executor_of

    if (done := read_index(directory, len(recipe.corpus.source))) is not None:
        return done  # no cluster is needed for existing results
    workers, executor = executor_of(recipe.execution)
    return convert(recipe.corpus, directory, workers, progress, executor)
