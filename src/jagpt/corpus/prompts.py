"""Prompts that suit a corpus, where the recipe gives none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from jagpt.corpus.shards import read_rows, split_shards
from jagpt.corpus.stats import CorpusStats
from jagpt.recipe import Recipe

COUNT = 2
_BEGINNING = re.compile(r"[^\n、。！？]{3,16}[、。]?")
"""A first clause, or what of it makes a prompt."""
_WIKIPEDIA = ("dump", "cirrus", "wikiextractor")


def settled(recipe: Recipe, corpus: Path) -> Recipe:
    """The recipe with prompts: its own, Wikipedia's, or the beginnings of test documents.

    Test documents, since the model has not learnt how these continue.
    """
    if recipe.release.prompts is not None:
        return recipe
    stats = CorpusStats.find(corpus)
    if stats is None or any(source.kind in _WIKIPEDIA for source in stats.sources):
        return recipe.with_prompts(recipe.release.known_prompts)
    found = list(_beginnings(corpus))
    return recipe.with_prompts(tuple(found) or recipe.release.known_prompts)


def _beginnings(corpus: Path) -> Iterator[str]:
    """The beginnings of the first test documents that differ."""
    seen: set[str] = set()
    for shard in split_shards(corpus, "test"):
        for row in read_rows(shard, ("text",)):
            found = _BEGINNING.match(row["text"].lstrip())
            if found is not None and found[0] not in seen:
                seen.add(found[0])
                yield found[0].strip()
            if len(seen) == COUNT:
                return
