"""Near duplicates: documents that share most of their character 5-grams, found by MinHash.

Broder (1997), "On the resemblance and containment of documents"; banding as in Leskovec, Rajaraman
and Ullman, "Mining of Massive Datasets", chapter 3. The sketches are `rensa`'s R-MinHash over
hashes computed here, so that neither the platform nor the process can change a signature.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

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

_ALGORITHM = 2  # of rensa: another version gives different signatures
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


class NearDuplicates:
    """Takes signatures in the documents' order, then finds the near duplicates. In memory:

    `SLOTS` bytes per document (the low 8 bits of its signature), 8 for each band (21 at 0.8) and 8
    for its number: 304 at 0.8, and about 350 with what Python reserves. A document that
    shares a band takes up to 400 more in `find`.
    """

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self._rows = rows_in_band(threshold)
        self._bands = SLOTS // self._rows
        self._numbers = array("Q")
        self._waiting = bytearray()
        self._low = bytearray()
        self._keys = bytearray()

    def add(self, number: int, signature: bytes) -> None:
        """Take the document with that number; numbers ascend."""
        self._numbers.append(number)
        self._waiting += signature
        if len(self._waiting) >= _BATCH * SLOTS * 4:
            self._condense()

    def find(self) -> dict[int, int]:
        """The near duplicates' numbers, each with the first document that it is too similar to.

        That document itself stays: a document is compared only with those that stay.
        """
        import numpy as np

        self._condense()
        low = np.frombuffer(self._low, dtype=np.uint8).reshape(-1, SLOTS)
        shared: defaultdict[int, list[list[int]]] = defaultdict(list)
        for members in self._groups():
            staying: list[int] = []
            for member in members:
                shared[member].append(staying)
        found: dict[int, int] = {}
        for document in sorted(shared):
            first = self._first_similar(document, shared[document], low)
            if first is not None:
                found[self._numbers[document]] = self._numbers[first]
                continue
            for staying in shared[document]:
                if len(staying) < MOST_COMPARED:
                    staying.append(document)
        return found

    def _first_similar(
        self, document: int, groups: list[list[int]], low: NDArray[np.uint8]
    ) -> int | None:
        candidates = sorted({other for group in groups for other in group})
        if not candidates:
            return None
        equal = (low[candidates] == low[document]).mean(axis=1)
        similarity = (equal - 1 / 256) / (1 - 1 / 256)  # 8 bits agree by chance once in 256
        similar = (similarity >= self.threshold).nonzero()[0]
        return candidates[similar[0]] if len(similar) else None

    def _groups(self) -> Iterator[list[int]]:
        """Documents that share a band, in order, for each band."""
        import numpy as np

        keys = np.frombuffer(self._keys, dtype=np.uint64).reshape(-1, self._bands)
        for band in range(self._bands):
            column = keys[:, band]
            order = np.argsort(column, kind="stable")
            ends = np.flatnonzero(np.diff(column[order])) + 1
            starts = np.concatenate(([0], ends))
            sizes = np.diff(np.concatenate((starts, [len(order)])))
            for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
                yield order[start : start + size].tolist()

    def _condense(self) -> None:
        """Keep a key for each band, and 8 bits of each slot, of the pending signatures."""
        import numpy as np

        slots = np.frombuffer(self._waiting, dtype="<u4").reshape(-1, SLOTS)
        used = slots[:, : self._bands * self._rows].reshape(-1, self._bands, self._rows)
        keys = np.zeros(used.shape[:2], dtype=np.uint64)
        for row in range(self._rows):
            keys += used[:, :, row]
            keys *= np.uint64(_MULTIPLIER)
            keys ^= keys >> np.uint64(32)
        self._keys += keys.tobytes()
        self._low += (slots & 0xFF).astype(np.uint8).tobytes()
        del slots, used
        self._waiting = bytearray()
