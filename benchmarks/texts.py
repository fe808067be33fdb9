"""Texts to encode or to learn from: a file's documents or the bundled sample's, as a run has them.

The runs are kept below `.venv/bench`, and made once.
"""

from __future__ import annotations

from pathlib import Path

from common import CACHE, MEGABYTE, ROOT, tell

from jagpt import files, pipeline
from jagpt import recipe as recipes
from jagpt.corpus.documents import SPLITS, Document, iter_documents
from jagpt.corpus.shards import SplitWriter
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

SAMPLE_PIECES = 4_000
"""The largest vocabulary, in round numbers, that the bundled sample gives."""
PIECES = 32_000
SENTENCES = 100_000
CORPORA = CACHE / "corpora"


def make_run(name: str, source: Path | None, settings: str = "", until: str = "tokenizer") -> Path:
    """A run on the documents of `source`, made as far as the stage `until`; where it stands.

    `source` is a dump or plain text whose documents are parted by blank lines; None is the bundled
    sample. `settings` is the rest of its recipe.
    """
    recipe = recipes.parse(_recipe(name, source) + settings)
    run = pipeline.open_run(recipe, ROOT / CACHE / "runs" / name)
    tell(f"making {run.root.relative_to(ROOT)} up to its {until}, where that is not done")
    with files.locked(run.root):
        pipeline.run_stages(recipe, run, QUIET, until=until)
    return run.root


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


def _recipe(name: str, source: Path | None) -> str:
    kind, path = "dump", "jagpt:sample"
    if source is not None:
        kind = "dump" if ".xml" in source.name else "text"
        path = str(source.resolve())
    layout = 'layout = "block"\n' if kind == "text" else ""
    return f"""
name = "{name}"
[corpus]
valid_share = 0.05
test_share = 0.05
[[corpus.source]]
name = "texts"
kind = "{kind}"
path = "{path}"
{layout}
"""
