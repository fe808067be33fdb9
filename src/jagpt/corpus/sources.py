"""Which files a recipe's source means."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from jagpt.corpus.cache import dump_directory
from jagpt.errors import DataError, StorageError
from jagpt.recipe import SAMPLE, Source

_DUMP_ENDINGS = ("pages-articles-multistream.xml.bz2", "pages-articles.xml.bz2")


def source_files(source: Source) -> list[Path]:
    """The source's files in order (part 2 before part 10); nothing is opened.

    A hub data set has none: its id and revision, which stand in the recipe, say what it is.
    Raises `DataError` where there is none, `StorageError` where a wiki's dump is not in the cache.
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
            f"{place}: a folder (source {source.name!r}); name the files in it by a pattern, like "
            f"{place / '*'}"
        )
    if not glob.has_magic(path):
        raise DataError(f"{place}: no such file (source {source.name!r}); {_how_to_set(source)}")
    names = glob.glob(path, recursive=True)  # noqa: PTH207 (Path.glob would take hidden files)
    found = [file for name in names if (file := Path(name)).is_file()]
    if not found:
        raise DataError(
            f"{place}: no file matches this pattern (source {source.name!r}); {_how_to_set(source)}"
        )
    return sorted(found, key=_natural)


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
    """Content hashes of a source's files; those `known` where the files are there no more."""
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
    """Content hash of HojiChar's profile; the one `known` where the file is there no more."""
    if Path(path).is_file():
        return digest(Path(path))
    if "hojichar" in known:
        return known["hojichar"]
    raise DataError(f"{path}: no such file; set its place with --set corpus.hojichar=FILE")


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
        f"{directory / names[0]}: not there (source {source.name!r}). `jagpt download RECIPE` "
        f"fetches it; or, if you have it elsewhere, {_how_to_set(source)}"
    )


def _how_to_set(source: Source) -> str:
    if "." in source.name:  # which parts keys in --set
        return "set its `path` in the recipe"
    return f"set its place with --set corpus.source.{source.name}.path=FILE"


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts numbers in names by their value."""
    pieces = re.findall(r"[0-9]+|[^0-9]+", path.as_posix())
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in pieces]
