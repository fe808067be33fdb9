"""The jobs of extraction: each makes one part and is self-contained.

They run in this process, in others or on other machines. A batch carries its pages; a range names
streams of a dump that the worker reads itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from jagpt.compressed import Reader
from jagpt.corpus import parts
from jagpt.corpus.articles import cleaned_articles, document_articles, page_articles
from jagpt.corpus.cleaning import Profile
from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.dump import Dump, Header, Page, Place, RawPage, parse_page
from jagpt.corpus.parts import Counts, PartName, RangeFacts
from jagpt.corpus.streams import Range
from jagpt.errors import DataError
from jagpt.recipe import Corpus


@dataclass(frozen=True)
class Batch:
    """Pages of a dump (with its header) or documents of another source, for one part."""

    header: Header | None
    pages: Sequence[RawPage] = ()
    documents: Sequence[SourceDocument] = ()

    @property
    def digest(self) -> str:
        texts = [document.packed() for document in self.documents]
        return parts.digest_of([repr(self.header).encode(), *(p.xml for p in self.pages), *texts])


@dataclass(frozen=True)
class PartJob:
    """A part to make from a batch; its result goes to `directory`."""

    directory: Path
    name: PartName
    digest: str
    batch: Batch
    corpus: Corpus
    profile: Profile = ()


@dataclass(frozen=True)
class RangeJob:
    """A part to make from the dump's streams in `range`."""

    directory: Path
    name: PartName
    path: Path
    header: Header
    range: Range
    corpus: Corpus
    profile: Profile = ()

    @property
    def digest(self) -> str:
        """Identifies the part's content without reading its pages."""
        ids = b"" if self.range.ids is None else self.range.ids.tobytes()
        facts = (self.header, self.range.start, self.range.end, self.range.sha256, self.range.last)
        return parts.digest_of([repr(facts).encode(), ids])


def make_part(job: PartJob | RangeJob) -> RangeFacts | None:
    """Make a part. For a range, returns what was read; an existing part is not made again.

    None if a range is not clean: its streams do not end where it ends, or are damaged, or it is
    cut within a page, or `</mediawiki>` is not at the dump's end. No part is left then; only a
    reader that comes from the ranges before can tell what is wrong, if anything.
    """
    if isinstance(job, PartJob):
        _make_batch(job)
        return None
    if parts.is_whole(job.directory, job.name, job.digest):
        return parts.read_facts(job.directory, job.name)
    try:
        return _make_range(job)
    except DataError:
        return None


def _make_batch(job: PartJob) -> None:
    counts, header = Counts(), job.batch.header
    if header is not None:
        pages = (parse_page(raw, header) for raw in job.batch.pages)
        articles = page_articles(header, pages, job.corpus, counts)
    else:
        articles = document_articles(job.batch.documents, job.corpus, counts)
    articles = cleaned_articles(articles, job.corpus, job.profile)
    parts.write_part(job.directory, job.name, job.digest, articles, counts)


def _make_range(job: RangeJob) -> RangeFacts:
    counts, facts = Counts(), RangeFacts()
    with closing(Reader(job.path, start=job.range.start, end=job.range.end)) as reader:
        pages = _range_pages(job, reader, facts)
        articles = page_articles(job.header, pages, job.corpus, counts)
        articles = cleaned_articles(articles, job.corpus, job.profile)
        parts.write_part(job.directory, job.name, job.digest, articles, counts, facts)
    return facts


def _range_pages(job: RangeJob, reader: Reader, facts: RangeFacts) -> Iterator[Page]:
    """The range's pages, then its `facts`. Raises `DataError` if it is not clean."""
    streams = job.range
    dump = Dump(reader, Place(job.header, 0, 0), piece=True)
    ids: list[str] = []
    for raw in dump:
        page = parse_page(raw, job.header)
        ids.append(page.id)
        yield page
    if dump.closed != streams.last or reader.sha256 != streams.sha256:
        raise DataError(f"{job.path}: bytes {streams.start} to {streams.end} are not clean")
    facts.pages, facts.streams, facts.xml_bytes = dump.pages, reader.streams, dump.place.offset
    if streams.ids is not None:
        facts.against_index = _against_index(ids, streams.ids)


def _against_index(found: Sequence[str], listed: array[int]) -> str | None:
    """The first difference between the pages found and listed; a page without an id matches any."""
    for page, number in zip(found, listed, strict=False):
        if page not in ("", str(number)):
            return f"found page {page} where the index has page {number}"
    if len(found) < len(listed):
        return f"page {listed[len(found)]} of the index is missing"
    if len(found) > len(listed):
        return f"page {found[len(listed)]} is not in the index"
    return None
