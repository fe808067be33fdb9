"""Equal texts among all parts: the first one stays.

Digests are compared in shares by their first byte, a share a job, so that no more than
`SHARE_TEXTS` or so are in memory at a time (some 100 bytes each), however many there are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from jagpt.corpus.judging import DIGEST
from jagpt.corpus.spill import Spill

SHARE_TEXTS = 200_000


@dataclass(frozen=True)
class DuplicatesJob:
    """Looks at the digests with a first byte from `start` to before `stop`.

    `parts` are files that were judged, each with the number of its first article.
    """

    parts: Sequence[tuple[Path, int]]
    start: int
    stop: int

    def perform(self) -> array[int]:
        """The numbers of the articles that repeat an earlier one."""
        seen: set[bytes] = set()
        found = array("Q")
        for path, first in self.parts:
            digests, rows = self._of(path)
            for place, row in enumerate(rows):
                digest = digests[place * DIGEST : (place + 1) * DIGEST]
                if digest in seen:
                    found.append(first + row)
                else:
                    seen.add(digest)
        return found

    def _of(self, path: Path) -> tuple[bytes, array[int]]:
        with Spill(path) as file:
            ends = file.numbers("digest_ends", "Q")
            start, stop = (ends[k - 1] if k else 0 for k in (self.start, self.stop))
            digests = file.bytes("digests", start * DIGEST, stop * DIGEST)
            return digests, file.numbers("digest_rows", "Q", start, stop)


def duplicates_jobs(parts: Sequence[tuple[Path, int]], texts: int) -> Iterator[DuplicatesJob]:
    """Jobs that look at all digests of so many texts."""
    shares = min(256, 1 + texts // SHARE_TEXTS)
    bounds = [256 * k // shares for k in range(shares + 1)]
    for start, stop in pairwise(bounds):
        yield DuplicatesJob(parts, start, stop)
