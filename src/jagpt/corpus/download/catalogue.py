"""What a wiki's dump consists of, and which of its files to take.

The dump server's `<wiki>/<date>/dumpstatus.json` (version 0.8; written by
`dumps/statusapi.py` of https://gerrit.wikimedia.org/g/operations/dumps) is

    {"version": "0.8", "jobs": {"articlesdump": {"status": "done", "updated": "2023-03-02 01:26:57",
      "files": {"<name>": {"size": 20680789666, "url": "/enwiki/…", "md5": "…", "sha1": "…"}}}}}

A large wiki's `articlesdump` and `articlesmultistreamdump` make numbered parts and their
`…recombine` jobs the whole files; a small wiki has no `…recombine` job, and its two jobs make the
whole files. Some mirrors omit the checksums; then `<wiki>-<date>-sha1sums.txt` has them. It lists
a file once that is finished, so it does not say which parts are still to come.

Wikimedia keeps the last few months. Older dumps are on the Internet Archive, one item per dump,
named `<wiki>-<date>` (https://wikitech.wikimedia.org/wiki/Nova_Resource:Dumps/Archive.org; for
instance https://archive.org/download/jawiki-20190201). An item's `metadata` record lists
`"files": [{"name": "…", "size": "419170", "sha1": "…"}]`, sizes as text
(https://archive.org/developers/md-read.html); for an item that does not exist it is `{}`.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jagpt.corpus.download.client import Client
from jagpt.corpus.download.plan import DownloadPlan, DumpFile, DumpName
from jagpt.errors import StorageError

JOBS = {
    True: ("articlesmultistreamdumprecombine", "articlesmultistreamdump"),
    False: ("articlesdumprecombine", "articlesdump"),
}
"""The jobs that make the articles' files, multistream or not: the whole file's, the parts'."""

_ENDED = frozenset({"done", "failed", "skipped"})
_MOST_BETWEEN = 1_000
"""Page ids that may lie between two parts. Until 2019 a part was named for the first and last page
that it has (`p10p30302`, then `p30304p88444`), and a part that is missing holds many more."""
_MOST_DATES = 12
"""How many dumps to try, newest first, to find a finished one."""


class NotFinishedError(StorageError):
    """The dump server is still working on this dump."""


class UnreadableError(StorageError):
    """A catalogue exists but is truncated, not JSON or of an unexpected form."""


@dataclass(frozen=True)
class ListedFile:
    """One file of a catalogue; size in bytes and hex SHA-1 are None if they are unknown."""

    name: DumpName
    size: int | None
    sha1: str | None


@dataclass
class Catalogue:
    """What is known about one dump: the URL of its folder, its files, the status of its jobs."""

    wiki: str
    date: str
    origin: str
    entries: list[ListedFile] = field(default_factory=list)
    statuses: dict[str, str] = field(default_factory=dict)
    archived: bool = False
    """A copy: its checksums are those of what was copied, to be compared with the dump's own."""
    sums: dict[str, str] | None = None
    """File name → SHA-1 by the dump's own list, None until it is read."""

    def url(self, name: str) -> str:
        """A file's URL, built here: the URLs in a catalogue are not used."""
        return f"{self.origin}/{name}"


def find(client: Client, wiki: str, date: str, mirror: str, archive: str) -> DownloadPlan:
    """What to download of one dump: from the server, or else from the Internet Archive's copy.

    Raises `NotFinishedError` naming the job and its status, `StorageError` if the dump is
    nowhere to be found, or neither the server nor the dump gives checksums.
    """
    found = _on_server(client, wiki, date, mirror) or _in_archive(client, wiki, date, archive)
    if found is None:
        raise StorageError(
            f"{wiki} {date}: no such dump at {mirror}/{wiki}/{date}/ or in the Internet Archive "
            f"({archive}/details/{wiki}-{date}); {mirror}/{wiki}/ lists the available dates, and "
            "--date latest takes the newest"
        )
    return _plan(client, found)


def find_latest(client: Client, wiki: str, mirror: str) -> DownloadPlan:
    """What to download of the newest finished dump, by the server's list of dates.

    (The server's `latest/` folder is not used: its files' names carry no date.)
    """
    listing = client.document(f"{mirror}/{wiki}/")
    text = (listing or b"").decode("utf-8", "replace")
    dates = sorted(set(re.findall(r'href="(?:[^"]*/)?([0-9]{8})/?"', text)), reverse=True)
    if not dates:
        raise StorageError(
            f"{mirror}/{wiki}/: lists no dumps; check the wiki's database name (Japanese "
            "Wikipedia is jawiki) or give a --date"
        )
    for date in dates[:_MOST_DATES]:
        try:
            found = _on_server(client, wiki, date, mirror)
        except UnreadableError as error:
            client.progress.say(f"{error}; trying the dump before it")
            continue
        if found is not None and _is_finished(client, found):
            return _plan(client, found)
    raise StorageError(f"{mirror}/{wiki}/: no finished dump among {', '.join(dates[:_MOST_DATES])}")


def _is_finished(client: Client, found: Catalogue) -> bool:
    """Whether the server says that everything is done (a list of checksums alone does not)."""
    try:
        return bool(found.statuses and choose(found))
    except StorageError as error:
        client.progress.say(f"{error}; trying the dump before it")
        return False


# --- reading catalogues ---------------------------------------------------------------------------


def _on_server(client: Client, wiki: str, date: str, mirror: str) -> Catalogue | None:
    """A dump as its server describes it; None if the server has no such dump."""
    found = Catalogue(wiki, date, f"{mirror}/{wiki}/{date}")
    url = found.url("dumpstatus.json")
    document = client.document(url)
    if document is not None:
        for job, status, files in _jobs(_json_object(document, url)):
            found.statuses[job] = status
            if status == "done":
                found.entries.extend(_entries(files.items(), wiki, date))
        return found
    sums = _own_sums(client, found)
    found.entries.extend(_entries(((name, {}) for name in sums), wiki, date))
    return found if sums else None


def _in_archive(client: Client, wiki: str, date: str, archive: str) -> Catalogue | None:
    """A dump as the Internet Archive's record of its item describes it; None if there is none."""
    url = f"{archive}/metadata/{wiki}-{date}"
    document = client.document(url)
    listed = _json_object(document, url).get("files") if document is not None else None
    if not isinstance(listed, list):
        return None
    found = Catalogue(wiki, date, f"{archive}/download/{wiki}-{date}", archived=True)
    named = [(entry.get("name"), entry) for entry in listed if isinstance(entry, dict)]
    found.entries.extend(_entries(named, wiki, date))
    if not any(name == _sums_name(found) for name, _ in named):
        found.sums = {}
    client.progress.say(f"{wiki} {date}: from the Internet Archive's copy, {found.origin}")
    return found


def _jobs(status: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Name, status and files of each job that makes articles, whole files' jobs first."""
    jobs = status.get("jobs")
    for job in (*JOBS[True], *JOBS[False]):
        told = jobs.get(job) if isinstance(jobs, dict) else None
        if isinstance(told, dict):
            files = told.get("files")
            yield job, str(told.get("status")), files if isinstance(files, dict) else {}


def _entries(listed: Any, wiki: str, date: str) -> Iterator[ListedFile]:
    """The listed files whose names are those of a dump of articles; all others are left out."""
    for text, told in listed:
        name = DumpName.parse(text, wiki, date)
        if name is not None and isinstance(told, dict):
            yield ListedFile(name, _size(told.get("size")), _sha1(told.get("sha1")))


def _size(told: object) -> int | None:
    """A size in bytes: a number, or digits in the Archive's records."""
    if isinstance(told, str) and re.fullmatch(r"[0-9]{1,15}", told):
        told = int(told)
    return told if type(told) is int and told > 0 else None


def _sha1(told: object) -> str | None:
    well_formed = isinstance(told, str) and re.fullmatch(r"[0-9a-fA-F]{40}", told)
    return str(told).lower() if well_formed else None


def _json_object(document: bytes, url: str) -> dict[str, Any]:
    try:
        value = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{url}: not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise UnreadableError(f"{url}: should hold a JSON object")
    return value


def _sums_name(found: Catalogue) -> str:
    return f"{found.wiki}-{found.date}-sha1sums.txt"


def _own_sums(client: Client, found: Catalogue) -> dict[str, str]:
    """The dump's own list of checksums, read once; empty if there is none."""
    if found.sums is None:
        text = (client.document(found.url(_sums_name(found))) or b"").decode("utf-8", "replace")
        lines = re.findall(r"^([0-9a-fA-F]{40}) [ *](\S+)[ \t\r]*$", text, re.MULTILINE)
        found.sums = {name: digest.lower() for digest, name in lines}
    return found.sums


# --- choosing -------------------------------------------------------------------------------------


def choose(found: Catalogue) -> list[ListedFile]:
    """The files to take, each file of pages before its index.

    The whole multistream file, else the whole plain file, else the multistream parts, else the
    plain parts: the first of these whose jobs have succeeded. A job that is still running or
    waiting stops the search, so that the same dump gives the same files today and tomorrow.
    Raises `NotFinishedError`, or `StorageError` if nothing can be taken.
    """
    for whole in (True, False):
        for multistream in (True, False):
            pages, indexes = _variant(found, multistream, whole)
            if pages and (whole or _part_problem(pages) is None):
                return [file for entry in pages for file in (entry, indexes.get(entry)) if file]
            _refuse_pending(found, multistream)
    raise StorageError(f"{found.origin}: no file of articles to download ({_what_is_there(found)})")


def _variant(
    found: Catalogue, multistream: bool, whole: bool
) -> tuple[list[ListedFile], dict[ListedFile, ListedFile]]:
    """The files of pages of one kind, in order, each with its index if it has one."""
    fitting = {
        entry.name.text: entry
        for entry in found.entries
        if entry.name.multistream == multistream and (entry.name.part is None) == whole
    }.values()
    pages = sorted((file for file in fitting if not file.name.index), key=lambda f: f.name.order)
    indexes = {file.name.order: file for file in fitting if file.name.index}
    return pages, {file: indexes[file.name.order] for file in pages if file.name.order in indexes}


def _part_problem(pages: list[ListedFile]) -> str | None:
    """Why parts are not a complete dump: they must count from 1, no two may hold the same pages,
    and no pages may be missing before or between them.
    """
    names = [file.name for file in pages]
    numbers = {name.part for name in names}
    if missing := set(range(1, len(numbers) + 1)) - numbers:
        return f"part {min(missing)} is missing"
    for one, other in itertools.pairwise(names):
        if one.pages is None or other.pages is None:
            overlap = one.part == other.part
        else:
            overlap = other.pages[0] <= one.pages[1]
        if overlap:
            return f"{one.text} and {other.text} hold the same pages"
    for (_, end), (start, _) in itertools.pairwise([(0, 0), *(n.pages for n in names if n.pages)]):
        if start > end + 1 + _MOST_BETWEEN:
            return f"the part with the pages {end + 1} to {start - 1} is missing"
    return None


def _what_is_there(found: Catalogue) -> str:
    told = [f"{job} is {status!r}" for job, status in found.statuses.items()]
    for multistream in (True, False):
        problem = _part_problem(_variant(found, multistream, False)[0])
        told += [problem] if problem else []
    return ", ".join(told) or "none is listed"


def _refuse_pending(found: Catalogue, multistream: bool) -> None:
    for job in JOBS[multistream]:
        status = found.statuses.get(job, "done")
        if status not in _ENDED:
            raise NotFinishedError(
                f"{found.origin}: not finished, the job {job} is {status!r}; wait for it, or "
                "choose "
                "an older dump with --date"
            )


def _plan(client: Client, found: Catalogue) -> DownloadPlan:
    entries = choose(found)
    parts = [entry for entry in entries if entry.name.part is not None and not entry.name.index]
    if parts and not found.statuses:
        _tell_unknown_end(client, found, parts[-1])
    chosen = tuple(_told_in_full(client, found, entry) for entry in entries)
    return DownloadPlan(found.wiki, found.date, found.origin, chosen)


def _tell_unknown_end(client: Client, found: Catalogue, last: ListedFile) -> None:
    """Without the jobs' statuses nothing says which part is the last. A server's list of sums grows
    with the dump: `StorageError`.
    """
    unknown = f"{found.origin}: nothing says whether {last.name.text} is the last part"
    if not found.archived:
        raise StorageError(
            f"{unknown}, for there is no dumpstatus.json; choose another server with --mirror"
        )
    client.progress.say(f"{unknown}; it is the last one of this copy")


def _told_in_full(client: Client, found: Catalogue, entry: ListedFile) -> DumpFile:
    """An entry with size and SHA-1, which are requested if the catalogue omits them."""
    name = entry.name.text
    url = found.url(name)
    own = None
    if found.archived or entry.sha1 is None:
        own = _own_sums(client, found).get(name)
    if own and entry.sha1 and own != entry.sha1:
        raise StorageError(
            f"{url}: SHA-1 {entry.sha1}, but {own} by the dump's own {_sums_name(found)}: this "
            "copy is damaged; choose another date or --mirror"
        )
    sha1 = entry.sha1 or own
    if sha1 is None:
        raise StorageError(
            f"{url}: neither the catalogue nor {_sums_name(found)} has its SHA-1, so it cannot be "
            "verified; choose another server with --mirror"
        )
    return DumpFile(entry.name, url, entry.size or client.length(url), sha1)
