"""The tokens stage: each corpus shard becomes a token shard of the same name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from jagpt import files
from jagpt.corpus.documents import SPLITS
from jagpt.corpus.shards import read_rows, split_shards
from jagpt.errors import DataError
from jagpt.progress import Progress
from jagpt.recipe import Execution, Recipe
from jagpt.rundir import RunDirectory
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokenizer.imported import check_size
from jagpt.tokens.index import TokenIndex, dtype_for
from jagpt.tokens.shards import Shard, ShardWriter
from jagpt.workers import Workers, executor_of

Batch = list[tuple[str, str]]
"""Documents' ids and texts."""
BATCH_CHARACTERS = 1 << 20
"""Text given to SentencePiece in one call: enough to make the cost of a call negligible."""


@dataclass(frozen=True)
class ShardJob:
    """One corpus shard to encode; everything that a worker needs to know.

    `tokenizer` is the folder, `fingerprint` the one expected of the tokenizer there. `end_id`,
    if any, follows each document.
    """

    corpus_shard: Path
    directory: Path
    tokenizer: Path
    fingerprint: str
    dtype: str
    end_id: int | None
    by_line: bool


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Write the token shards and `index.json`; shards finished by an earlier call stay."""
    encoder = Encoder.open(run.tokenizer)
    check_size(recipe.tokenizer, encoder.vocab_size, run.tokenizer)  # it may belong to another run
    splits = {split: split_shards(run.corpus, split) for split in SPLITS}
    jobs = [make_job(shard, recipe, run, encoder) for shards in splits.values() for shard in shards]
    _encode([job for job in jobs if not _is_finished(job)], recipe.execution, progress)
    directory, dtype = run.own("tokens"), dtype_for(encoder.vocab_size)
    index = TokenIndex(
        dtype=dtype,
        vocab_size=encoder.vocab_size,
        end_id=encoder.end_id,
        tokenizer=encoder.fingerprint,
        splits={
            split: [Shard(directory, shard.stem, dtype).size() for shard in shards]
            for split, shards in splits.items()
        },
    )
    index.write(directory)
    for split, sizes in index.splits.items():
        tokens, documents = (sum(getattr(s, key) for s in sizes) for key in ("tokens", "documents"))
        progress.say(f"tokens: {split} has {tokens:,} tokens in {documents:,} documents")


def preflight(recipe: Recipe, run: RunDirectory) -> None:
    """`DataError` if another run's tokenizer does not have the size that the recipe gives."""
    check_size(recipe.tokenizer, Encoder.open(run.tokenizer).vocab_size, run.tokenizer)


def encode_shard(job: ShardJob) -> None:
    """Write the token shard of one corpus shard."""
    name = job.corpus_shard.stem
    encoder = _encoder(job.tokenizer, job.fingerprint)
    with (
        files.staged_file(job.directory / f"{name}.bin") as staged,
        staged.open("wb") as binary,
    ):
        writer = write_documents(_documents(job.corpus_shard), encoder, job, binary)
    writer.finish(job.directory / f"{name}.idx")


def write_documents(
    documents: Iterable[tuple[str, str]], encoder: Encoder, job: ShardJob, binary: IO[bytes]
) -> ShardWriter:
    """Encode pairs of id and text into an open `.bin`; the writer knows what its `.idx` needs."""
    writer = ShardWriter(binary, job.dtype, job.end_id)
    for batch in batches(documents):
        for (document_id, text), ids in zip(batch, encode_batch(encoder, batch, job), strict=True):
            writer.add(document_id, text, ids)
    return writer


def encode_batch(encoder: Encoder, batch: Batch, job: ShardJob) -> list[npt.NDArray[np.int32]]:
    """Each document's tokens without its end token: as a whole, or line by line."""
    texts = [text for _, text in batch]
    if job.by_line:
        return [encoder.encode_lines(text) for text in texts]
    return encoder.encode_batch(texts)


def batches(documents: Iterable[tuple[str, str]]) -> Iterator[Batch]:
    """The documents in groups of at least `BATCH_CHARACTERS`, except the last one."""
    batch: Batch = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document[1])
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _encode(jobs: list[ShardJob], execution: Execution, progress: Progress) -> None:
    """Run the jobs, in processes of this machine or on the cluster that the recipe asks for."""
    if not jobs:  # no cluster is needed for existing results
        return
    workers, executor = executor_of(execution)
    with (
        progress.bar("tokens", len(jobs), "shards") as bar,
        Workers(encode_shard, min(workers, len(jobs)), executor) as pool,
    ):
        for job in jobs:
            pool.submit(job)
            bar.advance()
        pool.finish()


def make_job(shard: Path, recipe: Recipe, run: RunDirectory, encoder: Encoder) -> ShardJob:
    """What a worker must know to encode one corpus shard of the run."""
    return ShardJob(
        corpus_shard=shard,
        directory=run.own("tokens"),
        tokenizer=run.tokenizer,
        fingerprint=encoder.fingerprint,
        dtype=dtype_for(encoder.vocab_size),
        end_id=encoder.end_id if recipe.tokens.end_token else None,
        by_line=recipe.tokens.by_line,
    )


def _documents(shard: Path) -> Iterator[tuple[str, str]]:
    """`source:id` and text of each document."""
    for row in read_rows(shard, ("id", "source", "text")):
        yield f"{row['source']}:{row['id']}", row["text"]


def _is_finished(job: ShardJob) -> bool:
    """The `.idx` is written last, so a whole pair of files is a finished shard."""
    try:
        Shard(job.directory, job.corpus_shard.stem, job.dtype)
    except DataError:
        return False
    return True


@lru_cache(maxsize=1)
def _encoder(directory: Path, fingerprint: str) -> Encoder:
    encoder = Encoder.open(directory)
    if encoder.fingerprint != fingerprint:
        raise DataError(f"{directory}: the tokenizer changed while the tokens stage ran")
    return encoder
