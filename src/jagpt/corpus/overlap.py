"""Text that occurs in both train and the held-out splits (valid and test).

A train document overlaps a held-out one if it contains a given share of its sentences, or
if that share of its own sentences is held out; shares are measured in characters. The train
document is the one to leave out: what is tested on must not depend on what is trained on.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from dataclasses import dataclass

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
    """The sentences of the held-out documents; about 100 bytes in memory for each."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._owners: list[Owner] = []
        self._characters = array("Q")
        """Characters of each owner's sentences."""
        self._sentences: dict[int, tuple[int, ...]] = {}
        """Digest of a sentence → numbers of the owners."""

    def add(self, split: str, name: str, text: str) -> None:
        """Take a held-out document; `name` is what a reason calls it."""
        sentences = sentence_digests(text)
        if not sentences:
            return
        number = len(self._owners)
        self._owners.append(Owner(split, name))
        self._characters.append(sum(sentences.values()))
        only = (number,)
        for digest in sentences:
            known = self._sentences.get(digest)
            if known is None:
                self._sentences[digest] = only
            elif len(known) < MOST_OWNERS:
                self._sentences[digest] = known + only

    def overlapping(self, text: str) -> Owner | None:
        """The held-out document that a train document's text overlaps most, if any."""
        sentences = sentence_digests(text)
        held_out = 0
        characters: Counter[int] = Counter()
        for digest, length in sentences.items():
            owners = self._sentences.get(digest)
            if owners is not None:
                held_out += length
                for owner in owners:
                    characters[owner] += length
        if not held_out:
            return None
        shares = {owner: count / self._characters[owner] for owner, count in characters.items()}
        if held_out < self.share * sum(sentences.values()) and max(shares.values()) < self.share:
            return None
        return self._owners[min(shares, key=lambda owner: (-shares[owner], owner))]


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
