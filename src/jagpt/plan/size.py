"""How much text a recipe's sources hold: counted if a run has it, else estimated from sizes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jagpt import hub
from jagpt.compressed import FORMATS
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import DataError, JagptError, StorageError
from jagpt.manifests import MANIFEST
from jagpt.recipe import Recipe, Source
from jagpt.rundir import RunDirectory
from jagpt.tokenizer import imported, vocabulary
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer.stats import TokenizerStats

TOKENS_PER_DUMP_BYTE = 0.165
"""Tokens per byte of a bz2 dump: about 540 M train tokens (the published model's card) of 3.2
GB.
"""

TOKENS_PER_TEXT_BYTE = 1 / 6
"""Japanese text: 3 bytes per character, about 2 characters per token at 32,000 pieces."""

BYTES_PER_CHARACTER = 3
"""Of Japanese text in UTF-8."""

CHARACTERS_PER_TOKEN = 1.4
"""Of the default tokenizer on Japanese encyclopedic text at 8,000 pieces."""

XML_PER_DUMP_BYTE = 4.2
"""MB of XML per MB of bzip2, for a Japanese Wikipedia."""

PACKED = 3
"""Bytes of text in one byte of gzip, xz, zstd or Parquet."""

DUMP_BYTES = {"jawiki": 3.2e9}
"""Bytes of pages-articles.xml.bz2 in March 2021, for dumps that are not in the cache yet."""
DUMP_GROWTH = {"jawiki": 0.27e9}
"""Bytes per year that they have grown by since."""


@dataclass(frozen=True)
class Size:
    """Tokens of the train split; `dump` is bytes of dumps to decode, `text` bytes of text.

    `unknown` names sources about which nothing is known here, and which count as nothing.
    """

    tokens: int
    dump: int
    text: int
    unknown: tuple[str, ...] = ()
    weighted: int | None = None

    @property
    def epoch(self) -> int:
        """Tokens per epoch: those of the split, each document weighted by its source."""
        return self.tokens if self.weighted is None else self.weighted


def size_of(recipe: Recipe, run: RunDirectory, text_bytes: int | None = None) -> Size:
    """The size of the recipe's text: counted, or from its corpus, or from its sources' sizes.

    `text_bytes` replaces all sources together. What is stale in the run is another recipe's
    (`pipeline.as_made`).
    """
    if text_bytes is not None:
        return Size(max(1, round(text_bytes * TOKENS_PER_TEXT_BYTE)), 0, text_bytes)
    with suppress(DataError):  # damage is reported by the stage that reads it
        if (counted := _counted(recipe, run)) is not None:
            tokens, epoch = counted
            return Size(tokens, 0, round(tokens / TOKENS_PER_TEXT_BYTE), weighted=epoch)
    dump = text = total = epochs = 0.0
    unknown = []
    for source in recipe.corpus.source:
        sizes = list(_sizes(source))
        if not sizes:
            unknown.append(source.name)
        for size, kind, packed in sizes:
            of = tokens_a_byte(kind, packed)
            total += size * of
            epochs += size * of * source.weight
            dump += size if kind == "dump" else 0
            text += size * of / TOKENS_PER_TEXT_BYTE
    return Size(
        max(1, round(total)), round(dump), round(text), tuple(unknown), max(1, round(epochs))
    )


def with_vocabulary(recipe: Recipe, run: RunDirectory, text_bytes: int | None = None) -> Recipe:
    """The recipe with the vocabulary size of an existing tokenizer that it uses, or with the one
    that its text will give if it leaves it open (`text_bytes` as for `size_of`).

    Unchanged if the tokenizer is not on this machine or cannot be read: whoever reads it later will
    report that.
    """
    settings = recipe.tokenizer
    if settings.from_ is None and "tokenizer" not in run.shared and not settings.size_is_open:
        return recipe
    found = _vocabulary(recipe, run)
    if found is None and settings.size_is_open:
        text = size_of(recipe, run, text_bytes).text
        found = vocabulary.size_for(round(text / BYTES_PER_CHARACTER), settings.least_vocab_size)
    if found is None:
        return recipe
    return recipe.model_copy(
        update={"tokenizer": settings.model_copy(update={"vocab_size": found})}
    )


def _vocabulary(recipe: Recipe, run: RunDirectory) -> int | None:
    """Pieces of the tokenizer that the run has or uses; None if there is none to read."""
    with suppress(JagptError):
        if "tokenizer" not in run.stale and (run.tokenizer / TokenizerStats.FILE).is_file():
            return TokenizerStats.read(run.tokenizer).vocab_size
        if recipe.tokenizer.from_ is None:
            return None
        if (path := imported.local_file(recipe.tokenizer)) is not None:
            return len(pieces.parse(pieces.read(path), path).pieces)
    return None


def tokens_a_byte(kind: str, packed: bool) -> float:
    """Tokens per byte of a source's file."""
    if kind == "dump":
        return TOKENS_PER_DUMP_BYTE if packed else TOKENS_PER_DUMP_BYTE / XML_PER_DUMP_BYTE
    return TOKENS_PER_TEXT_BYTE * (PACKED if packed else 1)


def _counted(recipe: Recipe, run: RunDirectory) -> tuple[int, int] | None:
    """Train tokens, and tokens per epoch: from a finished tokens stage, or from a finished
    corpus.
    """
    weights = recipe.corpus.weights
    if "tokens" not in run.stale and (run.tokens / MANIFEST).is_file():
        from jagpt.tokens.dataset import TokenSplit
        from jagpt.tokens.weights import Weights

        split = TokenSplit.open(run.tokens, "train")
        found = Weights.of(split, weights, recipe.train.seed)
        return split.n_tokens, split.n_tokens if found is None else found.tokens_per_epoch
    if "corpus" in run.stale or not (run.corpus / MANIFEST).is_file():
        return None
    if (corpus := CorpusStats.find(run.corpus)) is not None:
        tokens = max(1, round(corpus.splits["train"].characters / CHARACTERS_PER_TOKEN))
        documents = sum(source.documents for source in corpus.sources)
        come = sum(source.documents * weights.get(source.name, 1.0) for source in corpus.sources)
        return tokens, round(tokens * come / max(documents, 1)) or 1
    return None


def _sizes(source: Source) -> Iterator[tuple[float, str, bool]]:
    """Bytes of each of the source's files, whether it is a dump or text, and whether it is
    compressed.
    """
    from jagpt.corpus.sources import source_files

    if source.kind == "hf":
        yield from ((size, "text", True) for size in _hub_sizes(source))
        return
    try:
        paths = source_files(source)
    except StorageError:  # a dump that is not downloaded yet
        wiki, year = str(source.wiki), int(str(source.date)[:4])
        size = DUMP_BYTES.get(wiki, 0) + (year - 2021) * DUMP_GROWTH.get(wiki, 0)
        if size > 0:  # the line through its dumps ends before the first ones
            yield size, "dump", True
        return
    for path in paths:
        yield path.stat().st_size, "dump" if ".xml" in path.name else "text", _is_packed(path)


def _is_packed(path: Path) -> bool:
    return path.suffix in (*FORMATS, ".parquet")


def _hub_sizes(source: Source) -> list[int]:
    """Bytes of a hub data set's files of the source's configuration; none if unknown."""
    folder = Path(str(source.dataset))
    if folder.is_dir():
        return [path.stat().st_size for path in folder.rglob("*.parquet")]
    names = hub.dataset_files(str(source.dataset), source.revision)
    data = [row for row in names if row[0].endswith((".parquet", ".gz", ".zst", ".jsonl"))]
    wanted = [row for row in data if source.config and f"{source.config}/" in row[0]]
    return [size for _, size in wanted or data]
