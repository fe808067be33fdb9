"""What each article is by itself: the part of assignment that looks at texts.

A job reads a part and leaves, beside nothing of its texts, what the decisions after it need: the
reason that speaks against an article by itself, its sizes, its digest, and where they are asked for
its place among the splits, its sentences' digests and its signature's bands.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jagpt.corpus import near_duplicates, parts, spill
from jagpt.corpus.documents import Article
from jagpt.corpus.filters import Exclusions, Reason, own_reason
from jagpt.corpus.overlap import sentence_digests
from jagpt.corpus.parts import PartName
from jagpt.corpus.selection import Selection
from jagpt.corpus.splits import original_lines, unit_hash
from jagpt.recipe import Corpus, Source

DIGEST = 16
"""Bytes of a text's digest."""


@dataclass(frozen=True)
class Met:
    """What a job found: its articles, those with nothing against them, the recipe's entries met."""

    articles: int
    candidates: int
    excluded: Mapping[str, frozenset[str]]
    included: frozenset[str]


@dataclass(frozen=True)
class JudgeJob:
    """A part to be judged; `categories` are the included ones with their subcategories."""

    parts: Path
    name: PartName
    source: Source
    corpus: Corpus
    categories: frozenset[str]
    target: Path

    def perform(self) -> Met:
        """Write `target`."""
        exclusions = Exclusions(self.corpus.exclude)
        selection = Selection(self.corpus.include, categories=self.categories)
        made = _Columns(self.corpus)
        for row, article in enumerate(parts.read_articles(self.parts, self.name)):
            reason = own_reason(exclusions, selection, self.corpus, self.source.name, article)
            made.add(row, self.source, article, reason)
        made.write(self.target)
        return Met(
            len(made.ids), len(made.candidates), exclusions.matched(), frozenset(selection.met)
        )


class Judged:
    """What `JudgeJob` left of a part, without digests, sentences and signatures."""

    def __init__(self, path: Path) -> None:
        with spill.Spill(path) as file:
            self.ids: list[str] = file.facts["ids"]
            self.titles: list[str] = file.facts["titles"]
            self.reasons = {int(row): Reason(*said) for row, said in file.facts["reasons"].items()}
            self.characters = file.numbers("characters", "Q")
            self.bytes = file.numbers("bytes", "Q")
            self.lines = file.numbers("lines", "Q")
            self.places = file.numbers("places", "d")


class _Columns:
    """The columns of a part as they grow. `lines`, `places`, sentences and signatures stay empty
    where nothing asks for them; the last two are of articles with nothing against them alone."""

    def __init__(self, corpus: Corpus) -> None:
        self.ids: list[str] = []
        self.candidates = array("Q")
        self._corpus = corpus
        self._titles: list[str] = []
        self._reasons: dict[int, tuple[str, str]] = {}
        self._characters, self._bytes, self._lines = array("Q"), array("Q"), array("Q")
        self._places = array("d")
        self._digests: list[tuple[bytes, int]] = []
        self._signatures = bytearray()
        self._sentences, self._lengths, self._counts = array("Q"), array("Q"), array("Q")

    def add(self, row: int, source: Source, article: Article, reason: Reason | None) -> None:
        """Take the part's next article."""
        self.ids.append(article.id)
        self._titles.append(article.title)
        text = article.text if reason is None else ""
        if self._corpus.split == "first-lines":
            lines = original_lines(text)
            text = "\n".join(lines)
            self._lines.append(len(lines))
        else:
            self._places.append(unit_hash(source.name, article.id))
        self._characters.append(len(text))
        self._bytes.append(len(text.encode()))
        if reason is not None:
            self._reasons[row] = (reason.kind, reason.detail)
            return
        self.candidates.append(row)
        self._digests.append((bytes(article.digest), row))
        self._signatures += article.signature
        if self._corpus.drop_overlap > 0:
            sentences = sentence_digests(text)
            self._sentences.extend(sentences)
            self._lengths.extend(sentences.values())
            self._counts.append(len(sentences))

    def write(self, path: Path) -> None:
        """Write it all; digests by their bytes, with where those of each first byte end."""
        columns: dict[str, spill.Column] = {
            "characters": self._characters, "bytes": self._bytes, "lines": self._lines,
            "places": self._places, "candidates": self.candidates,
            "sentences": self._sentences, "lengths": self._lengths, "counts": self._counts,
        }  # fmt: skip
        if self._corpus.drop_duplicates:
            columns |= _digest_columns(self._digests)
        if self._corpus.drop_near_duplicates > 0:
            columns |= near_duplicates.columns(self._signatures, self._corpus.drop_near_duplicates)
        facts: dict[str, Any] = {
            "ids": self.ids, "titles": self._titles, "reasons": self._reasons,
        }  # fmt: skip
        spill.write(path, facts, columns)


def _digest_columns(digests: list[tuple[bytes, int]]) -> dict[str, spill.Column]:
    digests.sort()
    counts = [0] * 256
    for digest, _ in digests:
        counts[digest[0]] += 1
    ends, total = array("Q"), 0
    for count in counts:
        total += count
        ends.append(total)
    return {
        "digests": b"".join(digest for digest, _ in digests),
        "digest_rows": array("Q", [row for _, row in digests]),
        "digest_ends": ends,
    }
