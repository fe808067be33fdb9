"""What a download fetches, and the record that it is complete."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.corpus.cache import dump_directory
from jagpt.errors import DataError, StorageError

RECORD = "download.json"
"""Lists the files of a complete dump; written last, into the dump's folder in the cache."""

_NAME = re.compile(
    r"(?P<wiki>[a-z][a-z0-9_]{1,40})-(?P<date>[0-9]{8})-pages-articles"
    r"(?P<multistream>-multistream)?"
    r"(?:(?P<index>-index(?P<index_number>[0-9]{1,4})?\.txt)|(?P<number>[0-9]{1,4})?\.xml)"
    r"(?:-p(?P<first>[0-9]{1,12})p(?P<last>[0-9]{1,12}))?\.bz2"
)


@dataclass(frozen=True)
class DumpName:
    """A file name, parsed; nothing else from a server ever names a file here.

    `part` is the number of a part, None for a whole dump; `pages` its first and last page id.
    """

    text: str
    multistream: bool
    index: bool
    part: int | None
    pages: tuple[int, int] | None

    @classmethod
    def parse(cls, text: object, wiki: str, date: str) -> DumpName | None:
        """The parts of a file's name, None for any other file, wiki or date.

        The names: `jawiki-20210301-pages-articles-multistream.xml.bz2`, its index
        `…-multistream-index.txt.bz2`, `…-pages-articles.xml.bz2`, and parts like
        `…-pages-articles1.xml-p1p114794.bz2`, `…-multistream-index1.txt-p1p114794.bz2`.
        """
        found = _NAME.fullmatch(text) if isinstance(text, str) else None
        if found is None or (found["wiki"], found["date"]) != (wiki, date):
            return None
        number = found["index_number"] or found["number"]
        if (number is None and found["first"]) or (found["index"] and not found["multistream"]):
            return None
        return cls(
            text=found[0],
            multistream=bool(found["multistream"]),
            index=bool(found["index"]),
            part=int(number) if number else None,
            pages=(int(found["first"]), int(found["last"])) if found["first"] else None,
        )

    @property
    def order(self) -> tuple[int, tuple[int, int]]:
        """Sorts parts by number, then by pages (one number may have several ranges)."""
        return (self.part or 0, self.pages or (0, 0))


@dataclass(frozen=True)
class DumpFile:
    """One file to fetch: size in bytes, hex SHA-1."""

    name: DumpName
    url: str
    size: int
    sha1: str


@dataclass(frozen=True)
class DownloadPlan:
    """The files of one dump, in reading order, each followed by its index.

    `origin` is the URL of the folder they come from, `directory` where they go.
    """

    wiki: str
    date: str
    origin: str
    files: tuple[DumpFile, ...]

    @property
    def directory(self) -> Path:
        """The dump's folder in the cache."""
        return dump_directory(self.wiki, self.date)

    @property
    def total(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)

    @property
    def missing(self) -> int:
        """Bytes still to download: files in place and unfinished ones are subtracted
        (unverified).
        """
        return sum(file.size - received(self.directory, file) for file in self.files)

    def target(self, file: DumpFile) -> Path:
        """Where a file goes."""
        return self.directory / file.name.text

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON values, for `--dry-run --json`."""
        return {
            "wiki": self.wiki,
            "date": self.date,
            "from": self.origin,
            "to": str(self.directory),
            "files": [
                {"name": file.name.text, "url": file.url, "size": file.size, "sha1": file.sha1}
                for file in self.files
            ],
            "total": self.total,
            "missing": self.missing,
        }


def part_path(target: Path) -> Path:
    """Where a file grows until it is verified."""
    return target.with_name(target.name + ".part")


def received(directory: Path, file: DumpFile) -> int:
    """Bytes of a file that are here, complete or unfinished."""
    target = directory / file.name.text
    place = target if target.exists() else part_path(target)
    return min(place.stat().st_size, file.size) if place.exists() else 0


# --- the record of a whole dump -------------------------------------------------------------------


def write_record(plan: DownloadPlan) -> None:
    """Declare the dump complete: every file of the plan is in place and verified."""
    value = {
        "wiki": plan.wiki,
        "date": plan.date,
        "from": plan.origin,
        "files": [
            {"name": file.name.text, "size": file.size, "sha1": file.sha1} for file in plan.files
        ],
    }
    files.write_json(plan.directory / RECORD, value)


def downloaded_files(wiki: str, date: str) -> list[Path] | None:
    """The files of pages of a completely downloaded dump, in order (indexes are next to them).

    None if there is no record. Raises `StorageError` if a recorded file is missing or has
    a different size, `DataError` if the record itself is damaged.
    """
    directory = dump_directory(wiki, date)
    if not (directory / RECORD).exists():
        return None
    found = list(_recorded(directory, wiki, date))
    _check_sizes(directory, found)
    return [directory / name.text for name, _ in found if not name.index]


def _recorded(directory: Path, wiki: str, date: str) -> Iterable[tuple[DumpName, int]]:
    value = files.read_json(directory / RECORD, "record of a download")
    try:
        for entry in value["files"]:
            name = DumpName.parse(entry["name"], wiki, date)
            if name is None or type(entry["size"]) is not int:
                raise ValueError(entry)
            yield name, entry["size"]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{directory / RECORD}: this record is damaged ({error!r}); delete it and run "
            f"jagpt download --wiki {wiki} --date {date}"
        ) from None


def _check_sizes(directory: Path, found: Sequence[tuple[DumpName, int]]) -> None:
    for name, size in found:
        path = directory / name.text
        there = path.stat().st_size if path.exists() else None
        if there != size:
            state = "missing" if there is None else f"{there:,} bytes"
            raise StorageError(
                f"{path}: {state}, but {size:,} bytes were downloaded; delete {RECORD} beside it "
                "and download the dump again"
            )
