"""Which files a recipe's source names."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

from jagpt import files
from jagpt.corpus.cache import dump_directory
from jagpt.errors import DataError, StorageError
from jagpt.recipe import SAMPLE, Source

_DUMP_ENDINGS = ("pages-articles-multistream.xml.bz2", "pages-articles.xml.bz2")

MOST_ENTRIES = 1_000_000
"""Most files and folders that a pattern with `**` may visit."""


def source_files(source: Source) -> list[Path]:
    """The source's files in order (part 2 before part 10); nothing is opened.

    A hub data set has none: its id and revision in the recipe identify it.
    Raises `DataError` if there is none, `StorageError` if a wiki's dump is not in the cache.
    """
    if source.path == SAMPLE:
        from jagpt import sample

        return [sample.path()]
    if source.kind == "hf":
        return []
    if source.path is not None:
        return _files_at(source, source.path)
    return _dump_in_cache(source)


def _files_at(source: Source, path: str) -> list[Path]:
    place = Path(path)
    if place.is_file():
        return [place]
    if place.is_dir() and source.kind == "wikiextractor":
        return _extracted_below(place, source)
    if place.is_dir():
        raise DataError(
            f"{place}: this is a folder (source {source.name!r}); select the files in it with a "
            f"pattern, such as {place / '*'}"
        )
    if not glob.has_magic(path):
        if os.path.lexists(place):
            files.regular_file(place, "source")
        raise DataError(f"{place}: no such file (source {source.name!r}); {_how_to_set(source)}")
    found = [file for name in set(_matching(path)) if (file := Path(name)).is_file()]
    if not found:
        raise DataError(
            f"{place}: no file matches this pattern (source {source.name!r}); {_how_to_set(source)}"
        )
    return sorted(found, key=_natural)


def _matching(pattern: str) -> Iterator[str]:
    """The files that a pattern matches, `**` meaning all folders below; `DataError` if it has no
    end.
    """
    before, everywhere, behind = _parted(pattern)
    if not everywhere:
        yield from glob.iglob(pattern)  # noqa: PTH207 (Path.glob would take hidden files)
        return
    looked = 0
    for start in glob.iglob(before or "."):  # noqa: PTH207
        for folder, entries in _folders_below(start):
            looked += entries
            if looked > MOST_ENTRIES:
                raise DataError(
                    f"{pattern}: this pattern visited more than {MOST_ENTRIES:,} files and "
                    "folders, "
                    f"and was still going in {folder}; name a smaller folder"
                )
            yield from _matching(str(Path(glob.escape(folder)) / (behind or "*")))


def _parted(pattern: str) -> tuple[str, str, str]:
    """The parts before and after the first `**`, if there is one."""
    pieces = Path(pattern).parts
    if "**" not in pieces:
        return pattern, "", ""
    at = pieces.index("**")
    return str(Path(*pieces[:at])), "**", str(Path(*pieces[at + 1 :])) if pieces[at + 1 :] else ""


def _folders_below(start: str) -> Iterator[tuple[str, int]]:
    """A folder and all below it that are not hidden, each once, with its number of entries."""
    waiting, seen = [start], set()
    while waiting:
        folder = waiting.pop()
        with suppress(OSError), os.scandir(folder) as found:  # gone, or not readable by us
            status = os.stat(folder)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:  # links may form a cycle
                continue
            seen.add((status.st_dev, status.st_ino))
            entries = list(islice(found, MOST_ENTRIES + 1))
            waiting += [e.path for e in entries if not e.name.startswith(".") and _is_folder(e)]
            yield folder, len(entries)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _extracted_below(place: Path, source: Source) -> list[Path]:
    """AA/wiki_00, AA/wiki_01, … in the order of `cat */wiki_*`, compressed or not."""
    found = [path for path in place.glob("*/wiki_*") if path.is_file()]
    if not found:
        raise DataError(
            f"{place}: no WikiExtractor output (AA/wiki_00 …) in this folder "
            f"(source {source.name!r}); {_how_to_set(source)}"
        )
    return sorted(found)


def source_inputs(
    source: Source, digest: Callable[[Path], str], known: Mapping[str, str]
) -> dict[str, str]:
    """Content hashes of a source's files; the `known` ones if the files are gone."""
    key = f"source {source.name} "
    try:
        paths = source_files(source)
    except (DataError, StorageError):
        found = {name: value for name, value in known.items() if name.startswith(key)}
        if not found:
            raise
        return found
    return {f"{key}{number}": digest(path) for number, path in enumerate(paths)}


def profile_input(path: str, digest: Callable[[Path], str], known: Mapping[str, str]) -> str:
    """Content hash of HojiChar's profile; the `known` one if the file is gone."""
    profile = Path(path)
    if "hojichar" in known and not profile.is_file():
        return known["hojichar"]
    how = "no such file; set its path with --set corpus.hojichar=FILE"
    files.regular_file(profile, missing=how)
    return digest(profile)


def to_download(source: Source) -> bool:
    """Whether the source is a wiki's dump that is not in the cache yet."""
    if source.kind != "dump" or source.path is not None:
        return False
    try:
        return not _dump_in_cache(source)
    except StorageError:
        return True


def _dump_in_cache(source: Source) -> list[Path]:
    from jagpt.corpus.download.plan import downloaded_files

    wiki, date = str(source.wiki), str(source.date)
    if (recorded := downloaded_files(wiki, date)) is not None:
        return recorded
    directory = dump_directory(wiki, date)
    names = [f"{wiki}-{date}-{ending}" for ending in _DUMP_ENDINGS]
    for name in names:
        if (directory / name).is_file():
            return [directory / name]
    raise StorageError(
        f"{directory / names[0]}: missing (source {source.name!r}). `jagpt download RECIPE` "
        f"downloads it; or, if you have it elsewhere, {_how_to_set(source)}"
    )


def _how_to_set(source: Source) -> str:
    if "." in source.name:  # which separates keys in --set
        return "set its `path` in the recipe"
    return f"set its path with --set corpus.source.{source.name}.path=FILE"


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sorts numbers in names by their value, and equal values by how they are written."""
    name = path.as_posix()
    pieces = re.findall(r"[0-9]+|[^0-9]+", name)
    return [(int(piece), "") if piece.isdecimal() else (-1, piece) for piece in pieces], name
