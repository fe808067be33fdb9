"""Near duplicates: documents that share most of their character 5-grams, found by MinHash.

Broder (1997), "On the resemblance and containment of documents"; banding as in Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. The sketches are `rensa`'s R-MinHash over
hashes computed here, so that neither the platform nor the process can change a signature.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from jagpt.corpus import spill
from jagpt.errors import MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NGRAM = 5
"""Characters of a shingle."""
SLOTS = 128
"""Values of a signature: the similarity's standard error is at most 0.044, at 0.8 it is 0.035."""
SIGNED_CHARACTERS = 1_000_000
"""A longer text is judged by its beginning, which limits memory to about 40 MB."""
SEED = 1
RECALL = 0.99
"""Least share of pairs exactly at the threshold that the bands detect."""
MOST_COMPARED = 64
"""Documents of one band that a document is compared with: bounds the work on look-alikes."""

SHARE_DOCUMENTS = 2_000_000
"""About so many keys of a band are sorted at a time, 40 bytes each."""

_ALGORITHM = 2  # of rensa: another one gives other signatures
_BATCH = 1024
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: odd, its bits are well mixed


def check_library() -> None:
    """Raise `MissingExtraError` if the library that makes signatures is not installed."""
    try:
        from rensa import RMinHash
    except ImportError:
        raise MissingExtraError("corpus.drop_near_duplicates", "dedup") from None
    if getattr(RMinHash, "ALGORITHM_VERSION", 1) != _ALGORITHM:
        raise MissingExtraError("corpus.drop_near_duplicates (another version of rensa)", "dedup")


def signature(text: str) -> bytes:
    """The text's MinHash signature: `SLOTS` numbers of 32 bits, little-endian."""
    import numpy as np
    from rensa import RMinHash

    hashes = _shingle_hashes(text[:SIGNED_CHARACTERS])
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, [0, len(hashes)], SLOTS, SEED)
    return np.asarray(matrix.to_rows()[0], dtype="<u4").tobytes()


def _shingle_hashes(text: str) -> NDArray[np.uint64]:
    """A 64-bit hash of every 5 consecutive characters; of the whole text if it is shorter."""
    import numpy as np

    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4").astype(np.uint64)
    count = max(1, len(codes) - NGRAM + 1)
    hashes = np.zeros(count, dtype=np.uint64)
    for place in range(min(NGRAM, len(codes))):
        hashes += codes[place : place + count]
        hashes *= np.uint64(_MULTIPLIER)
        hashes ^= hashes >> np.uint64(32)
    return hashes


def rows_in_band(threshold: float) -> int:
    """The most rows a band can have so that `RECALL` of the pairs at the threshold share a band."""
    for rows in range(SLOTS // 2, 1, -1):
        if 1 - (1 - threshold**rows) ** (SLOTS // rows) >= RECALL:
            return rows
    return 1


# --- a part's signatures --------------------------------------------------------------------------


def columns(signatures: bytes | bytearray, threshold: float) -> dict[str, bytes]:
    """What is kept of signatures: 8 bits of each slot, and the keys band by band."""
    import numpy as np

    rows = rows_in_band(threshold)
    bands = SLOTS // rows
    slots = np.frombuffer(signatures, dtype="<u4").reshape(-1, SLOTS)
    used = slots[:, : bands * rows].reshape(-1, bands, rows)
    keys = np.zeros(used.shape[:2], dtype=np.uint64)
    for row in range(rows):
        keys += used[:, :, row]
        keys *= np.uint64(_MULTIPLIER)
        keys ^= keys >> np.uint64(32)
    return {"keys": keys.T.tobytes(), "low": (slots & 0xFF).astype(np.uint8).tobytes()}


# --- a band of all parts --------------------------------------------------------------------------


@dataclass(frozen=True)
class BandJob:
    """Finds the documents that share a band, among those whose key leaves `share` over `shares`.

    `parts` are files that were judged, each with the number of its first article; `left_out` is a
    file with the numbers of articles that do not count.
    """

    parts: Sequence[tuple[Path, int]]
    left_out: Path
    band: int
    share: int
    shares: int
    target: Path

    def perform(self) -> Path:
        """Write the members of all groups, by their numbers: `documents`, and their `groups`, twice
        the group's number and, for its last member, 1 more."""
        import numpy as np

        keys, numbers = self._keys()
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        new = np.ones(len(order), dtype=bool)
        new[1:] = ordered[1:] != ordered[:-1]
        group = np.cumsum(new)
        size = np.bincount(group, minlength=1)
        last = np.ones(len(order), dtype=bool)
        last[:-1] = new[1:]
        several = size[group] > 1
        members, marks = numbers[order][several], (group * 2 + last)[several].astype(np.uint64)
        ascending = np.argsort(members, kind="stable")
        found = {
            "documents": members[ascending].tobytes(),
            "groups": marks[ascending].tobytes(),
        }
        spill.write(self.target, {}, found)
        return self.target

    def _keys(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The keys to look at, and the numbers of their documents, which ascend."""
        import numpy as np

        with spill.Spill(self.left_out) as file:
            left_out = np.frombuffer(file.bytes("numbers"), dtype=np.uint64)
        keys, numbers = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
        for path, first in self.parts:
            with spill.Spill(path) as file:
                rows = np.frombuffer(file.bytes("candidates"), dtype=np.uint64)
                start = self.band * rows.nbytes
                column = np.frombuffer(file.bytes("keys", start, start + rows.nbytes), np.uint64)
            wanted = column % np.uint64(self.shares) == self.share
            wanted &= ~np.isin(rows + np.uint64(first), left_out, assume_unique=True)
            keys.append(column[wanted])
            numbers.append(rows[wanted] + np.uint64(first))
        return np.concatenate(keys), np.concatenate(numbers)


def band_jobs(
    parts: Sequence[tuple[Path, int]], documents: int, threshold: float, left_out: Path, place: Path
) -> Iterator[BandJob]:
    """Jobs that look at all bands of this many documents; they write below `place`."""
    shares = 1 + documents // SHARE_DOCUMENTS
    for band in range(SLOTS // rows_in_band(threshold)):
        for share in range(shares):
            target = place / f"band-{band:02d}-{share:05d}"
            yield BandJob(parts, left_out, band, share, shares, target)


# --- the decision ---------------------------------------------------------------------------------


class NearDuplicates:
    """Goes through the documents that share a band with another one, in their order.

    Which of two stays hangs on what was left out before, so this is not shared out. In memory are,
    of documents that stay, those of groups whose last member is still to come: 8 bits of each slot.
    """

    def __init__(self, parts: Sequence[tuple[Path, int]], threshold: float) -> None:
        self.threshold = threshold
        self._parts = list(parts)
        self._firsts = [first for _, first in parts]
        self._staying: dict[tuple[int, int], list[int]] = {}
        """Documents of each open group that stay."""
        self._low: dict[int, bytes] = {}
        self._open: Counter[int] = Counter()
        """Open groups of each document that stays."""
        self._part = -1
        self._rows: dict[int, int] = {}
        self._lows = b""

    def find(self, bands: Iterable[Path]) -> dict[int, int]:
        """The near duplicates' numbers, each with the first document that it is too similar to.

        That document itself stays: a document is compared only with those that stay.
        """
        found: dict[int, int] = {}
        members = heapq.merge(*(_members(number, path) for number, path in enumerate(bands)))
        for document, entries in groupby(members, itemgetter(0)):
            marks = [(file, mark >> 1, mark & 1) for _, file, mark in entries]
            groups = [(file, group) for file, group, _ in marks]
            low = self._low_of(document)
            first = self._first_similar(low, groups)
            if first is None:
                self._stay(document, low, groups)
            else:
                found[document] = first
            for file, group, last in marks:
                if last:
                    self._close((file, group))
        return found

    def _first_similar(self, low: bytes, groups: Iterable[tuple[int, int]]) -> int | None:
        import numpy as np

        candidates = sorted({other for group in groups for other in self._staying.get(group, ())})
        if not candidates:
            return None
        theirs = np.frombuffer(b"".join(self._low[c] for c in candidates), dtype=np.uint8)
        equal = (theirs.reshape(-1, SLOTS) == np.frombuffer(low, dtype=np.uint8)).mean(axis=1)
        similarity = (equal - 1 / 256) / (1 - 1 / 256)  # 8 bits agree by chance once in 256
        similar = (similarity >= self.threshold).nonzero()[0]
        return candidates[similar[0]] if len(similar) else None

    def _stay(self, document: int, low: bytes, groups: Iterable[tuple[int, int]]) -> None:
        for group in groups:
            staying = self._staying.setdefault(group, [])
            if len(staying) < MOST_COMPARED:
                staying.append(document)
                self._open[document] += 1
                self._low[document] = low

    def _close(self, group: tuple[int, int]) -> None:
        """Forget what no later document is compared with."""
        for document in self._staying.pop(group, ()):
            self._open[document] -= 1
            if not self._open[document]:
                del self._open[document], self._low[document]

    def _low_of(self, document: int) -> bytes:
        """8 bits of each slot of a document; documents come in order, so a part is read once."""
        part = bisect_right(self._firsts, document) - 1
        if part != self._part:
            with spill.Spill(self._parts[part][0]) as file:
                rows = file.numbers("candidates", "Q")
                self._lows = file.bytes("low")
            self._part, self._rows = part, {row: place for place, row in enumerate(rows)}
        place = self._rows[document - self._firsts[part]] * SLOTS
        return self._lows[place : place + SLOTS]


def _members(number: int, path: Path) -> Iterator[tuple[int, int, int]]:
    """The members of a file of groups, in order, each as document, file and mark."""
    with spill.Spill(path) as file:
        for start in count(step=_BATCH):
            documents = file.numbers("documents", "Q", start, start + _BATCH)
            marks = file.numbers("groups", "Q", start, start + _BATCH)
            if not documents:
                return
            for document, mark in zip(documents, marks, strict=True):
                yield document, number, mark
