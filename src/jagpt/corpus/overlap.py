"""Text that occurs in both train and the held-out splits (valid and test).

A train document overlaps a held-out one if it contains a given share of its sentences, or
if that share of its own sentences is held out; shares are measured in characters. The train
document is the one to leave out: what is tested on must not depend on what is trained on.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jagpt.corpus import spill

SENTENCE_CHARACTERS = 20
"""Shorter sentences and lines (headings, names, dates) occur in many articles and prove nothing."""
MOST_OWNERS = 8
"""Most held-out documents remembered per sentence."""


@dataclass(frozen=True)
class Owner:
    """A held-out document."""

    split: str
    name: str


class HeldOut:
    """The sentences of the held-out documents as they come: 12 bytes in memory for each."""

    def __init__(self) -> None:
        self.owners: list[Owner] = []
        self._characters = array("Q")
        """Characters of each owner's sentences."""
        self._sentences = array("Q")
        self._numbers = array("I")
        """The owner of each sentence."""

    def add(self, split: str, name: str, sentences: Mapping[int, int]) -> None:
        """Take a held-out document; `name` is what a reason calls it."""
        if not sentences:
            return
        self._sentences.extend(sentences)
        self._numbers.extend([len(self.owners)] * len(sentences))
        self._characters.append(sum(sentences.values()))
        self.owners.append(Owner(split, name))

    def write(self, path: Path) -> str:
        """Leave a table for `Table`, ordered by sentences and, among equal ones, by owners; what it
        is known by."""
        import pyarrow as pa
        import pyarrow.compute as pc

        def arrow(kind: Any, numbers: array[int]) -> Any:
            return pa.Array.from_buffers(kind, len(numbers), [None, pa.py_buffer(numbers)])

        sentences = arrow(pa.uint64(), self._sentences)
        order = pc.array_sort_indices(sentences)  # it is stable
        columns: dict[str, spill.Column] = {
            "sentences": _bytes(sentences.take(order)),
            "owners": _bytes(arrow(pa.uint32(), self._numbers).take(order)),
            "characters": self._characters,
        }
        spill.write(path, {}, columns)
        digest = hashlib.blake2b(digest_size=16)
        for column in columns.values():
            digest.update(column)
        return digest.hexdigest()


class Table:
    """The sentences of the held-out documents, in a file that all workers read."""

    def __init__(self, path: Path) -> None:
        with spill.Spill(path) as file:
            self._sentences = file.numbers("sentences", "Q")
            self._owners = file.numbers("owners", "I")
            self._characters = file.numbers("characters", "Q")

    def overlapping(self, sentences: Mapping[int, int], share: float) -> int | None:
        """The number of the held-out document that a train document's sentences overlap most, if
        they overlap one by that share."""
        held_out = 0
        characters: Counter[int] = Counter()
        for digest, length in sentences.items():
            owners = self._owners_of(digest)
            if owners:
                held_out += length
                for owner in owners:
                    characters[owner] += length
        if not held_out:
            return None
        shares = {owner: count / self._characters[owner] for owner, count in characters.items()}
        if held_out < share * sum(sentences.values()) and max(shares.values()) < share:
            return None
        return min(shares, key=lambda owner: (-shares[owner], owner))

    def _owners_of(self, digest: int) -> array[int]:
        start = bisect_left(self._sentences, digest)
        stop = start
        while stop < len(self._sentences) and self._sentences[stop] == digest:
            stop += 1
            if stop - start == MOST_OWNERS:
                break
        return self._owners[start:stop]


@dataclass(frozen=True)
class OverlapJob:
    """A part that was judged, and the rows of it that are to be compared with the held-out ones."""

    judged: Path
    rows: array[int]
    table: Path
    digest: str
    """Of the table, which a process reads once."""
    share: float

    def perform(self) -> dict[int, int]:
        """The rows that overlap, each with the number of the held-out document."""
        table, wanted = _table(self.table, self.digest), set(self.rows)
        found: dict[int, int] = {}
        for row, sentences in sentences_of(self.judged):
            if row in wanted:
                owner = table.overlapping(sentences, self.share)
                if owner is not None:
                    found[row] = owner
        return found


def sentences_of(judged: Path) -> Iterator[tuple[int, dict[int, int]]]:
    """The articles of a judged part that nothing speaks against: row, and sentences."""
    with spill.Spill(judged) as file:
        rows, counts = file.numbers("candidates", "Q"), file.numbers("counts", "Q")
        sentences, lengths = file.numbers("sentences", "Q"), file.numbers("lengths", "Q")
    start = 0
    for row, count in zip(rows, counts, strict=True):
        stop = start + count
        yield row, dict(zip(sentences[start:stop], lengths[start:stop], strict=True))
        start = stop


@lru_cache(maxsize=1)
def _table(path: Path, _digest: str) -> Table:
    return Table(path)


def _bytes(column: Any) -> bytes:
    """The numbers of a column that Arrow has just made."""
    size = len(column) * column.type.bit_width // 8
    return bytes(memoryview(column.buffers()[1])[:size])


def sentence_digests(text: str) -> dict[int, int]:
    """BLAKE2b-64 of each different sentence (up to a 。 or the end of a line) that is long enough,
    with its characters."""
    return {
        int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest(), "big"): len(
            sentence
        )
        for piece in text.replace("。", "\n").split("\n")
        if len(sentence := piece.strip()) >= SENTENCE_CHARACTERS
    }
