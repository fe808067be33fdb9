"""The contents of `stats.json`, for a run's corpus and for plain extraction (`jagpt extract`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from jagpt.compressed import Losses
from jagpt.records import Count, Record, Sha256, optional, remake


@dataclass
class SplitCounts:
    """What a split holds: documents, characters (code points), bytes of UTF-8."""

    documents: Count = 0
    characters: Count = 0
    bytes: Count = 0

    def add(self, characters: int, size: int) -> None:
        """Count a document of this many characters and bytes."""
        self.documents += 1
        self.characters += characters
        self.bytes += size


@dataclass(frozen=True)
class InputFile:
    """A file that documents were read from, and what was skipped in it as damaged."""

    size: Count
    sha256: Sha256
    lost: Losses | None = optional()


@dataclass(frozen=True)
class SourceStats:
    """One source and what was found in it; `wiki` is the database name that its dump states.

    `articles` are pages with their own text, `documents` those that were kept.
    """

    name: str
    kind: str
    licence: str
    wiki: str | None
    date: str | None
    files: tuple[InputFile, ...]
    pages: Count
    redirects: Count
    other_namespaces: Count
    articles: Count
    documents: Count

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def sha256(self) -> str:
        """One checksum for all files: `sha256sum FILE… | cut -c-64 | sha256sum`."""
        return hashlib.sha256("".join(f"{f.sha256}\n" for f in self.files).encode()).hexdigest()


@dataclass(frozen=True)
class UnknownTemplate:
    """A template that the extractor did not know, and the characters that were lost to it."""

    name: str
    articles: Count
    characters: Count


@dataclass(frozen=True)
class MissingValues:
    """Places that depended on a value which is not in the dump, and the characters left out
    there.
    """

    places: Count
    characters: Count


@dataclass(frozen=True)
class LengthCounts:
    """A histogram: documents by length in characters; the last class has no upper bound."""

    edges: tuple[Count, ...]
    documents: tuple[Count, ...]

    def labelled(self) -> Iterator[tuple[str, int]]:
        """Each class as `100–200`, and its documents."""
        names = [f"{low:,}–{high:,}" for low, high in pairwise(self.edges)]
        names += [f"{self.edges[-1]:,}+"] if self.edges else []
        yield from zip(names, self.documents, strict=False)


@dataclass(frozen=True)
class CorpusStats(Record):
    """`dropped` counts left-out articles by reason; `exclude_unmatched` has the
    entries of `[corpus.exclude]` that no article matched, `include_unmatched` the titles of
    `[corpus.include]`."""

    FILE = "stats.json"
    KIND = "record of the corpus"
    REMEDY = remake("corpus")

    sources: tuple[SourceStats, ...]
    splits: Mapping[str, SplitCounts]
    dropped: Mapping[str, Count]
    exclude_unmatched: Mapping[str, tuple[str, ...]]
    unknown_templates: tuple[UnknownTemplate, ...]
    lengths: LengthCounts
    missing_values: MissingValues | None = optional()
    include_unmatched: tuple[str, ...] = optional(tuple)

    @property
    def documents(self) -> int:
        return sum(split.documents for split in self.splits.values())

    @property
    def characters(self) -> int:
        return sum(split.characters for split in self.splits.values())


@dataclass(frozen=True)
class LeftOutPage:
    """A page without a document, and why."""

    id: str
    title: str
    reason: str


@dataclass(frozen=True)
class ExtractionStats(Record):
    """What documents were made from without a run, with the first of the pages left out.

    `extraction` holds the options that decide the result.
    """

    FILE = "stats.json"
    KIND = "record of an extraction"
    REMEDY = "make it again with --force"

    extraction: Mapping[str, Any]
    files: tuple[InputFile, ...]
    wiki: str | None
    pages: Count
    redirects: Count
    other_namespaces: Count
    articles: Count
    documents: Count
    characters: Count
    bytes: Count
    left_out: Mapping[str, Count]
    left_out_pages: tuple[LeftOutPage, ...]
    unknown_templates: tuple[UnknownTemplate, ...]
    missing_values: MissingValues | None = optional()
