"""Step 1: sources to parts of articles, in the order of the files.

A multistream dump is cut into ranges of streams, which the workers read themselves from the file.
Any other file is read by this process, which cuts it into batches of pages or documents. Each range
or batch becomes a part; its bounds depend only on the file, not on the workers. Complete parts
are not made again.

A worker's result for its range counts only once all ranges before it are known to be clean. At
the first one that is not, this process itself reads on from there to the end: it either reports
what is damaged, or finds that nothing is (pages may span streams), or skips what is (see
`skip_damaged`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from jagpt import files, units
from jagpt.compressed import Losses, Reader
from jagpt.corpus import parts
from jagpt.corpus.cleaning import Profile, profile_at
from jagpt.corpus.dump import Dump, Header, Place
from jagpt.corpus.jobs import Batch, PartJob, RangeJob, make_part
from jagpt.corpus.parts import Counts, ExtractedFile, ExtractedSource, PartName, RangeFacts
from jagpt.corpus.readers import Documents, readers_of
from jagpt.corpus.sources import source_files
from jagpt.corpus.streams import (
    Beginning,
    Range,
    Ranges,
    beginning,
    index_beside,
    ranges_of_titles,
)
from jagpt.errors import DataError
from jagpt.progress import Bar, Progress
from jagpt.recipe import Corpus, Source
from jagpt.text import shown
from jagpt.workers import Workers

PART_PAGES = 20_000
"""A batch holds at most this many pages …"""
PART_BYTES = 8 * 1024 * 1024
"""… and ends with the page that reaches this many bytes (a document: characters)."""
KILOBYTE = 1000

T = TypeVar("T")
Pool = Workers[PartJob | RangeJob, RangeFacts | None]
Ready = Callable[[PartName], None]


def convert(
    corpus: Corpus,
    directory: Path,
    workers: int,
    progress: Progress,
    executor: Executor | None = None,
    ready: Ready | None = None,
) -> list[ExtractedSource]:
    """Make the parts of all sources in `directory`; returns the index that completes them.

    `executor` runs the jobs instead of `workers` processes (as many at a time). `ready` is called,
    while workers continue, with the first parts in order, each once it is complete and everything
    before it is known to be clean; it need not be called for all, and the file may turn out to be
    damaged afterwards. Raises `DataError` if a file is missing, damaged or of another kind, or a
    source has no articles. Finished parts stay, whatever happens.
    """
    places = [source_files(source) for source in corpus.source]
    total = sum(path.stat().st_size for paths in places for path in paths) // KILOBYTE
    with (
        progress.bar("corpus: extract", total, "kB") as bar,
        Workers(make_part, workers, executor) as pool,
    ):
        profile = profile_at(corpus.hojichar)
        extraction = _Extraction(corpus, profile, directory, pool, bar, progress, ready)
        extracted = [
            extraction.source(number, source, paths)
            for number, (source, paths) in enumerate(zip(corpus.source, places, strict=True))
        ]
        pool.finish()
    for number, paths in enumerate(places):
        _check_articles(corpus, directory, number, paths, extracted[number])
    parts.write_index(directory, extracted)
    return extracted


@dataclass
class _File:
    """A file being read: its place among the sources, and the parts begun."""

    path: Path
    source: int
    number: int
    parts: int = 0
    before: int = 0
    """Kilobytes of the files before it."""

    @property
    def name(self) -> str:
        """Its name as text, which a file name need not be."""
        return shown(self.path.name)

    def next_part(self) -> PartName:
        name = PartName(self.source, self.number, self.parts)
        self.parts += 1
        return name


@dataclass
class _Streams:
    """A multistream dump being read: where the ranges known to be clean end."""

    ranges: Ranges
    place: Place
    streams: int = 1
    taken: deque[tuple[PartName, Range]] = field(default_factory=deque)
    """Ranges given to workers, and the parts that they become."""

    def add(self, facts: RangeFacts) -> None:
        pages, offset = self.place.pages + facts.pages, self.place.offset + facts.xml_bytes
        self.place = Place(self.place.header, pages, offset)
        self.streams += facts.streams


@dataclass
class _Extraction:
    """What all files have in common."""

    corpus: Corpus
    profile: Profile
    directory: Path
    pool: Pool
    bar: Bar
    progress: Progress
    ready: Ready | None
    """None from the first part that is not made in order."""

    def source(self, number: int, source: Source, paths: Sequence[Path]) -> ExtractedSource:
        """Read a source's files."""
        wiki, extracted = None, []
        for file_number, reader in enumerate(readers_of(source, paths)):
            file = _File(reader.path, number, file_number, before=self.bar.done)
            if isinstance(reader, Reader):
                found, dbname = self._dump(file)
                wiki = wiki or dbname
            else:
                found = self._documents(file, reader)
            self._show(file, found.size)
            extracted.append(found)
        return ExtractedSource(wiki, tuple(extracted))

    def _documents(self, file: _File, documents: Documents) -> ExtractedFile:
        for group in _grouped((document, document.characters) for document in documents):
            self._submit(file, Batch(None, documents=group))
            self._show(file, documents.offset)
        return ExtractedFile(file.name, documents.offset, documents.sha256, file.parts)

    def _dump(self, file: _File) -> tuple[ExtractedFile, str | None]:
        """With the database name that the dump states."""
        first = beginning(file.path)
        if first is not None:
            found = self._chosen_streams(file, first) or self._streams(file, first)
            return found, first.place.header.dbname
        with closing(Reader(file.path, skip_damaged=self.corpus.skip_damaged)) as reader:
            dump = Dump(reader)
            self._pages(file, dump)
        found = ExtractedFile(file.name, reader.offset, reader.sha256, file.parts,
                              reader.losses or None)  # fmt: skip
        return found, dump.header.dbname

    def _pages(self, file: _File, dump: Dump) -> None:
        """Read a dump in this process."""
        for pages in _grouped((page, len(page.xml)) for page in dump):
            self._submit(file, Batch(dump.header, pages=pages))
            self._show(file, dump.reader.offset)
        if losses := dump.reader.losses:
            self.progress.say(_left_out(file.path, losses))

    def _submit(self, file: _File, batch: Batch) -> None:
        name, digest = file.next_part(), batch.digest
        job = PartJob(self.directory, name, digest, batch, self.corpus, self.profile)
        self.ready = None
        if not parts.is_whole(self.directory, job.name, job.digest):
            self.pool.submit(job)

    def _show(self, file: _File, offset: int) -> None:
        self.bar.update(file.before + offset // KILOBYTE)

    # --- multistream ---

    def _streams(self, file: _File, first: Beginning) -> ExtractedFile:
        """Have the workers read a dump's streams."""
        # when damage is skipped, pages that the index lists may be missing
        index = None if self.corpus.skip_damaged else index_beside(file.path)
        state = _Streams(Ranges(file.path, first.size, index), first.place)
        with closing(self.pool.results(self._range_jobs(file, state))) as results:
            for facts in results:
                name, streams = state.taken.popleft()
                if facts is None:
                    break
                _check_index(index, file.path, streams, facts)
                state.add(facts)
                self._show(file, streams.end)
                if self.ready is not None:
                    self.ready(name)
            else:
                ranges = state.ranges
                if ranges.size != streams.end:
                    raise DataError(f"{file.path}: changed while it was being read; run again")
                return ExtractedFile(file.name, ranges.size, ranges.sha256, file.parts)
        file.parts -= 1 + len(state.taken)
        return self._read_on(file, state, streams, index)

    def _chosen_streams(self, file: _File, first: Beginning) -> ExtractedFile | None:
        """Have the workers read only the streams that hold the requested titles.

        None if not only titles are requested, or no valid index lists them.
        """
        index = index_beside(file.path)
        if index is None or not self.corpus.include.titles_only:
            return None
        titles = self.corpus.include.titles
        ranges = ranges_of_titles(file.path, first.size, index, titles)
        if ranges is None:
            return None
        self.ready = None  # not all of the file's parts are made
        header = first.place.header
        jobs = (self._range_job(file.next_part(), file.path, header, streams) for streams in ranges)
        with closing(self.pool.results(jobs)) as results:
            if any(facts is None or facts.against_index for facts in results):
                file.parts = 0
                return None
        size = file.path.stat().st_size
        return ExtractedFile(file.name, size, files.sha256(file.path), file.parts)

    def _range_jobs(self, file: _File, state: _Streams) -> Iterator[RangeJob]:
        header = state.place.header
        for streams in state.ranges:
            name = file.next_part()
            state.taken.append((name, streams))
            yield self._range_job(name, file.path, header, streams)

    def _range_job(self, name: PartName, path: Path, header: Header, streams: Range) -> RangeJob:
        return RangeJob(self.directory, name, path, header, streams, self.corpus, self.profile)

    def _read_on(
        self, file: _File, state: _Streams, streams: Range, index: Path | None
    ) -> ExtractedFile:
        """Read a dump from the first range that is not clean."""
        skip = self.corpus.skip_damaged
        reader = Reader(file.path, start=streams.start, streams=state.streams, skip_damaged=skip)
        with closing(reader):
            self._pages(file, Dump(reader, state.place))
        _check_index(index, file.path, streams, RangeFacts())
        whole = files.sha256(file.path)
        return ExtractedFile(file.name, reader.offset, whole, file.parts,
                             reader.losses or None)  # fmt: skip


def _check_index(index: Path | None, path: Path, streams: Range, facts: RangeFacts) -> None:
    """Either the index is wrong, or pages are missing from the dump: it is unclear which."""
    problem = streams.problem
    if problem is None and facts.against_index:
        problem = f"{index}: between bytes {streams.start} and {streams.end} of the dump, "
        problem += facts.against_index
    if problem:
        raise DataError(
            f"{problem}; this index does not match {path.name}: download both again, or remove the "
            "index to read what is in the dump"
        )


def _left_out(path: Path, losses: Losses) -> str:
    what = []
    if losses.streams:
        what.append(
            f"{units.counted(losses.streams, 'damaged stream')}, "
            f"{units.counted(losses.stream_bytes, 'byte')} of the file"
        )
    if losses.between_pages:
        what.append(
            f"{units.counted(losses.xml_bytes, 'byte')} of XML that are not a complete page, at "
            f"{units.counted(losses.between_pages, 'place')}"
        )
    return f"{path.name}: skipped as damaged: {'; '.join(what)} (where: stats.json)"


def _grouped(items: Iterable[tuple[T, int]]) -> Iterator[list[T]]:
    """Items with their sizes, grouped within the limits of a part."""
    group: list[T] = []
    size = 0
    for item, item_size in items:
        group.append(item)
        size += item_size
        if len(group) >= PART_PAGES or size >= PART_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _check_articles(
    corpus: Corpus,
    directory: Path,
    number: int,
    paths: Sequence[Path],
    extracted: ExtractedSource,
) -> None:
    """A source without any article is an error, whatever the others contain."""
    source = corpus.source[number]
    counts = Counts()
    for name in parts.part_names(number, extracted):
        counts.add(parts.read_counts(directory, name))
    if counts.articles:
        return
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    place = f"{paths[0]}{more}" if paths else source.dataset
    if corpus.include.titles_only:
        raise DataError(f"{place}: no page has a requested title")
    if source.kind not in ("dump", "cirrus"):
        raise DataError(f"{place}: no text in it")
    raise DataError(
        f"{place}: no articles in it ({units.counted(counts.pages, 'page')}, of them "
        f"{units.counted(counts.redirects, 'redirect')} and {counts.other_namespaces:,} in other "
        "namespaces)"
    )
