"""Step 2: parts to the splits' shards, in the order of the sources.

What looks at texts runs as jobs, a part each: `judging`, `overlap`, and `writing` at the end, a
shard each. Between them stand decisions that compare documents. Equal texts and bands of signatures
are compared in jobs, too, by shares of their digests and keys; what is left to this process, which
goes through the documents in order, is a few numbers a document. The bytes are the same whatever
the number of workers.
"""

from __future__ import annotations

import json
import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import IO, Any

from jagpt import files
from jagpt.corpus import near_duplicates, parts, spill
from jagpt.corpus.documents import SPLITS
from jagpt.corpus.duplicates import duplicates_jobs
from jagpt.corpus.filters import (
    DUPLICATE,
    NEAR_DUPLICATE,
    NO_LINES,
    OVERLAPS,
    SHORT,
    Exclusions,
    Reason,
    document_name,
)
from jagpt.corpus.judging import Judged, JudgeJob, Met
from jagpt.corpus.overlap import HeldOut, OverlapJob, Owner, sentence_digests, sentences_of
from jagpt.corpus.parts import Counts, ExtractedSource, PartName
from jagpt.corpus.selection import NOT_INCLUDED, Selection, with_subcategories
from jagpt.corpus.shards import LENGTH_EDGES
from jagpt.corpus.splits import MANY, Piece, Splitter, shares_for
from jagpt.corpus.stats import CorpusStats, LengthCounts, SourceStats
from jagpt.corpus.writing import SplitPlan, piece_of
from jagpt.errors import DataError, TooLittleTextError
from jagpt.progress import Progress
from jagpt.recipe import Corpus, Source
from jagpt.workers import Workers

DROPPED = "dropped.jsonl"
LISTED_TEMPLATES = 100
LOUD_SHARE = 0.5
"""A filter that removes more than this of a source is named on the terminal."""
TRAIN = "train"
SPILLED = "assigning"
"""Where jobs leave what later ones need, below the parts; each attempt writes it again."""

Pool = Workers[Any, Any]


@dataclass(frozen=True)
class _Part:
    """A part that was judged, and the number of its first article."""

    name: PartName
    source: Source
    judged: Path
    first: int
    articles: int


@dataclass
class _Assignment:
    """What is known of all articles, and what became of them."""

    corpus: Corpus
    parts_directory: Path
    directory: Path
    progress: Progress
    pool: Pool
    exclusions: Exclusions
    selection: Selection
    parts: list[_Part] = field(default_factory=list)
    candidates: int = 0
    """Articles with nothing against them by themselves."""
    duplicates: array[int] = field(default_factory=lambda: array("Q"))
    """Their numbers, in order."""
    near: dict[int, int] = field(default_factory=dict)
    """Numbers of near duplicates, with those of the documents that they repeat."""
    shares: tuple[float, float] = (0.0, 0.0)
    """Of valid and test."""
    plans: dict[str, SplitPlan] = field(default_factory=dict)
    lines: int = 0
    """Lines dealt out to splits."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Dropped articles by kind of reason."""
    kept: Counter[str] = field(default_factory=Counter)
    """Documents by source."""
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Dropped articles by source and kind of reason."""

    @property
    def spilled(self) -> Path:
        return self.parts_directory / SPILLED

    @property
    def judged(self) -> list[tuple[Path, int]]:
        return [(part.judged, part.first) for part in self.parts]

    @cached_property
    def repeated(self) -> dict[int, str]:
        """The documents that near duplicates repeat, with their names once they came."""
        return dict.fromkeys(self.near.values(), "")


def assign(
    corpus: Corpus,
    sources: Sequence[ExtractedSource],
    parts_directory: Path,
    directory: Path,
    progress: Progress,
    workers: int = 1,
    executor: Executor | None = None,
) -> None:
    """Filter and split the articles extracted from the corpus's sources; write shards,
    `dropped.jsonl` and, last of all, `stats.json`.

    `executor` runs the jobs instead of `workers` processes (as many at a time). Raises `DataError`
    if a split stays empty, naming what would fill it.
    """
    files.remove(parts_directory / SPILLED)
    with Workers(_perform, workers, executor) as pool:
        categories = with_subcategories(corpus.include, _parents(corpus, sources, parts_directory))
        selection = Selection(corpus.include, categories)
        state = _Assignment(corpus, parts_directory, directory, progress, pool,
                            Exclusions(corpus.exclude), selection)  # fmt: skip
        _judge(state, sources, frozenset(categories))
        _find_duplicates(state)
        _find_near_duplicates(state)
        state.shares = _shares(state)
        held_out = _hold_out(state)
        _write(state, held_out)
        pool.finish()
    _check_splits(state)
    _stats(state, sources, parts_directory).write(directory)
    _tell_unmatched(state)
    _tell_losses(state, progress)


def _perform(job: Any) -> Any:
    return job.perform()


def _parents(
    corpus: Corpus, sources: Sequence[ExtractedSource], directory: Path
) -> dict[str, tuple[str, ...]]:
    """The categories of categories, where subcategories are asked for."""
    if not corpus.include.depth:
        return {}
    total = Counts()
    for number, source in enumerate(sources):
        for name in parts.part_names(number, source):
            total.add(parts.read_counts(directory, name))
    return total.parents


# --- what is known of all articles ----------------------------------------------------------------


def _judge(
    state: _Assignment, sources: Sequence[ExtractedSource], categories: frozenset[str]
) -> None:
    """Have each part judged."""
    jobs = [
        JudgeJob(state.parts_directory, name, source, state.corpus, categories,
                 state.spilled / str(name))
        for number, source in enumerate(state.corpus.source)
        for name in parts.part_names(number, sources[number])
    ]  # fmt: skip
    first = 0
    with state.progress.bar("corpus: filter", len(jobs), "parts") as bar:
        met: Met
        for job, met in zip(jobs, state.pool.results(jobs), strict=True):
            state.parts.append(_Part(job.name, job.source, job.target, first, met.articles))
            state.candidates += met.candidates
            state.exclusions.meet(met.excluded)
            state.selection.met.update(met.included)
            first += met.articles
            bar.advance()


def _find_duplicates(state: _Assignment) -> None:
    if state.corpus.drop_duplicates:
        jobs = duplicates_jobs(state.judged, state.candidates)
        found = [number for numbers in state.pool.results(jobs) for number in numbers]
        state.duplicates = array("Q", sorted(found))


def _find_near_duplicates(state: _Assignment) -> None:
    threshold = state.corpus.drop_near_duplicates
    if threshold == 0:
        return
    left_out = state.spilled / "duplicates"
    spill.write(left_out, {}, {"numbers": state.duplicates})
    jobs = list(near_duplicates.band_jobs(
        state.judged, state.candidates, threshold, left_out, state.spilled
    ))  # fmt: skip
    with state.progress.bar("corpus: near duplicates", len(jobs), "jobs") as bar:
        bands = []
        for band in state.pool.results(jobs):
            bands.append(band)
            bar.advance()
    state.near = near_duplicates.NearDuplicates(state.judged, threshold).find(bands)


def _shares(state: _Assignment) -> tuple[float, float]:
    """The shares of valid and test: the recipe's, or what a small corpus wants."""
    corpus = state.corpus
    given = None not in (corpus.valid_share, corpus.test_share)
    articles = sum(part.articles for part in state.parts)
    if given or corpus.split != "hash" or articles >= MANY:
        return corpus.shares
    places, fixed = _places(state)
    return shares_for(corpus, places, fixed)


@dataclass(frozen=True)
class _HeldOut:
    """The held-out documents that have sentences, and the table of those."""

    owners: Sequence[Owner]
    table: Path
    digest: str


def _hold_out(state: _Assignment) -> _HeldOut | None:
    """The sentences of valid and test; None if no filter asks for them."""
    if state.corpus.drop_overlap == 0:
        return None
    held_out, splitter = HeldOut(), Splitter(state.corpus, state.shares)
    for part in state.parts:
        judged = Judged(part.judged)
        wanted = {
            row: pieces
            for row, _, pieces in _decided(state, splitter, part, judged)
            if any(piece.split != TRAIN for piece in pieces)
        }
        for row, sentences in sentences_of(part.judged) if wanted else ():
            for piece in wanted.get(row, ()):
                if piece.split != TRAIN:
                    found = sentences if piece.is_whole else _sentences(state, part, row, piece)
                    name = document_name(part.source.name, judged.ids[row])
                    held_out.add(piece.split, name, found)
    table = state.spilled / "held-out"
    return _HeldOut(held_out.owners, table, held_out.write(table))


def _text(state: _Assignment, part: _Part, row: int, piece: Piece) -> str:
    """A piece of a document: there is one at each bound of the splits alone."""
    for number, article in enumerate(parts.read_articles(state.parts_directory, part.name)):
        if number == row:
            return piece_of(article.text, piece)
    raise DataError(f"{part.name.parquet(state.parts_directory)}: changed while it was read")


def _sentences(state: _Assignment, part: _Part, row: int, piece: Piece) -> dict[int, int]:
    return sentence_digests(_text(state, part, row, piece))


# --- the decision ---------------------------------------------------------------------------------


def _decided(
    state: _Assignment, splitter: Splitter, part: _Part, judged: Judged
) -> Iterator[tuple[int, Reason | None, list[Piece]]]:
    """Each article of a part: its row, why it is left out, and where it goes otherwise.

    To be called for each part in order: lines are dealt out, and repeated documents named.
    """
    start = bisect_left(state.duplicates, part.first)
    stop = bisect_left(state.duplicates, part.first + part.articles)
    duplicates = {number - part.first for number in state.duplicates[start:stop]}
    for row in range(part.articles):
        reason = judged.reasons.get(row)
        number = part.first + row
        if reason is None and row in duplicates:
            reason = Reason(DUPLICATE)
        if reason is None and number in state.near:
            reason = Reason(NEAR_DUPLICATE, f"of {state.repeated[state.near[number]]}")
        if reason is not None:
            yield row, reason, []
            continue
        if number in state.repeated:
            state.repeated[number] = document_name(part.source.name, judged.ids[row])
        place = judged.places[row] if judged.places else 0.0
        pieces = splitter.pieces(part.source, place, judged.lines[row] if judged.lines else 0)
        yield row, None if pieces else Reason(NO_LINES), pieces


def _write(state: _Assignment, held_out: _HeldOut | None) -> None:
    """Decide about each article, and have the shards written."""
    by_lines = state.corpus.split == "first-lines"
    for split in SPLITS:
        state.plans[split] = SplitPlan(state.parts_directory, state.directory, split, by_lines)
    splitter = Splitter(state.corpus, state.shares)
    overlaps: Iterator[dict[int, int]] = repeat({})
    if held_out is not None:
        overlaps = state.pool.results(_overlap_jobs(state, held_out))
    with ExitStack() as stack:
        staged = stack.enter_context(files.staged_file(state.directory / DROPPED))
        log = stack.enter_context(staged.open("w", encoding="utf-8"))
        bar = stack.enter_context(state.progress.bar("corpus: assign", len(state.parts), "parts"))
        for part, overlapping in zip(state.parts, overlaps, strict=False):
            judged = Judged(part.judged)
            for row, reason, pieces in _decided(state, splitter, part, judged):
                if row in overlapping and held_out is not None:
                    owner = held_out.owners[overlapping[row]]
                    reason = Reason(f"{OVERLAPS} {owner.split}", owner.name)
                if reason is None:
                    _keep(state, part, judged, row, pieces)
                else:
                    _drop(state, part, judged, row, reason, log)
            bar.advance()
        for plan in state.plans.values():
            _submit(state, plan.end())
    state.lines = splitter.first_lines.lines


def _overlap_jobs(state: _Assignment, held_out: _HeldOut) -> Iterator[OverlapJob]:
    """Documents of train are compared; one that is cut between splits stays, as dropping it would
    change them."""
    splitter = Splitter(state.corpus, state.shares)
    for part in state.parts:
        decided = _decided(state, splitter, part, Judged(part.judged))
        rows = array("Q", [
            row for row, _, pieces in decided if [piece.split for piece in pieces] == [TRAIN]
        ])  # fmt: skip
        yield OverlapJob(part.judged, rows, held_out.table, held_out.digest,
                         state.corpus.drop_overlap)  # fmt: skip


def _keep(
    state: _Assignment, part: _Part, judged: Judged, row: int, pieces: Sequence[Piece]
) -> None:
    state.kept[part.source.name] += 1
    for piece in pieces:
        characters, size = judged.characters[row], judged.bytes[row]
        if not piece.is_whole:
            text = _text(state, part, row, piece)
            characters, size = len(text), len(text.encode())
        plan = state.plans[piece.split]
        _submit(state, plan.add(part.name, part.source.name, row, piece, characters, size))


def _submit(state: _Assignment, job: Any) -> None:
    if job is not None:
        state.pool.submit(job)


def _drop(
    state: _Assignment, part: _Part, judged: Judged, row: int, reason: Reason, log: IO[str]
) -> None:
    source = part.source.name
    state.reasons[reason.kind] += 1
    state.lost[source, reason.kind] += 1
    line = {"source": source, "id": judged.ids[row], "title": judged.titles[row],
            "reason": str(reason)}  # fmt: skip
    log.write(json.dumps(line, ensure_ascii=False) + "\n")


def _tell_unmatched(state: _Assignment) -> None:
    unmatched = {f"exclude.{key}": names for key, names in state.exclusions.unmatched().items()}
    unmatched["include.titles"] = state.selection.unmatched()
    for key, entries in unmatched.items():
        if entries:
            state.progress.say(f"corpus.{key}: no article matched {', '.join(entries)}")


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
    empty = [split for split in order if state.plans[split].counts.documents == 0]
    if not empty:
        return
    documents = sum(plan.counts.documents for plan in state.plans.values())
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
    lines = state.lines
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
    valid, test = state.shares
    places, _ = _places(state)
    if not places:
        return "every source has a fixed split; give one to it, or take the fixed split from one"
    if split == "train":
        return f"set corpus.valid_share and corpus.test_share, now {valid:g} and {test:g}, lower"
    if split == "test":
        return f"set corpus.test_share to {_share_above(min(places)):g} or more"
    start = max(test, _least_test_share(state))
    beyond = [place for place in places if place >= start]
    if not beyond:
        return f"set corpus.test_share, now {test:g}, lower"
    needed = _share_above(min(beyond) - start)
    if needed <= valid:
        return f"corpus.valid_share, {valid:g}, is enough with that test_share"
    return f"set corpus.valid_share to {needed:g} or more"


def _least_test_share(state: _Assignment) -> float:
    """The test share that is advised where the test split is empty too; valid begins beyond it."""
    if state.plans["test"].counts.documents:
        return 0.0
    return _share_above(min(_places(state)[0]))


def _places(state: _Assignment) -> tuple[array[float], Counter[str]]:
    """The hashes of the documents that the shares split; how many sources put into each split."""
    splitter, places = Splitter(state.corpus, state.shares), array("d")
    fixed: Counter[str] = Counter()
    for part in state.parts:
        judged = Judged(part.judged)
        for row, reason, _ in _decided(state, splitter, part, judged):
            if reason is None and part.source.split:
                fixed[part.source.split] += 1
            elif reason is None:
                places.append(judged.places[row])
    return places, fixed


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
    lengths = zip(*(plan.lengths for plan in state.plans.values()), strict=True)
    unmatched = state.exclusions.unmatched()
    return CorpusStats(
        sources=tuple(entries),
        splits={split: plan.counts for split, plan in state.plans.items()},
        dropped=dict(sorted(state.reasons.items())),
        exclude_unmatched={key: tuple(names) for key, names in unmatched.items()},
        unknown_templates=parts.largest_losses(total, LISTED_TEMPLATES),
        lengths=LengthCounts(LENGTH_EDGES, tuple(sum(column) for column in lengths)),
        missing_values=parts.missing_values(total),
        include_unmatched=tuple(state.selection.unmatched()),
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
