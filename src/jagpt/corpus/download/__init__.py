"""A wiki's dump from its server, or the Internet Archive, into the cache.

catalogue  what a dump consists of, and which of its files to take
plan       what a download fetches, and the record that it is complete
client     HTTP with retries
transfer   one file: resumed, verified, and only then put in place
"""

from __future__ import annotations

import datetime
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jagpt import files, units
from jagpt.corpus.download import catalogue
from jagpt.corpus.download.client import Client, Patience
from jagpt.corpus.download.plan import DownloadPlan, downloaded_files, write_record
from jagpt.corpus.download.transfer import transfer
from jagpt.corpus.sources import to_download
from jagpt.errors import RunInUseError, StorageError, UsageError
from jagpt.progress import QUIET, Progress
from jagpt.recipe import Source, mirror_problem

__all__ = [
    "ARCHIVE",
    "DUMP_SERVER",
    "LATEST",
    "DownloadPlan",
    "check_request",
    "downloaded_files",
    "fetch",
    "fetch_sources",
    "plan_download",
]

ARCHIVE = "https://archive.org"
DUMP_SERVER = "https://dumps.wikimedia.org"
LATEST = "latest"


def plan_download(
    wiki: str,
    date: str,
    mirror: str = DUMP_SERVER,
    *,
    archive: str = ARCHIVE,
    progress: Progress = QUIET,
    patience: Patience | None = None,
) -> DownloadPlan:
    """What to download: files with sizes and checksums; reads only the dump's lists, writes
    nothing.

    `wiki` is a database name (`jawiki`), `date` a date such as `20210301`, or `latest` for the
    newest finished dump on `mirror`. A date that `mirror` no longer has comes from `archive`.
    Raises `UsageError` for an impossible name, `StorageError` if the dump is nowhere to be found
    or unfinished, or the network fails.
    """
    check_request(wiki, date, mirror)
    base = mirror.rstrip("/")
    with Client(patience, progress) as client:
        if date == LATEST:
            return catalogue.find_latest(client, wiki, base)
        return catalogue.find(client, wiki, date, base, archive.rstrip("/"))


def fetch(
    plan: DownloadPlan, progress: Progress = QUIET, *, patience: Patience | None = None
) -> list[Path]:
    """Download the plan's files into the cache, each verified; returns the files of pages in
    reading order.

    Continues what an interrupted call left. Raises `StorageError` for disk and network,
    `DataError` if a different file is in a file's place, `RunInUseError` while another process
    downloads the same dump.
    """
    files.check_tree(plan.directory)
    with _locked(plan.directory):
        files.remove_leftovers(plan.directory)
        _check_space(plan)
        with Client(patience, progress) as client:
            paths = [transfer(client, file, plan.target(file), progress) for file in plan.files]
        write_record(plan)
    return [path for path, file in zip(paths, plan.files, strict=True) if not file.name.index]


def fetch_sources(sources: Iterable[Source], mirror: str | None, progress: Progress) -> None:
    """Download the dumps that sources name by wiki and date, if they are not in the cache yet."""
    for source in sources:
        if to_download(source):
            wiki, date = str(source.wiki), str(source.date)
            plan = plan_download(wiki, date, mirror or DUMP_SERVER, progress=progress)
            progress.say(f"{source.name}: {units.size(plan.missing)} to download ({plan.origin})")
            fetch(plan, progress)


def check_request(wiki: str, date: str, mirror: str = DUMP_SERVER) -> None:
    """Raise `UsageError` for an impossible name, and for an address that carries a password."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,40}", wiki):
        raise UsageError(f"--wiki {wiki!r}: not a database name; Japanese Wikipedia is jawiki")
    if date != LATEST and not _is_day(date):
        raise UsageError(f"--date {date!r}: expected a date such as 20210301, or {LATEST!r}")
    if problem := mirror_problem(mirror):
        raise UsageError(f"--mirror: {problem}")


def _is_day(text: str) -> bool:
    try:
        return bool(re.fullmatch(r"[0-9]{8}", text) and datetime.date.fromisoformat(text))
    except ValueError:
        return False


def _check_space(plan: DownloadPlan) -> None:
    free, wanted = shutil.disk_usage(plan.directory).free, plan.missing
    if wanted > free:
        raise StorageError(
            f"{plan.directory}: {units.size(wanted)} ({wanted:,} bytes) are still to be "
            "downloaded, "
            f"but only {units.size(free)} ({free:,} bytes) are free; free some space, or set "
            "JAGPT_CACHE to a folder on another disk"
        )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the dump's lock; `RunInUseError` names the process that has it."""
    with ExitStack() as held:
        try:
            held.enter_context(files.locked(directory))
        except RunInUseError as error:
            who = str(error).rpartition(";")[0]
            raise RunInUseError(
                f"{who}, which downloads the same dump; wait for it to end, then run the same "
                "command again"
            ) from None
        yield
