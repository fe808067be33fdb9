"""The sentences that the tokenizer learns from, determined only by the corpus and a seed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from jagpt.corpus.shards import read_rows, split_shards

MAX_SENTENCE_BYTES = 4192
"""SentencePiece skips longer sentences (its own default): they are cut before it sees them."""

_SENTENCE_END = re.compile(r"(?<=。)(?![」』）)])")


def draw_sentences(
    corpus: Path, count: int, seed: int, report: Callable[[int], None] = lambda documents: None
) -> list[str]:
    """At most `count` sentences of the train split, in a random order.

    Each sentence gets a hash of (seed, its number); those with the smallest hashes are kept, in one
    pass over the corpus and in memory for `count` sentences. `report` is called with the documents
    read so far.
    """
    prefix = hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=8)
    kept: list[tuple[bytes, str]] = []
    bound = b"\xff" * 8
    for number, sentence in enumerate(_sentences(corpus, report)):
        hashed = prefix.copy()
        hashed.update(number.to_bytes(8, "little"))
        key = hashed.digest()
        if key < bound:
            kept.append((key, sentence))
            if len(kept) >= 2 * count + 1024:
                kept.sort()
                del kept[count:]
                bound = kept[-1][0]
    return [sentence for _, sentence in sorted(kept)[:count]]


def split_sentences(text: str) -> Iterator[str]:
    """The lines of `text`, also broken after each 「。」 outside brackets; none is empty.

    What is still longer than `MAX_SENTENCE_BYTES` of UTF-8 is cut into pieces of that size.
    """
    for line in text.splitlines():
        for sentence in _SENTENCE_END.split(line):
            yield from (part for part in _cut(sentence) if part.strip())


def _cut(sentence: str) -> Iterator[str]:
    encoded = sentence.encode("utf-8")
    start = 0
    while len(encoded) - start > MAX_SENTENCE_BYTES:
        end = start + MAX_SENTENCE_BYTES
        while encoded[end] & 0xC0 == 0x80:  # the middle of a character
            end -= 1
        yield encoded[start:end].decode("utf-8")
        start = end
    yield encoded[start:].decode("utf-8")


def _sentences(corpus: Path, report: Callable[[int], None]) -> Iterator[str]:
    documents = 0
    for shard in split_shards(corpus, "train"):
        for row in read_rows(shard, ("text",)):
            documents += 1
            yield from split_sentences(row["text"])
            if documents % 1000 == 0:
                report(documents)
    report(documents)
