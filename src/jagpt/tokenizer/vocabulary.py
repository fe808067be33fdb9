"""`vocab_size = "auto"`: how many pieces a corpus gets, by a rule that depends only on its text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate, chain

from jagpt.recipe import Tokenizer

LARGEST = 32_000
ROOT_FACTOR = 6
SPARE = 1.5
"""Factor on the pieces that special signs, bytes and characters need: half as many more are left
for words.
"""


def size_for(characters: int, needed: int) -> int:
    """Pieces for this many characters of text: 6 times their square root, up to 32,000, and at
    least half as many again as the `needed` ones."""
    return max(min(LARGEST, ROOT_FACTOR * math.isqrt(characters)), round(SPARE * needed))


def size_of(sentences: Sequence[str], settings: Tokenizer) -> int:
    """Pieces for a tokenizer that learns from `sentences`."""
    counts = Counter(chain.from_iterable(sentences))
    total = counts.total()
    wanted = settings.character_coverage * total
    sums = accumulate(count for _, count in counts.most_common())
    covered = 1 + sum(reached < wanted for reached in sums)
    return size_for(total, settings.least_vocab_size + covered)
