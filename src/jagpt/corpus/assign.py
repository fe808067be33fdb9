"""Step 2: parts to the splits' shards, in the order of the sources.

One pass writes. Filters that compare documents need passes before it: one over the signatures to
find near duplicates, one over the held-out documents to know their sentences.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import IO

from jagpt import files
from jagpt.corpus import parts
from jagpt.corpus.documents import SPLITS, Article
from jagpt.corpus.filters import NO_LINES, OVERLAPS, SHORT, Filters, Reason, document_name
from jagpt.corpus.near_duplicates import NearDuplicates
from jagpt.corpus.overlap import HeldOut
from jagpt.corpus.parts import Counts, ExtractedSource
from jagpt.corpus.selection import NOT_INCLUDED
from jagpt.corpus.shards import LENGTH_EDGES, SplitWriter
from jagpt.corpus.splits import MANY, Splitter, shares_for
from jagpt.corpus.stats import CorpusStats, LengthCounts, SourceStats
from jagpt.errors import TooLittleTextError
from jagpt.progress import Progress
from jagpt.recipe import Corpus, Source

DROPPED = "dropped.jsonl"
LISTED_TEMPLATES = 100
LOUD_SHARE = 0.5
"""A filter that removes more than this of a source is named on the terminal."""
TRAIN = "train"

Pieces = list[tuple[str, str]]
"""Splits, and the texts that go there."""


@dataclass(frozen=True)
class _Articles:
    """The articles of all parts, which can be iterated repeatedly."""

    corpus: Corpus
    sources: Sequence[ExtractedSource]
    directory: Path
    progress: Progress

    def filters(self, near: dict[int, int]) -> Filters:
        """The filters of a pass."""
        return Filters(self.corpus, near, self.parents)

    @cached_property
    def parents(self) -> dict[str, tuple[str, ...]]:
        """The parents of categories, if subcategories are requested."""
        if not self.corpus.include.depth:
            return {}
        total = Counts()
        for counts in self._counts():
            total.add(counts)
        return total.parents

    @cached_property
    def count(self) -> int:
        """Articles of all parts."""
        return sum(counts.articles for counts in self._counts())

    def _counts(self) -> Iterator[Counts]:
        for number, source in enumerate(self.sources):
            for name in parts.part_names(number, source):
                yield parts.read_counts(self.directory, name)

    def each(self, what: str, action: Callable[[Source, Article], None]) -> None:
        """Do `action` with each article in the order of the sources; `what` names it."""
        total = sum(file.parts for source in self.sources for file in source.files)
        with self.progress.bar(f"corpus: {what}", total, "parts") as bar:
            for number, source in enumerate(self.corpus.source):
                for name in parts.part_names(number, self.sources[number]):
                    for article in parts.read_articles(self.directory, name):
                        action(source, article)
                    bar.advance()


@dataclass
class _Assignment:
    """The state of the pass that writes."""

    corpus: Corpus
    filters: Filters
    splitter: Splitter
    held_out: HeldOut
    writers: dict[str, SplitWriter]
    log: IO[str]
    reasons: Counter[str] = field(default_factory=Counter)
    """Dropped articles by kind of reason."""
    kept: Counter[str] = field(default_factory=Counter)
    """Documents by source."""
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Dropped articles by source and kind of reason."""


def assign(
    corpus: Corpus,
    sources: Sequence[ExtractedSource],
    parts_directory: Path,
    directory: Path,
    progress: Progress,
) -> None:
    """Filter and split the articles extracted from the corpus's sources; write shards,
    `dropped.jsonl` and, last of all, `stats.json`.

    Raises `DataError` if a split stays empty, naming what would fill it.
    """
    articles = _Articles(corpus, sources, parts_directory, progress)
    near = _near_duplicates(articles)
    shares = _shares(articles, near)
    held_out = _held_out(articles, near, shares)
    with ExitStack() as stack:
        log = stack.enter_context(
            stack.enter_context(files.staged_file(directory / DROPPED)).open("w", encoding="utf-8")
        )
        writers = {split: stack.enter_context(SplitWriter(directory, split)) for split in SPLITS}
        filters = articles.filters(near)
        splitter = Splitter(corpus, shares)
        state = _Assignment(corpus, filters, splitter, held_out, writers, log)
        articles.each("assign", partial(_assign_article, state))
    _check_splits(state)
    _stats(state, sources, parts_directory).write(directory)
    _tell_unmatched(filters, progress)
    _tell_losses(state, progress)


def _near_duplicates(articles: _Articles) -> dict[int, int]:
    """Numbers of near duplicates, with those of the documents that they repeat."""
    threshold = articles.corpus.drop_near_duplicates
    if threshold == 0:
        return {}
    filters = articles.filters({})
    found = NearDuplicates(threshold)

    def take(source: Source, article: Article) -> None:
        if filters.reason(source.name, article) is None:
            found.add(filters.number, article.signature)

    articles.each("near duplicates", take)
    return found.find()


def _shares(articles: _Articles, near: dict[int, int]) -> tuple[float, float]:
    """The shares of valid and test: the recipe's, or those that suit a small corpus."""
    corpus = articles.corpus
    given = None not in (corpus.valid_share, corpus.test_share)
    if given or corpus.split != "hash" or articles.count >= MANY:
        return corpus.shares
    filters, splitter = articles.filters(near), Splitter(corpus, corpus.shares)
    fixed: Counter[str] = Counter()

    def take(source: Source, article: Article) -> None:
        if filters.reason(source.name, article) is None:
            splitter.pieces(source, article.id, article.text)
            fixed[source.split or ""] += 1

    articles.each("count documents", take)
    return shares_for(corpus, splitter.places, fixed)


def _held_out(articles: _Articles, near: dict[int, int], shares: tuple[float, float]) -> HeldOut:
    """The sentences of valid and test, or nothing if no filter needs them."""
    held_out = HeldOut(articles.corpus.drop_overlap)
    if articles.corpus.drop_overlap == 0:
        return held_out
    filters, splitter = articles.filters(near), Splitter(articles.corpus, shares)

    def take(source: Source, article: Article) -> None:
        if filters.reason(source.name, article) is None:
            for split, text in splitter.pieces(source, article.id, article.text):
                if split != TRAIN:
                    held_out.add(split, document_name(source.name, article.id), text)

    articles.each("sentences of valid and test", take)
    return held_out


def _assign_article(state: _Assignment, source: Source, article: Article) -> None:
    reason = state.filters.reason(source.name, article)
    pieces: Pieces = []
    if reason is None:
        pieces = state.splitter.pieces(source, article.id, article.text)
        reason = _reason_to_drop_pieces(state, pieces)
    if reason is not None:
        _drop(state, source, article, reason)
        return
    state.kept[source.name] += 1
    for split, text in pieces:
        state.writers[split].add(article.document(source.name, text))


def _reason_to_drop_pieces(state: _Assignment, pieces: Pieces) -> Reason | None:
    if not pieces:
        return Reason(NO_LINES)
    if state.corpus.drop_overlap == 0 or [split for split, _ in pieces] != [TRAIN]:
        return None  # a document that is cut between splits stays: dropping it would change them
    owner = state.held_out.overlapping(pieces[0][1])
    return Reason(f"{OVERLAPS} {owner.split}", owner.name) if owner else None


def _drop(state: _Assignment, source: Source, article: Article, reason: Reason) -> None:
    state.reasons[reason.kind] += 1
    state.lost[source.name, reason.kind] += 1
    row = {"source": source.name, "id": article.id, "title": article.title, "reason": str(reason)}
    state.log.write(json.dumps(row, ensure_ascii=False) + "\n")


def _tell_unmatched(filters: Filters, progress: Progress) -> None:
    unmatched = {f"exclude.{key}": names for key, names in filters.exclusions.unmatched().items()}
    unmatched["include.titles"] = filters.selection.unmatched()
    for key, entries in unmatched.items():
        if entries:
            progress.say(f"corpus.{key}: no article matched {', '.join(entries)}")


def _tell_losses(state: _Assignment, progress: Progress) -> None:
    """Name each filter that removed more than half of a source."""
    given = Counter(state.kept)
    for (source, _), count in state.lost.items():
        given[source] += count
    for (source, reason), count in state.lost.items():
        if reason != NOT_INCLUDED and count > given[source] * LOUD_SHARE:
            least = f"; min_characters = {state.corpus.min_characters}" if reason == SHORT else ""
            progress.say(f"{source}: {count:,} of {given[source]:,} left out: {reason}{least}")


# --- empty splits ---------------------------------------------------------------------------------


def _check_splits(state: _Assignment) -> None:
    """Training, validation and test all need documents: report every split that has none."""
    order = ("test", "valid", "train")  # in which the hashes are cut into splits
    empty = [split for split in order if state.writers[split].counts.documents == 0]
    if not empty:
        return
    documents = sum(writer.counts.documents for writer in state.writers.values())
    if documents < len(SPLITS):
        dropped = ", ".join(f"{reason} {n}" for reason, n in sorted(state.reasons.items()))
        raise TooLittleTextError(
            f"corpus: train, valid and test need a document each, and there are {documents} in all "
            f"(left out: {dropped or 'none'}); add documents, or loosen the filters in [corpus]"
        )
    advise = _lines_advice if state.corpus.split == "first-lines" else _share_advice
    advice = "; ".join(f"the {split} split is empty: {advise(state, split)}" for split in empty)
    raise TooLittleTextError(f"corpus: {advice} (documents in all: {documents})")


def _lines_advice(state: _Assignment, split: str) -> str:
    lines = state.splitter.first_lines.lines
    if split == "train":
        third = max(1, lines // 10)
        return (
            f"the documents have {lines} lines, and valid and test take the first "
            f"{state.corpus.valid_lines} and the next {state.corpus.test_lines}; set "
            "corpus.valid_lines "
            f"and corpus.test_lines to about {third} each"
        )
    if getattr(state.corpus, f"{split}_lines") == 0:
        return f"set corpus.{split}_lines to 1 or more"
    return f"set corpus.valid_lines below {lines}, the number of lines"


def _share_advice(state: _Assignment, split: str) -> str:
    """The share that would put at least one document into the split."""
    valid, test = state.splitter.shares
    if not state.splitter.places:
        return "every source has a fixed split; give this split to one, or free one from its split"
    if split == "train":
        return f"set corpus.valid_share and corpus.test_share, now {valid:g} and {test:g}, lower"
    if split == "test":
        return f"set corpus.test_share to {_share_above(min(state.splitter.places)):g} or more"
    start = max(test, _least_test_share(state))
    beyond = [place for place in state.splitter.places if place >= start]
    if not beyond:
        return f"set corpus.test_share, now {test:g}, lower"
    needed = _share_above(min(beyond) - start)
    if needed <= valid:
        return f"corpus.valid_share, {valid:g}, is enough with that test_share"
    return f"set corpus.valid_share to {needed:g} or more"


def _least_test_share(state: _Assignment) -> float:
    """The suggested test share if the test split is empty too; valid begins beyond it."""
    if state.writers["test"].counts.documents:
        return 0.0
    return _share_above(min(state.splitter.places))


def _share_above(value: float) -> float:
    """The next number above `value` with two significant digits."""
    digits = 1 - math.floor(math.log10(value)) if value > 0 else 6
    step = 10.0 ** -min(digits, 12)
    return round((math.floor(value / step) + 1) * step, min(digits, 12))


# --- statistics -----------------------------------------------------------------------------------


def _stats(state: _Assignment, sources: Sequence[ExtractedSource], directory: Path) -> CorpusStats:
    total = Counts()
    entries = []
    for number, (source, extracted) in enumerate(zip(state.corpus.source, sources, strict=True)):
        counts = Counts()
        for name in parts.part_names(number, extracted):
            counts.add(parts.read_counts(directory, name))
        total.add(counts)
        entries.append(_source_stats(source, extracted, counts, state.kept[source.name]))
    lengths = zip(*(writer.lengths for writer in state.writers.values()), strict=True)
    unmatched = state.filters.exclusions.unmatched()
    return CorpusStats(
        sources=tuple(entries),
        splits={split: writer.counts for split, writer in state.writers.items()},
        dropped=dict(sorted(state.reasons.items())),
        exclude_unmatched={key: tuple(names) for key, names in unmatched.items()},
        unknown_templates=parts.largest_losses(total, LISTED_TEMPLATES),
        lengths=LengthCounts(LENGTH_EDGES, tuple(sum(column) for column in lengths)),
        missing_values=parts.missing_values(total),
        include_unmatched=tuple(state.filters.selection.unmatched()),
    )


def _source_stats(
    source: Source, extracted: ExtractedSource, counts: Counts, kept: int
) -> SourceStats:
    return SourceStats(
        name=source.name,
        kind=source.kind,
        licence=source.licence,
        wiki=source.wiki or extracted.wiki,
        date=source.date,
        files=tuple(file.stats() for file in extracted.files),
        **counts.of_pages(),
        documents=kept,
    )
