"""Which split a document belongs to, and how the original workflow split its lines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from jagpt.recipe import DEFAULT_SHARE, Corpus, Source

HELD_OUT = 20
"""Documents that valid and test get if the recipe gives no share."""
MANY = 40_000
"""From this many articles on, the default share is certainly enough, and nothing is counted."""


class Piece(NamedTuple):
    """A document, or lines `start` to before `stop` of it, that goes to a split."""

    split: str
    start: int = 0
    stop: int | None = None

    @property
    def is_whole(self) -> bool:
        return (self.start, self.stop) == (0, None)


class Splitter:
    """Assigns the documents of a corpus, passed once each and in order, to their splits."""

    def __init__(self, corpus: Corpus, shares: tuple[float, float]) -> None:
        """`shares` are those of valid and test (`hash`)."""
        self.first_lines = FirstLines(corpus.valid_lines, corpus.test_lines)
        self._corpus = corpus
        self.shares = shares

    def pieces(self, source: Source, place: float, lines: int) -> list[Piece]:
        """Where a document goes: to one split; to none or several where lines are counted.

        `place` is its `unit_hash`, `lines` the number of its `original_lines`; each is looked at
        only where it decides.
        """
        if self._corpus.split == "first-lines":
            if source.split:
                return [Piece(source.split)] if lines else []
            return list(self.first_lines.deal(lines))
        if source.split:
            return [Piece(source.split)]
        return [Piece(hash_split(place, *self.shares))]


def unit_hash(source: str, document_id: str) -> float:
    """A number in [0, 1) that a document keeps from dump to dump: BLAKE2b of source name and id."""
    key = f"{source}\0{document_id}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") / 2**64


def hash_split(place: float, valid_share: float, test_share: float) -> str:
    """The split of a document whose `unit_hash` is `place`: test first, then valid, then train."""
    if place < test_share:
        return "test"
    if place < test_share + valid_share:
        return "valid"
    return "train"


def shares_for(
    corpus: Corpus, places: Sequence[float], fixed: Mapping[str, int]
) -> tuple[float, float]:
    """The shares of valid and test that a corpus of documents at these `places` gets.

    Shares that the recipe leaves open are 0.005, or enough for `HELD_OUT` documents, or for a
    tenth of all if that is fewer; `fixed` counts those that sources put into a split.
    """
    places = sorted(places)
    test = corpus.test_share
    if test is None:
        test = _share_of(places, 0.0, HELD_OUT - fixed.get("test", 0))
    valid = corpus.valid_share
    if valid is None:
        beyond = [place for place in places if place >= test]
        valid = _share_of(beyond, test, HELD_OUT - fixed.get("valid", 0), len(places))
    return valid, test


def _share_of(
    places: Sequence[float], start: float, wanted: int, documents: int | None = None
) -> float:
    """The share from `start` that holds the first `wanted` of the sorted `places`."""
    tenth = (len(places) if documents is None else documents) // 10
    count = min(wanted, max(tenth, 1), len(places) - 1)
    if count < 1:
        return DEFAULT_SHARE
    middle = (places[count - 1] + places[count]) / 2
    return max(DEFAULT_SHARE, middle - start)


def original_lines(text: str) -> list[str]:
    """A document's lines as the original's shell pipeline left them.

    `grep -v doc`, then `perl -pe 's/。/。\\n/g'`, then empty lines removed.
    """
    kept = (line for line in text.split("\n") if "doc" not in line)
    return [piece for line in kept for piece in line.replace("。", "。\n").split("\n") if piece]


class FirstLines:
    """Assigns lines as `head` and `tail` did: first to valid, then to test, the rest to train."""

    def __init__(self, valid_lines: int, test_lines: int) -> None:
        self.lines = 0
        """Lines assigned so far."""
        self._bounds = (("valid", valid_lines), ("test", valid_lines + test_lines))

    def deal(self, lines: int) -> Iterator[Piece]:
        """Where this many lines go; a document at a bound is cut in pieces."""
        start = 0
        while start < lines:
            split, room = self._next()
            stop = lines if room is None else min(lines, start + room)
            self.lines += stop - start
            yield Piece(split, start, None if (start, stop) == (0, lines) else stop)
            start = stop

    def _next(self) -> tuple[str, int | None]:
        for split, bound in self._bounds:
            if self.lines < bound:
                return split, bound - self.lines
        return "train", None
