"""Only documents: what `jagpt extract` makes from a dump or from pages of wikitext, without splits.

The folder holds `documents.jsonl`, `documents.txt` or `documents-NNNNN.parquet`, `stats.json`, and
a manifest, as a stage of a run does. While the work is in progress, everything is written in
`parts/`, next to what is already converted.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, Protocol

from pydantic import ValidationError

from jagpt import __version__, files, manifests
from jagpt.corpus import parts
from jagpt.corpus.convert import convert
from jagpt.corpus.documents import COLUMNS, Article, Document
from jagpt.corpus.filters import Filters
from jagpt.corpus.parts import Counts, ExtractedSource, PartName
from jagpt.corpus.selection import NOT_INCLUDED, normal
from jagpt.corpus.shards import SplitWriter
from jagpt.corpus.sources import source_files
from jagpt.corpus.stats import ExtractionStats, LeftOutPage, SplitCounts
from jagpt.errors import DataError, UsageError
from jagpt.manifests import Manifest
from jagpt.progress import Progress
from jagpt.recipe import SAMPLE, Corpus, Source
from jagpt.text import shortened

Kind = Literal["dump", "wikitext"]
Format = Literal["parquet", "jsonl", "txt"]

STAGE, VERSION = "extract", 1
WORK = "parts"
NAME = "documents"
WRITE_BYTES = 1024 * 1024
LISTED_PAGES = 1_000
LISTED_TEMPLATES = 100
_DOCUMENTS = (f"{NAME}.jsonl", f"{NAME}.txt", f"{NAME}-[0-9]*.parquet")
_OPTIONS = (
    "markup",
    "headings",
    "closing_sections",
    "citations",
    "captions",
    "math",
    "skip_damaged",
)
_KEYS = tuple(name for name in COLUMNS if name != "source")
"""The fields of a document's JSON line."""
_UNFILTERED = {
    "min_characters": 0,
    "min_japanese_share": 0.0,
    "drop_disambiguation": False,
    "drop_list_pages": False,
    "drop_duplicates": False,
}


class Dump(NamedTuple):
    """A wiki's dump in the cache."""

    wiki: str
    date: str


@dataclass(frozen=True)
class Request:
    """What to extract and how; `corpus` has one source."""

    corpus: Corpus
    format: Format
    filters: bool

    @property
    def source(self) -> Source:
        return self.corpus.source[0]

    def manifest(self, inputs: Iterable[str] = ()) -> Manifest:
        """What is to be made, from files with these SHA-256 sums."""
        section = {"extraction": self.summary()}
        digests = {f"file {number}": digest for number, digest in enumerate(inputs)}
        fingerprint = files.fingerprint_of([STAGE, VERSION, section, digests])
        return Manifest(STAGE, VERSION, fingerprint, section, digests)

    def summary(self) -> dict[str, Any]:
        """Everything besides the input that decides the result, as plain JSON values."""
        kept = {name: getattr(self.corpus, name) for name in _OPTIONS}
        head: dict[str, Any] = {
            "jagpt": __version__,
            "from": self.source.kind,
            "format": self.format,
        }
        if titles := self.corpus.include.titles:
            head["titles"] = list(titles)
        return {**head, "filters": self.filters, **kept, "tables": self.corpus.keeps_tables}


def request(
    place: str | Dump,
    kind: Kind,
    form: Format,
    *,
    filters: bool = False,
    titles: Sequence[str] = (),
    **options: Any,
) -> Request:
    """A request for the file (or files, by a glob pattern) at `place`, or a dump in the cache.

    With `titles`, only these articles are read. `options` are `markup`, `headings`,
    `closing_sections`, `citations`, `tables`, `captions`, `math` and `skip_damaged`, as in a
    recipe's `[corpus]`. With `filters`, its default filters apply; without, only what cannot be
    read is left out. Raises `UsageError` for a value that a recipe would not take.
    """
    # near duplicates and overlaps concern splits and sources, which do not exist here
    settings: dict[str, Any] = {"drop_near_duplicates": 0.0, "drop_overlap": 0.0, **options}
    settings["include"] = {"titles": tuple(titles)}
    if not filters:
        settings |= _UNFILTERED
    try:
        if isinstance(place, str):
            source = Source.model_validate({"name": kind, "kind": kind, "path": place})
        else:
            source = dump_source(place)
        corpus = Corpus.model_validate({"source": (source,), **settings})
    except ValidationError as error:
        (first, *_) = error.errors()
        raise UsageError(f"{shortened(str(first['input']), 60)}: {first['msg']}") from None
    return Request(corpus, form, filters)


def dump_source(dump: Dump) -> Source:
    """The source for a dump in the cache."""
    return Source.model_validate({"name": "dump", "kind": "dump", **dump._asdict()})


def extract_documents(
    wanted: Request, output: Path, workers: int, progress: Progress, *, force: bool = False
) -> ExtractionStats:
    """Make the documents in `output`, or continue an unfinished extraction; returns the contents of
    `stats.json`.

    A finished extraction of the same input and options is left as it is; a different one is
    replaced only with `force`, and stays until the new one is done. Raises `UsageError` if there is
    something else at `output`, `DataError` if an input is missing, damaged or without articles.
    """
    paths = _inputs(wanted.source)
    _refuse_foreign(output)
    with files.locked(output):
        files.remove_leftovers(output)
        if force or not _is_done(wanted, paths, output):
            _begin(wanted, output, force)
            stats = _make(wanted, output / WORK, workers, progress)
            _put_in_place(stats, output)
            wanted.manifest([file.sha256 for file in stats.files]).finish(output)
        files.remove(output / manifests.IN_PROGRESS)  # a process that had finished was killed
    return ExtractionStats.read(output)


def _inputs(source: Source) -> list[Path]:
    """The source's files; messages refer to the command line, not to a recipe."""
    if source.path is None:
        return source_files(source)
    path = source.path
    if path != SAMPLE and Path(path).is_dir():
        raise DataError(
            f"{path}: this is a folder; select the files in it with a pattern, in quotes"
        )
    try:
        return source_files(source)
    except DataError:
        if os.path.lexists(path):
            raise
        raise DataError(f"{path}: no such file, and no file matches it as a pattern") from None


# --- the folder -----------------------------------------------------------------------------------


def _refuse_foreign(output: Path) -> None:
    """Refuse to write into a folder that holds something else."""
    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output}: expected a directory, found {files.sort_of(output)}")
    files.check_tree(output)
    names = {path.name for path in output.iterdir()} if output.is_dir() else set()
    there = {name for name in names if not name.startswith(files.STAGING_PREFIX)}
    notes = there & {manifests.MANIFEST, manifests.IN_PROGRESS}
    ours = any(files.read_json(output / name).get("stage") == STAGE for name in notes)
    if there - files.LOCK_FILES and not ours:
        raise UsageError(
            f"--output {output}: this folder is not empty and holds no extraction; choose another"
        )


def _is_done(wanted: Request, paths: list[Path], output: Path) -> bool:
    """Whether the requested extraction is there and complete; `UsageError` for a different one."""
    if not (output / manifests.MANIFEST).exists():
        return False
    made = Manifest.read(output)
    same = made.section == wanted.manifest().section
    if not same or made != replace(wanted.manifest(map(files.sha256, paths)), files=made.files):
        raise UsageError(
            f"--output {output}: holds an extraction of a different input or with different "
            "options; "
            "choose another folder, or replace it with --force"
        )
    if (problem := made.problem(output)) is not None:
        raise DataError(f"{problem}; put it back, or extract everything again with --force")
    return True


def _begin(wanted: Request, output: Path, force: bool) -> None:
    """Mark the folder as ours, and keep the parts of an earlier attempt at the same extraction."""
    before, made = Manifest.unfinished(output), wanted.manifest()
    if before not in (None, made):
        if not force:
            raise UsageError(
                f"--output {output}: holds an unfinished extraction with different options; give "
                "the same options to continue, choose another folder, or replace it with --force"
            )
        files.remove(output / WORK)
    made.begin(output)
    files.make_directory(output / WORK)
    files.remove(output / WORK / parts.INDEX)  # the input is read again: it may have changed
    _remove_documents(output / WORK)


def _put_in_place(stats: ExtractionStats, output: Path) -> None:
    """Move the documents to their final place, replacing others."""
    files.remove(output / ExtractionStats.FILE)
    _remove_documents(output)
    for path in _documents_in(output / WORK):
        files.publish(path, output / path.name)
    stats.write(output)
    files.remove(output / WORK)


def _documents_in(directory: Path) -> list[Path]:
    return [path for pattern in _DOCUMENTS for path in sorted(directory.glob(pattern))]


def _remove_documents(directory: Path) -> None:
    for path in _documents_in(directory):
        files.remove(path)


# --- writing --------------------------------------------------------------------------------------


class Writer(Protocol):
    """Takes documents in order and counts them."""

    counts: SplitCounts

    def add(self, document: Document) -> None: ...


class LineWriter:
    """Writes each document in one format into an open file."""

    def __init__(self, file: IO[bytes], form: Callable[[Document], str]) -> None:
        self.counts = SplitCounts()
        self._file, self._form = file, form

    def add(self, document: Document) -> None:
        self.counts.add(len(document.text), len(document.text.encode("utf-8")))
        self._file.write(self._form(document).encode("utf-8"))


def json_line(document: Document) -> str:
    """A document as a JSON line."""
    row = {name: getattr(document, name) for name in _KEYS}
    return json.dumps(row, ensure_ascii=False) + "\n"


def text_block(document: Document) -> str:
    """A document as a text source with `layout = "block"` reads it: title, lines, a blank line."""
    lines = [line for line in document.text.split("\n") if line.strip()]
    return "\n".join([document.title, *lines]) + "\n\n"


@contextmanager
def _writer(form: Format, directory: Path) -> Iterator[Writer]:
    if form == "parquet":
        with SplitWriter(directory, NAME) as writer:
            yield writer
        return
    line = json_line if form == "jsonl" else text_block
    with (
        files.staged_file(directory / f"{NAME}.{form}") as staged,
        staged.open("wb", WRITE_BYTES) as file,
    ):
        yield LineWriter(file, line)


@dataclass
class _LeftOut:
    """Articles without a document: how many per reason, and the first of them."""

    reasons: Counter[str] = field(default_factory=Counter)
    pages: list[LeftOutPage] = field(default_factory=list)

    def add(self, article: Article, reason: str) -> None:
        self.reasons[reason] += 1
        if reason != NOT_INCLUDED and len(self.pages) < LISTED_PAGES:
            self.pages.append(LeftOutPage(article.id, article.title, reason))


def _make(wanted: Request, directory: Path, workers: int, progress: Progress) -> ExtractionStats:
    """Extract, and write the documents of each part as soon as its turn comes."""
    with _writer(wanted.format, directory) as writer:
        state = _Writing(wanted, directory, writer)
        (extracted,) = convert(wanted.corpus, directory, workers, progress, ready=state.take)
        state.take_rest(list(parts.part_names(0, extracted)), progress)
    state.tell_missing(progress)
    return state.stats(extracted)


@dataclass
class _Writing:
    """The state of the pass that writes the documents of all parts, in order."""

    wanted: Request
    directory: Path
    writer: Writer
    counts: Counts = field(default_factory=Counts)
    left_out: _LeftOut = field(default_factory=_LeftOut)
    taken: int = 0
    """Parts written so far."""

    def __post_init__(self) -> None:
        self._judge = judge(self.wanted)
        titles = self.wanted.corpus.include.titles
        self._missing = {normal(title): title for title in titles}

    def take(self, name: PartName) -> None:
        """Write the documents of the next part."""
        self.taken += 1
        self.counts.add(parts.read_counts(self.directory, name))
        for article in parts.read_articles(self.directory, name):
            reason = self._judge(article)
            if self._missing:
                self._missing.pop(normal(article.title), None)
            if reason is None:
                self.writer.add(article.document(self.wanted.source.name, article.text))
            else:
                self.left_out.add(article, reason)

    def take_rest(self, names: list[PartName], progress: Progress) -> None:
        """Write what was not written while the parts were made."""
        rest = names[self.taken :]
        if not rest:
            return
        with progress.bar("extract: write", len(rest), "parts") as bar:
            for name in rest:
                self.take(name)
                bar.advance()

    def tell_missing(self, progress: Progress) -> None:
        """Name the requested titles that no article has; `DataError` if none was found."""
        if not self._missing:
            return
        names = ", ".join(self._missing.values())
        if len(self._missing) == len(self.wanted.corpus.include.titles):
            raise DataError(f"no article has a requested title: {names}")
        progress.say(f"no article has the title: {names}")

    def stats(self, extracted: ExtractedSource) -> ExtractionStats:
        """The contents of `stats.json` when everything is written."""
        return ExtractionStats(
            extraction=self.wanted.summary(),
            files=tuple(file.stats() for file in extracted.files),
            wiki=extracted.wiki,
            **self.counts.of_pages(),
            **vars(self.writer.counts),
            left_out=dict(sorted(self.left_out.reasons.items())),
            left_out_pages=tuple(self.left_out.pages),
            unknown_templates=parts.largest_losses(self.counts, LISTED_TEMPLATES),
            missing_values=parts.missing_values(self.counts),
        )


def judge(wanted: Request) -> Callable[[Article], str | None]:
    """Why an article gives no document. Without filters, an article without text gives an empty
    document.
    """
    if not wanted.filters:
        return lambda article: article.problem
    filters = Filters(wanted.corpus)

    def reason(article: Article) -> str | None:
        found = filters.reason(wanted.source.name, article)
        return None if found is None else str(found)

    return reason
