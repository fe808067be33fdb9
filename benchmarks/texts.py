"""Texts to encode or to learn from: a file's documents or the bundled sample's, as a run has them.

The runs are kept below `.venv/bench`, and made once.
"""

from __future__ import annotations

from pathlib import Path

from common import CACHE, MEGABYTE, ROOT, tell

from jagpt import files, pipeline
from jagpt import recipe as recipes
from jagpt.corpus.documents import SPLITS, Document
from jagpt.corpus.shards import SplitWriter, iter_documents
from jagpt.progress import QUIET, Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

SAMPLE_PIECES = 4_000
"""The largest vocabulary, in round numbers, that the bundled sample gives."""
PIECES = 32_000
SENTENCES = 100_000
CORPORA = CACHE / "corpora"


def make_run(name: str, settings: str, until: str, progress: Progress = QUIET) -> Path:
    """The run of a recipe, given as TOML without its name, as far as the stage `until`.

    Returns where it stands; what was made before stays.
    """
    recipe = recipes.parse(f'name = "{name}"\n{settings}')
    run = pipeline.open_run(recipe, ROOT / CACHE / "runs" / name)
    tell(f"making {CACHE / 'runs' / name} up to its {until}, where that is not done")
    with files.locked(run.root):
        pipeline.run_stages(recipe, run, progress, until=until)
    return run.root


def corpus_section(source: Path | None) -> str:
    """The recipe's `[corpus]` for a dump, or plain text whose documents are parted by blank lines;
    None is the bundled sample."""
    kind, path, share = "dump", "jagpt:sample", 0.05  # it has some 80 documents
    if source is not None:
        kind = "dump" if ".xml" in source.name else "text"
        path, share = str(source.resolve()), 0.01
    layout = 'layout = "block"\n' if kind == "text" else ""
    return f"""
[corpus]
valid_share = {share}
test_share = {share}
[[corpus.source]]
name = "texts"
kind = "{kind}"
path = "{path}"
{layout}"""


def source_name(source: Path | None) -> str:
    """What stands for the source in names of runs."""
    return source.name.partition(".")[0] if source else "sample"


def open_made(root: Path) -> tuple[Recipe, RunDirectory]:
    """The recipe and the paths of what `make_run` made."""
    recipe = recipes.load(str(root))
    return recipe, pipeline.open_run(recipe, root)


def repeated(corpus: Path, n_bytes: int) -> list[str]:
    """All texts of a corpus, whole and as often as it takes to reach so many bytes."""
    texts = [text.text for split in SPLITS for text in iter_documents(corpus, split)]
    return texts * -(-n_bytes // sum(len(text.encode()) for text in texts))


def repeated_corpus(corpus: Path, name: str, n_bytes: int) -> Path:
    """A corpus whose train split holds those texts with new ids; valid and test hold one each."""
    directory = ROOT / CORPORA / f"{name}-{n_bytes // MEGABYTE}mb"
    files.make_directory(directory)
    texts = repeated(corpus, n_bytes)
    for split, some in (("train", texts), ("valid", texts[:1]), ("test", texts[:1])):
        with SplitWriter(directory, split) as writer:
            for number, text in enumerate(some):
                writer.add(Document(str(number), "repeated", "", None, None, text))
    return directory
