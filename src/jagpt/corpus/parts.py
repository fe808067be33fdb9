"""Parts: what extraction leaves for assignment, each a Parquet file and a small JSON beside it.

A part holds the articles of one batch in the dump's order: those with text, and those without, with
the problem that prevented it. The JSON is written last and marks the part as complete. Parts are
named by source, file and number; `index.json` completes the extraction.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.compressed import Losses
from jagpt.corpus.documents import Article
from jagpt.corpus.parquet import BUFFER_BYTES, arrow_path
from jagpt.corpus.shards import read_rows
from jagpt.corpus.stats import InputFile, MissingValues, UnknownTemplate
from jagpt.errors import DataError
from jagpt.records import Count, Record, Sha256, optional, remake
from jagpt.text import one_line

INDEX = "index.json"
GROUP_ARTICLES = 256
"""Articles held in memory at a time …"""
GROUP_CHARACTERS = 1024 * 1024
"""… or this many characters of text."""
MOST_TEMPLATES = 50_000
"""Names of unknown templates to count; beyond twice as many, the rarest are dropped."""

_FIELDS = tuple(field.name for field in fields(Article))
_ODD = ("digest", "categories", "signature")


@dataclass
class Counts:
    """What a part or a source had besides its articles; template → (characters lost, articles)."""

    pages: Count = 0
    redirects: Count = 0
    other_namespaces: Count = 0
    articles: Count = 0
    cut_places: Count = 0
    """Brackets, clauses and sentences that depended on a value which is not in the dump …"""
    cut_characters: Count = 0
    """… and their characters."""
    unknown_templates: dict[str, tuple[Count, Count]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = optional(dict)
    """The categories of the Category pages, if subcategories are requested."""

    def of_pages(self) -> dict[str, int]:
        """For `stats.json`: pages by kind."""
        names = ("pages", "redirects", "other_namespaces", "articles")
        return {name: getattr(self, name) for name in names}

    def add(self, other: Counts) -> None:
        self.pages += other.pages
        self.redirects += other.redirects
        self.other_namespaces += other.other_namespaces
        self.articles += other.articles
        self.cut_places += other.cut_places
        self.cut_characters += other.cut_characters
        for name, (characters, articles) in other.unknown_templates.items():
            self.lose(name, characters, articles)
        self.parents.update(other.parents)

    def lose(self, template: str, characters: int, articles: int = 1) -> None:
        """Record characters of wikitext lost to a template without a rule."""
        before = self.unknown_templates.get(template, (0, 0))
        self.unknown_templates[template] = (before[0] + characters, before[1] + articles)
        if len(self.unknown_templates) > 2 * MOST_TEMPLATES:
            self.unknown_templates = dict(self.most_lost()[:MOST_TEMPLATES])

    def most_lost(self) -> list[tuple[str, tuple[int, int]]]:
        """The unknown templates, most characters first."""
        return sorted(self.unknown_templates.items(), key=lambda item: (-item[1][0], item[0]))


@dataclass
class RangeFacts:
    """What a range of streams held: pages, streams, bytes of XML; what its pages contradict in
    the dump's index."""

    pages: int = 0
    streams: int = 0
    xml_bytes: int = 0
    against_index: str | None = None


@dataclass(frozen=True)
class PartName:
    """Where a part belongs: numbers from 0."""

    source: int
    file: int
    number: int

    def parquet(self, directory: Path) -> Path:
        return directory / f"{self}.parquet"

    def json(self, directory: Path) -> Path:
        return directory / f"{self}.json"

    def __str__(self) -> str:
        return f"{self.source:03d}-{self.file:05d}-{self.number:06d}"


@dataclass(frozen=True)
class ExtractedFile:
    """A file that was read to its end: base name, size in bytes, hex SHA-256, number of parts, what
    was skipped as damaged."""

    name: str
    size: Count
    sha256: Sha256
    parts: Count
    lost: Losses | None = None

    def stats(self) -> InputFile:
        """For `stats.json`; without the name, which is not in the fingerprint."""
        return InputFile(self.size, self.sha256, self.lost or None)


@dataclass(frozen=True)
class ExtractedSource:
    """A source that was read to its end; `wiki` is the database name that its dump states."""

    wiki: str | None
    files: tuple[ExtractedFile, ...]


@dataclass(frozen=True)
class ExtractedSources(Record):
    """`index.json`, which completes the extraction."""

    FILE = INDEX
    KIND = "index of parts"
    REMEDY = remake("corpus")

    sources: tuple[ExtractedSource, ...]


@dataclass(frozen=True)
class Part(Record):
    """The JSON next to a part: the batch that it was made from, and what that contained."""

    KIND = "record of a part"
    REMEDY = remake("corpus")

    digest: str
    range: RangeFacts | None
    counts: Counts


def digest_of(pieces: Sequence[bytes]) -> str:
    """Hex BLAKE2b-128 of a batch, to tell whether a part was made from it."""
    state = hashlib.blake2b(digest_size=16)
    for piece in pieces:
        state.update(len(piece).to_bytes(8, "little"))
        state.update(piece)
    return state.hexdigest()


# --- one part -------------------------------------------------------------------------------------


def write_part(
    directory: Path,
    name: PartName,
    digest: str,
    articles: Iterable[Article],
    counts: Counts,
    facts: RangeFacts | None = None,
) -> None:
    """Write a part; it counts as complete once its JSON is there.

    `counts` and `facts` are read after all articles.
    """
    import pyarrow.parquet as pq

    schema = _schema()
    files.remove(name.json(directory))  # it would vouch for whatever replaces its part
    with (
        files.staged_file(name.parquet(directory)) as staged,
        pq.ParquetWriter(arrow_path(staged), schema, compression="lz4", use_dictionary=False,
                         write_statistics=False) as writer,
    ):  # fmt: skip
        for group in groups(articles, GROUP_ARTICLES, GROUP_CHARACTERS):
            writer.write_table(_table(group, schema))
    _release_memory()
    files.write_json(name.json(directory), Part(digest, facts, counts).as_json())


def groups(
    articles: Iterable[Article], most: int | None, characters: int
) -> Iterator[list[Article]]:
    """The articles in order, in groups that end with article number `most` (if given) or with the
    one that makes them as long as `characters`."""
    group: list[Article] = []
    size = 0
    for article in articles:
        group.append(article)
        size += len(article.text)
        if len(group) == most or size >= characters:
            yield group
            group, size = [], 0
    if group:
        yield group


def _release_memory() -> None:
    """Arrow's allocator otherwise keeps what the largest parts took, and more with each part."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def _table(articles: Sequence[Article], schema: Any) -> Any:
    import pyarrow as pa

    columns = {name: [getattr(article, name) for article in articles] for name in _FIELDS}
    return pa.Table.from_pydict(columns, schema=schema)


def is_whole(directory: Path, name: PartName, digest: str) -> bool:
    """Whether the part already exists, made from the batch with that digest."""
    try:
        return name.json(directory).exists() and _read(directory, name).digest == digest
    except DataError:
        return False  # it is made again


def read_articles(directory: Path, name: PartName) -> Iterator[Article]:
    """The articles of a part, in order."""
    for row in read_rows(name.parquet(directory), _FIELDS, _ODD):
        yield Article(**row)
    _release_memory()


def read_rows_at(
    directory: Path, name: PartName, columns: Sequence[str], rows: array[int]
) -> Iterator[dict[str, Any]]:
    """Columns of the rows at these places, which ascend, as Arrow's arrays, a row group at a time.

    For parts that `read_articles` has read before: its checks are not made again.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, done = name.parquet(directory), 0
    try:
        with pq.ParquetFile(
            arrow_path(path), buffer_size=BUFFER_BYTES, pre_buffer=False
        ) as parquet:
            for group in range(parquet.num_row_groups):
                stop = done + parquet.metadata.row_group(group).num_rows
                wanted = rows[bisect_left(rows, done) : bisect_left(rows, stop)]
                if wanted:
                    table = parquet.read_row_group(group, list(columns), use_threads=False)
                    taken = table.take(pa.array([row - done for row in wanted], pa.int64()))
                    yield {column: taken[column].combine_chunks() for column in columns}
                done = stop
    except pa.ArrowException as error:
        raise DataError(f"{path}: this shard is damaged ({one_line(str(error))}); run "
                        "the corpus stage again") from None  # fmt: skip
    _release_memory()


def read_facts(directory: Path, name: PartName) -> RangeFacts:
    """What was read of the range that the part was made from."""
    facts = _read(directory, name).range
    if facts is None:
        raise DataError(f"{name.json(directory)}: this part records no range; {Part.REMEDY}")
    return facts


def read_counts(directory: Path, name: PartName) -> Counts:
    """The counts of a part."""
    return _read(directory, name).counts


def _read(directory: Path, name: PartName) -> Part:
    return Part.read_file(name.json(directory))


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("title", pa.string(), nullable=False),
            pa.field("url", pa.string()),
            pa.field("revision", pa.int64()),
            pa.field("text", pa.string(), nullable=False),
            pa.field("problem", pa.string()),
            pa.field("disambiguation", pa.bool_(), nullable=False),
            pa.field("list_only", pa.bool_(), nullable=False),
            pa.field("japanese_share", pa.float64()),
            pa.field("digest", pa.binary(), nullable=False),
            pa.field("categories", pa.list_(pa.string()), nullable=False),
            pa.field("signature", pa.binary(), nullable=False),
        ]
    )


# --- all of them ----------------------------------------------------------------------------------


def write_index(directory: Path, sources: Sequence[ExtractedSource]) -> None:
    """Complete the extraction."""
    ExtractedSources(tuple(sources)).write(directory)


def read_index(directory: Path, sources: int) -> list[ExtractedSource] | None:
    """What was extracted from this many sources; None if extraction is not finished."""
    index = ExtractedSources.find(directory)
    if index is not None and len(index.sources) != sources:
        raise DataError(
            f"{directory / INDEX}: lists {len(index.sources)} sources, but the recipe has "
            f"{sources}; {index.REMEDY}"
        )
    return None if index is None else list(index.sources)


def part_names(source: int, extracted: ExtractedSource) -> Iterator[PartName]:
    """The parts of a source, in the order of its documents."""
    for number, file in enumerate(extracted.files):
        for part in range(file.parts):
            yield PartName(source, number, part)


def missing_values(counts: Counts) -> MissingValues:
    """What was removed with values that are not in the dump, for `stats.json`."""
    return MissingValues(counts.cut_places, counts.cut_characters)


def largest_losses(counts: Counts, limit: int) -> tuple[UnknownTemplate, ...]:
    """The templates to which most characters were lost, in descending order."""
    return tuple(
        UnknownTemplate(name, articles, characters)
        for name, (characters, articles) in counts.most_lost()[:limit]
    )
