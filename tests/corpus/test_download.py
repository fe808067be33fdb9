"""From a wiki's name and a date to verified files in the cache, past every fault of a server."""

from __future__ import annotations

import email.utils
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from dump_server import (
    DumpServer,
    Fault,
    chunked,
    job,
    partial,
    redirect,
    reset,
    serving,
    sha1,
    short_body,
    stall,
    status,
    whole,
)
from rich.console import Console

from jagpt import __version__, files
from jagpt.corpus.download import (
    DownloadPlan,
    downloaded_files,
    fetch,
    plan_download,
)
from jagpt.corpus.download.client import Client, Patience
from jagpt.corpus.download.plan import DumpName
from jagpt.errors import DataError, RunInUseError, StorageError, UsageError
from jagpt.progress import QUIET, Progress

DATE = "20210301"
STEM = f"jawiki-{DATE}-pages-articles"
MULTISTREAM = f"{STEM}-multistream.xml.bz2"
INDEX = f"{STEM}-multistream-index.txt.bz2"
PLAIN = f"{STEM}.xml.bz2"
SUMS = f"jawiki-{DATE}-sha1sums.txt"
BODY = bytes(range(256)) * 20_000  # 5.1 MB
BIG_ENOUGH = 1_500_000  # bytes that count as progress


def address(name: str, date: str = DATE) -> str:
    return f"/jawiki/{date}/{name}"


@dataclass
class Clock:
    """Time that passes only by sleeping."""

    time: float = 1_614_600_000.0
    slept: list[float] = field(default_factory=list)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def now(self) -> float:
        return self.time


@pytest.fixture
def server() -> Iterator[DumpServer]:
    with serving() as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JAGPT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "cache"


@dataclass
class Downloader:
    """The two steps against the local server."""

    server: DumpServer
    clock: Clock
    progress: Progress = QUIET

    @property
    def patience(self) -> Patience:
        return Patience(
            tries=4, read_timeout=0.3, connect_timeout=2, sleep=self.clock.sleep, now=self.clock.now
        )

    def plan(self, date: str = DATE, wiki: str = "jawiki", mirror: str = "") -> DownloadPlan:
        base = self.server.base
        return plan_download(
            wiki, date, mirror or base, archive=f"{base}/archive", progress=self.progress,
            patience=self.patience,
        )  # fmt: skip

    def fetch(self, plan: DownloadPlan | None = None) -> list[Path]:
        return fetch(plan or self.plan(), self.progress, patience=self.patience)

    def names(self, date: str = DATE) -> list[str]:
        return [file.name.text for file in self.plan(date).files]


@pytest.fixture
def downloader(server: DumpServer, clock: Clock) -> Downloader:
    return Downloader(server, clock)


def put_dump(
    server: DumpServer, jobs: Mapping[str, tuple[str, Mapping[str, bytes]]], date: str = DATE
) -> None:
    """Serve a dump by the status and files of its jobs."""
    told = {name: job(state, listed, date=date) for name, (state, listed) in jobs.items()}
    server.put(address("dumpstatus.json", date), {"version": "0.8", "jobs": told})
    for _, listed in jobs.values():
        for name, body in listed.items():
            server.put(address(name, date), body)


def put_one(server: DumpServer, body: bytes = BODY) -> str:
    """Serve a dump of one file; its address."""
    put_dump(server, {"articlesmultistreamdump": ("done", {MULTISTREAM: body})})
    return address(MULTISTREAM)


def place(cache: Path, name: str = MULTISTREAM) -> Path:
    return cache / "dumps" / "jawiki" / DATE / name


def leftovers(cache: Path) -> set[str]:
    """What lies in the dump's folder beside the lock."""
    return {path.name for path in place(cache).parent.iterdir()} - {".lock"}


def edit_status(server: DumpServer, **changes: Any) -> None:
    """Change the one file's entry in dumpstatus.json; None takes a key out."""
    content = server.contents[address("dumpstatus.json")]
    value = json.loads(content.body)
    (entry,) = value["jobs"]["articlesmultistreamdump"]["files"].values()
    entry.update(changes)
    for key in [key for key, change in changes.items() if change is None]:
        del entry[key]
    content.body = json.dumps(value).encode()


# --- what to fetch --------------------------------------------------------------------------------


def test_the_whole_multistream_file_and_its_index_come_first(
    server: DumpServer, downloader: Downloader
) -> None:
    put_dump(
        server,
        {
            "articlesdump": ("done", {f"{STEM}1.xml-p1p9.bz2": b"p"}),
            "articlesdumprecombine": ("done", {PLAIN: b"plain"}),
            "articlesmultistreamdump": ("done", {f"{STEM}-multistream1.xml-p1p9.bz2": b"m"}),
            "articlesmultistreamdumprecombine": ("done", {INDEX: b"i", MULTISTREAM: b"whole"}),
            "metahistorybz2dump": ("waiting", {}),
        },
    )
    plan = downloader.plan()
    assert [file.name.text for file in plan.files] == [MULTISTREAM, INDEX]
    assert plan.files[0].url == server.base + address(MULTISTREAM)
    assert plan.files[0].sha1 == sha1(b"whole")
    assert (plan.total, plan.missing) == (6, 6)
    assert not plan.directory.exists()


def test_planning_tells_all_that_a_dry_run_prints(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    put_one(server, b"abc")
    assert downloader.plan().as_json() == {
        "wiki": "jawiki",
        "date": DATE,
        "from": f"{server.base}/jawiki/{DATE}",
        "to": str(place(cache).parent),
        "files": [
            {
                "name": MULTISTREAM,
                "url": server.base + address(MULTISTREAM),
                "size": 3,
                "sha1": sha1(b"abc"),
            }
        ],
        "total": 3,
        "missing": 3,
    }


def test_without_multistream_the_plain_file_is_taken(
    server: DumpServer, downloader: Downloader
) -> None:
    put_dump(
        server,
        {
            "articlesdump": ("done", {PLAIN: b"plain"}),
            "articlesmultistreamdump": ("failed", {}),
        },
    )
    assert downloader.names() == [PLAIN]


def test_parts_are_sorted_by_number_and_pages_and_keep_their_indexes(
    server: DumpServer, downloader: Downloader
) -> None:
    ranges = [(1, 1, 9), (2, 10, 19), (2, 20, 105), (3, 106, 3999), (10, 10_000, 19_999)]
    ranges += [(n, n * 1000, n * 1000 + 999) for n in (4, 5, 6, 7, 8, 9)]
    pages = {f"{STEM}-multistream{n}.xml-p{a}p{b}.bz2": b"x" for n, a, b in ranges}
    indexes = {f"{STEM}-multistream-index{n}.txt-p{a}p{b}.bz2": b"i" for n, a, b in ranges[:3]}
    put_dump(server, {"articlesmultistreamdump": ("done", indexes | pages)})
    names = [name.removeprefix(STEM + "-multistream") for name in downloader.names()]
    assert names[:7] == [
        "1.xml-p1p9.bz2", "-index1.txt-p1p9.bz2", "2.xml-p10p19.bz2", "-index2.txt-p10p19.bz2",
        "2.xml-p20p105.bz2", "-index2.txt-p20p105.bz2", "3.xml-p106p3999.bz2",
    ]  # fmt: skip
    assert [name.partition(".")[0] for name in names[7:]] == ["4", "5", "6", "7", "8", "9", "10"]


def test_multistream_parts_come_before_plain_parts(
    server: DumpServer, downloader: Downloader
) -> None:
    plain = {f"{STEM}{n}.xml-p{n}p{n}.bz2": b"x" for n in (1, 2)}
    multistream = {f"{STEM}-multistream{n}.xml-p{n}p{n}.bz2": b"x" for n in (1, 2)}
    put_dump(
        server,
        {"articlesdump": ("done", plain), "articlesmultistreamdump": ("done", multistream)},
    )
    assert downloader.names() == list(multistream)
    del multistream[f"{STEM}-multistream1.xml-p1p1.bz2"]
    put_dump(
        server,
        {"articlesdump": ("done", plain), "articlesmultistreamdump": ("done", multistream)},
    )
    assert downloader.names() == list(plain)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.xml-p1p9", "3.xml-p20p29"], "part 2 is missing"),
        (["1.xml-p1p9", "2.xml-p9p29"], "hold the same pages"),
        (["1.xml-p1p9", "1.xml"], "hold the same pages"),
        (["1.xml-p1p9", "1.xml-p5001p6000"], "the pages 10 to 5000 is missing"),
        (["1.xml-p1p9", "2.xml-p5001p6000"], "the pages 10 to 5000 is missing"),
        (["1.xml-p5001p6000"], "the pages 1 to 5000 is missing"),
    ],
)
def test_parts_that_are_no_whole_dump_are_refused(
    server: DumpServer, downloader: Downloader, names: list[str], message: str
) -> None:
    put_dump(server, {"articlesdump": ("done", {f"{STEM}{name}.bz2": b"x" for name in names})})
    with pytest.raises(StorageError, match=message):
        downloader.plan()


def test_parts_named_for_their_first_and_last_page_are_taken(
    server: DumpServer, downloader: Downloader
) -> None:
    names = [f"{STEM}{name}.bz2" for name in ("1.xml-p10p30302", "2.xml-p30304p88444")]
    put_dump(server, {"articlesdump": ("done", dict.fromkeys(names, b"x"))})
    assert downloader.names() == names


def test_parts_without_page_ranges_are_taken(server: DumpServer, downloader: Downloader) -> None:
    names = [f"{STEM}1.xml.bz2", f"{STEM}2.xml.bz2"]
    put_dump(server, {"articlesdump": ("done", dict.fromkeys(names, b"x"))})
    assert downloader.names() == names


@pytest.mark.parametrize("state", ["waiting", "in-progress"])
def test_a_dump_that_is_not_finished_is_told_with_job_and_status(
    server: DumpServer, downloader: Downloader, state: str
) -> None:
    put_dump(
        server,
        {
            "articlesdump": ("done", {PLAIN: b"plain"}),
            "articlesmultistreamdump": (state, {MULTISTREAM: b"half"}),
        },
    )
    with pytest.raises(StorageError, match=f"articlesmultistreamdump is '{state}'"):
        downloader.plan()


def test_failed_jobs_are_told(server: DumpServer, downloader: Downloader) -> None:
    put_dump(server, {"articlesdump": ("failed", {}), "articlesmultistreamdump": ("failed", {})})
    with pytest.raises(StorageError, match="articlesdump is 'failed'"):
        downloader.plan()


def test_latest_is_the_newest_finished_dump(server: DumpServer, downloader: Downloader) -> None:
    dates = ["20210101", "20210220", "20210301", "20210320"]
    links = "".join(f'<a href="{date}/">{date}/</a>\n' for date in [*dates, "latest"])
    server.put("/jawiki/", f'<a href="../">../</a>{links}')
    for date, state in zip(dates, ["done", "done", "in-progress", None], strict=True):
        name = f"jawiki-{date}-pages-articles-multistream.xml.bz2"
        if state:
            put_dump(server, {"articlesmultistreamdump": (state, {name: b"x"})}, date)
    plan = downloader.plan("latest")
    assert plan.date == "20210220"
    assert plan.directory.name == "20210220"
    assert not server.gets(address("dumpstatus.json", "20210101"))


@pytest.mark.parametrize(
    "body", ['{"version": "0.8", "jobs": {"art', "<html>busy</html>", "[]", ""]
)
def test_latest_goes_on_to_the_dump_before_an_unreadable_status(
    server: DumpServer, clock: Clock, body: str
) -> None:
    console = Console(file=io.StringIO(), width=200)
    downloader = Downloader(server, clock, Progress(console=console))
    server.put("/jawiki/", f'<a href="{DATE}/"><a href="20210401/">')
    put_one(server)
    server.put(address("dumpstatus.json", "20210401"), body)
    assert downloader.plan("latest").date == DATE
    assert isinstance(console.file, io.StringIO)
    assert "20210401/dumpstatus.json: " in console.file.getvalue()
    with pytest.raises(StorageError, match="JSON"):
        downloader.plan("20210401")


def test_latest_is_not_taken_from_a_list_of_sums(
    server: DumpServer, downloader: Downloader
) -> None:
    """Such a list grows with the dump: it does not say that the dump is finished."""
    server.put("/jawiki/", f'<a href="{DATE}/"><a href="20210401/">')
    put_one(server)
    server.put(
        "/jawiki/20210401/jawiki-20210401-sha1sums.txt",
        f"{sha1(BODY)}  jawiki-20210401-pages-articles.xml.bz2",
    )
    assert downloader.plan("latest").date == DATE


def test_latest_without_a_list_of_dates_asks_for_the_wikis_name(downloader: Downloader) -> None:
    with pytest.raises(StorageError, match="database name"):
        downloader.plan("latest", wiki="xxwiki")


def test_latest_without_a_finished_dump_names_the_dates(
    server: DumpServer, downloader: Downloader
) -> None:
    server.put("/jawiki/", f'<a href="/jawiki/{DATE}">')
    with pytest.raises(StorageError, match=f"no finished dump among {DATE}"):
        downloader.plan("latest")


@pytest.mark.parametrize(
    "arguments",
    [
        {"wiki": "../etc"}, {"wiki": ""}, {"wiki": "JaWiki"}, {"date": "20211301"}, {"date": "２"},
        {"date": "2021030"}, {"date": "newest"}, {"mirror": "ftp://x"}, {"mirror": "/x"},
        {"mirror": "http://"}, {"mirror": "http://["}, {"mirror": "http://a b"},
        {"mirror": "http://me:SECRET@h"}, {"mirror": "https://SECRET@h"},
        {"mirror": "http://me:SECRET@["}, {"mirror": "http://h/?key=SECRET"},
        {"mirror": "http://h/?"}, {"mirror": "http://h/#SECRET"},
    ],
)  # fmt: skip
def test_names_that_cannot_be_are_refused_before_any_request(
    downloader: Downloader, arguments: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(arguments))}") as caught:
        downloader.plan(**arguments)
    assert "SECRET" not in str(caught.value)
    assert not downloader.server.requests


@pytest.mark.parametrize(
    "name",
    [
        f"../{MULTISTREAM}", f"/{MULTISTREAM}", f"a/{MULTISTREAM}", f"{MULTISTREAM}\n", "",
        MULTISTREAM.replace("jawiki", "enwiki"), MULTISTREAM.replace(DATE, "20210320"),
        f"jawiki-{DATE}-pages-articles/../x.xml.bz2", MULTISTREAM + ".part", 3, None,
        f"{STEM}-index.txt.bz2", f"{STEM}.xml-p1p2.bz2", f"{STEM}1.xml-p１p2.bz2",
        f"jawiki-{DATE}-pages-meta-current.xml.bz2", MULTISTREAM.replace(".bz2", ".7z"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_dump_of_articles_is_never_taken(name: object) -> None:
    assert DumpName.parse(name, "jawiki", DATE) is None


def test_hostile_names_in_a_catalogue_are_left_out(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    names = ["../../../evil", f"../{MULTISTREAM}", MULTISTREAM]
    put_dump(server, {"articlesmultistreamdump": ("done", dict.fromkeys(names, b"x"))})
    assert downloader.names() == [MULTISTREAM]
    downloader.fetch()
    assert leftovers(cache) == {MULTISTREAM, "download.json"}


@pytest.mark.parametrize("body", ["<html>", "[]", "[" * 100_000, b"\xff\xfe\xff"])
def test_a_catalogue_that_is_none_is_named(
    server: DumpServer, downloader: Downloader, body: str | bytes
) -> None:
    server.put(address("dumpstatus.json"), body)
    with pytest.raises(StorageError, match=r"dumpstatus\.json"):
        downloader.plan()


def test_a_catalogue_without_end_is_not_read(
    server: DumpServer, downloader: Downloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_one(server)
    monkeypatch.setattr("jagpt.corpus.download.client.LONGEST_DOCUMENT", 100)
    with pytest.raises(StorageError, match="over 100 bytes"):
        downloader.plan()


@pytest.mark.parametrize("jobs", [None, [], {"articlesdump": 3}, {"articlesdump": {"files": 1}}])
def test_a_catalogue_of_another_shape_is_no_dump(
    server: DumpServer, downloader: Downloader, jobs: Any
) -> None:
    server.put(address("dumpstatus.json"), {"jobs": jobs})
    with pytest.raises(StorageError, match=DATE):
        downloader.plan()


# --- sums and sizes that the catalogue leaves out -------------------------------------------------


def test_a_mirror_without_sums_has_them_in_the_dumps_own_list(
    server: DumpServer, downloader: Downloader
) -> None:
    put_one(server)
    edit_status(server, sha1=None)
    server.put(address(SUMS), f"{'0' * 40}  other\n{sha1(BODY)}  {MULTISTREAM}\n")
    assert downloader.plan().files[0].sha1 == sha1(BODY)


def test_a_file_without_any_sum_is_refused(server: DumpServer, downloader: Downloader) -> None:
    put_one(server)
    edit_status(server, sha1="abc")
    with pytest.raises(StorageError, match="has its SHA-1"):
        downloader.plan()


@pytest.mark.parametrize("size", [None, "big", -1, 0, True, 1.5])
def test_a_size_that_is_not_told_is_asked_for(
    server: DumpServer, downloader: Downloader, size: object
) -> None:
    put_one(server)
    edit_status(server, size=size)
    assert downloader.plan().total == len(BODY)


def test_a_size_of_nothing_is_none(server: DumpServer, downloader: Downloader) -> None:
    path = put_one(server)
    edit_status(server, size=None)
    server.faults[path] = [lambda handler: handler.reply(200, b"")]
    with pytest.raises(StorageError, match="does not give its size"):
        downloader.plan()


def test_a_mirror_without_a_status_is_read_by_its_sums(
    server: DumpServer, downloader: Downloader
) -> None:
    server.put(address(SUMS), f"{sha1(BODY)}  {PLAIN}\n")
    server.put(address(PLAIN), BODY)
    (path,) = downloader.fetch()
    assert path.read_bytes() == BODY


def test_parts_of_a_mirror_without_a_status_are_refused(
    server: DumpServer, downloader: Downloader
) -> None:
    server.put(address(SUMS), f"{sha1(BODY)}  {STEM}1.xml-p1p9.bz2\n")
    with pytest.raises(StorageError, match=r"1\.xml-p1p9\.bz2 is the last part.*--mirror"):
        downloader.plan()


# --- the Internet Archive -------------------------------------------------------------------------


def put_archived(server: DumpServer, body: bytes, **changes: Any) -> str:
    """Serve an item of the Archive with one file and a list of sums; the file's address."""
    entry = {"name": MULTISTREAM, "source": "original", "size": str(len(body)), "sha1": sha1(body)}
    listed = [entry | changes, {"name": f"jawiki-{DATE}_files.xml", "md5": "0"}, {"name": SUMS}]
    server.put(f"/archive/metadata/jawiki-{DATE}", {"files": listed, "files_count": 3})
    folder = f"/archive/download/jawiki-{DATE}"
    server.put(f"{folder}/{SUMS}", f"{sha1(body)}  {MULTISTREAM}\n")
    server.put(f"/node/{MULTISTREAM}", body)
    return f"{folder}/{MULTISTREAM}"


def test_a_date_that_the_server_dropped_comes_from_the_archive(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_archived(server, BODY)
    server.faults[path] = [redirect(f"{server.base}/node/{MULTISTREAM}")]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert [request.path for request in server.requests[:3]] == [
        address("dumpstatus.json"), address(SUMS), f"/archive/metadata/jawiki-{DATE}",
    ]  # fmt: skip


def test_a_copy_without_a_list_of_sums_is_held_against_the_archives_own(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_archived(server, BODY)
    item = server.contents[f"/archive/metadata/jawiki-{DATE}"]
    item.body = item.body.replace(SUMS.encode(), b"other.txt")
    server.contents[path] = server.contents[f"/node/{MULTISTREAM}"]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert not server.gets(path.replace(MULTISTREAM, SUMS))


def test_a_copy_that_differs_from_the_dumps_own_sums_is_refused(
    server: DumpServer, downloader: Downloader
) -> None:
    put_archived(server, BODY, sha1=sha1(b"damaged"))
    with pytest.raises(StorageError, match="this copy is damaged"):
        downloader.plan()


def test_parts_in_the_archive_are_taken_and_the_doubt_told(
    server: DumpServer, clock: Clock
) -> None:
    console = Console(file=io.StringIO(), width=500)
    name = f"{STEM}1.xml-p1p9.bz2"
    put_archived(server, BODY, name=name)
    server.put(f"/archive/download/jawiki-{DATE}/{SUMS}", f"{sha1(BODY)}  {name}\n")
    assert Downloader(server, clock, Progress(console=console)).names() == [name]
    assert isinstance(console.file, io.StringIO)
    assert f"nothing says whether {name} is the last part" in console.file.getvalue()


@pytest.mark.parametrize("item", ["{}", '{"files": []}', '{"is_dark": true}', None])
def test_a_dump_that_is_nowhere_is_told_with_both_places(
    server: DumpServer, downloader: Downloader, item: str | None
) -> None:
    if item is not None:
        server.put(f"/archive/metadata/jawiki-{DATE}", item)
    with pytest.raises(StorageError, match=f"jawiki-{DATE}"):
        downloader.plan()


# --- fetching -------------------------------------------------------------------------------------


def test_files_are_fetched_verified_and_recorded(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    put_dump(
        server,
        {"articlesmultistreamdump": ("done", {MULTISTREAM: BODY, INDEX: b"index"})},
    )
    assert downloaded_files("jawiki", DATE) is None
    assert downloader.fetch() == [place(cache)] == downloaded_files("jawiki", DATE)
    assert place(cache).read_bytes() == BODY
    assert place(cache, INDEX).read_bytes() == b"index"
    assert leftovers(cache) == {MULTISTREAM, INDEX, "download.json"}
    assert downloader.plan().missing == 0


def test_requests_describe_the_program(server: DumpServer, downloader: Downloader) -> None:
    put_one(server)
    downloader.fetch()
    for request in server.requests:
        agent = request.headers["User-Agent"]
        assert agent.startswith(f"jagpt/{__version__} (+https://")
        assert request.headers["Accept-Encoding"] == "identity"


def test_what_is_in_place_is_verified_and_not_fetched_again(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    path = put_one(server)
    downloader.fetch()
    downloader.fetch()
    assert len(server.gets(path)) == 1
    place(cache).write_bytes(BODY[:-1] + b"?")
    with pytest.raises(DataError, match=sha1(BODY)):
        downloader.fetch()
    place(cache).write_bytes(b"short")
    with pytest.raises(DataError, match="5 bytes"):
        downloader.fetch()
    assert place(cache).read_bytes() == b"short"


def test_a_file_is_synced_before_it_is_in_place(server: DumpServer, downloader: Downloader) -> None:
    put_one(server)
    plan = downloader.plan()
    seen: list[tuple[str, str]] = []
    with files.observed(lambda operation, path: seen.append((operation, path.name))):
        downloader.fetch(plan)
    moved = seen.index(("rename", MULTISTREAM))
    assert seen[moved - 1] == ("fsync", MULTISTREAM + ".part")
    assert seen.index(("rename", "download.json")) > moved


def test_a_redirect_is_followed_and_keeps_the_range(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_one(server)
    server.put("/elsewhere", BODY)
    server.faults[path] = [redirect("/elsewhere"), redirect("/elsewhere", 307)]
    server.faults["/elsewhere"] = [short_body(BIG_ENOUGH)]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert server.gets("/elsewhere")[1].headers["Range"] == f"bytes={BIG_ENOUGH}-"


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x"])
def test_a_redirect_out_of_the_web_is_refused(
    server: DumpServer, downloader: Downloader, target: str
) -> None:
    server.faults[put_one(server)] = [redirect(target)]
    with pytest.raises(StorageError, match="not followed"):
        downloader.fetch()


@pytest.mark.parametrize(
    ("start", "end", "followed"),
    [
        ("http://a.example/", "http://b.example/", True),
        ("http://a.example/", "https://a.example/", True),
        ("https://a.example/", "https://b.example/", True),
        ("https://a.example/", "http://a.example/", False),
    ],
)
def test_a_redirect_never_leads_out_of_https(start: str, end: str, followed: bool) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        if str(request.url) == start:
            return httpx2.Response(302, headers={"Location": end})
        return httpx2.Response(200, content=b"here")

    with Client() as client:
        client._http = httpx2.Client(transport=httpx2.MockTransport(answer))
        if followed:
            assert client.document(start) == b"here"
        else:
            with pytest.raises(StorageError, match="not followed"):
                client.document(start)


def test_redirects_in_a_circle_end(server: DumpServer, downloader: Downloader) -> None:
    path = put_one(server)
    server.faults[path] = [redirect(path)] * 20
    with pytest.raises(StorageError, match="redirects"):
        downloader.fetch()
    assert len(server.gets(path)) == 6


# --- going on -------------------------------------------------------------------------------------


def test_a_page_without_a_size_replaces_nothing(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    path = put_one(server)
    server.faults[path] = [short_body(BIG_ENOUGH), *[chunked(b"<html>log in</html>")] * 9]
    with pytest.raises(StorageError, match=rf"without its size .*delete {MULTISTREAM}\.part"):
        downloader.fetch()
    assert place(cache, MULTISTREAM + ".part").read_bytes() == BODY[:BIG_ENOUGH]
    server.faults.clear()
    downloader.fetch()
    assert server.gets(path)[-1].headers["Range"] == f"bytes={BIG_ENOUGH}-"


@pytest.mark.parametrize("fault", [short_body(BIG_ENOUGH), stall(BIG_ENOUGH)])
def test_an_interrupted_body_goes_on_where_it_stopped(
    server: DumpServer, downloader: Downloader, clock: Clock, fault: Fault
) -> None:
    path = put_one(server)
    server.faults[path] = [fault]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    first, second = server.gets(path)
    assert first.headers["Range"] is None
    assert second.headers["Range"] == f"bytes={BIG_ENOUGH}-"
    assert second.headers["If-Range"] == '"v1"'
    assert clock.slept == [1.0]


def test_a_reset_connection_is_tried_again(
    server: DumpServer, downloader: Downloader, clock: Clock
) -> None:
    path = put_one(server)
    server.faults[path] = [reset(0), reset(BIG_ENOUGH)]  # a reset may take what was sent with it
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert len(server.gets(path)) == 3


def test_a_later_process_goes_on(server: DumpServer, downloader: Downloader, cache: Path) -> None:
    path = put_one(server)
    server.faults[path] = [short_body(BIG_ENOUGH), *[status(404)] * 9]
    with pytest.raises(StorageError, match="404"):
        downloader.fetch()
    assert leftovers(cache) == {MULTISTREAM + ".part", MULTISTREAM + ".part.json"}
    assert downloader.plan().missing == len(BODY) - BIG_ENOUGH
    server.faults.clear()
    downloader.fetch()
    assert server.gets(path)[-1].headers["Range"] == f"bytes={BIG_ENOUGH}-"
    assert place(cache).read_bytes() == BODY


@pytest.mark.parametrize(
    ("etag", "modified", "sent"),
    [
        ('"strong"', "Tue, 02 Mar 2021 01:26:57 GMT", '"strong"'),
        ('W/"weak"', "Tue, 02 Mar 2021 01:26:57 GMT", "Tue, 02 Mar 2021 01:26:57 GMT"),
        (None, "Tue, 02 Mar 2021 01:26:57 GMT", "Tue, 02 Mar 2021 01:26:57 GMT"),
        (None, None, None),
    ],
)
def test_the_version_is_named_as_well_as_the_server_allows(
    server: DumpServer,
    downloader: Downloader,
    etag: str | None,
    modified: str | None,
    sent: str | None,
) -> None:
    path = put_one(server)
    server.put(path, BODY, etag=etag, modified=modified)
    server.faults[path] = [short_body(BIG_ENOUGH)]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert server.gets(path)[1].headers["If-Range"] == sent


def test_a_server_that_ignores_the_range_sends_all_again(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_one(server)
    server.faults[path] = [short_body(BIG_ENOUGH), whole()]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert len(server.gets(path)) == 2


def test_a_file_that_changed_in_between_is_fetched_anew(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_one(server)
    old = bytes(len(BODY))
    server.faults[path] = [whole_then_cut(old, BIG_ENOUGH)]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert server.gets(path)[1].headers["If-Range"] == '"old"'


def whole_then_cut(body: bytes, count: int) -> Fault:
    """The beginning of an older version of the file."""
    return lambda handler: handler.reply(200, body[:count], {"ETag": '"old"'}, len(body))


def test_a_file_that_changed_on_a_server_without_versions_is_found_by_its_sum(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_one(server)
    server.put(path, BODY, etag=None, modified=None)
    start = {"Content-Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}
    server.faults[path] = [lambda h: h.reply(200, bytes(BIG_ENOUGH), start, len(BODY))]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert [request.headers["Range"] for request in server.gets(path)] == [
        None, f"bytes={BIG_ENOUGH}-", None,
    ]  # fmt: skip


def test_a_range_that_is_not_there_starts_anew(server: DumpServer, downloader: Downloader) -> None:
    path = put_one(server)
    server.faults[path] = [short_body(BIG_ENOUGH), status(416)]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert server.gets(path)[2].headers["Range"] is None


@pytest.mark.parametrize(
    "told", [None, "bytes 0-5119999/5120000", "bytes 1500000-5119999/9", "bytes", "lines 1-2/3"]
)
def test_a_range_that_was_not_asked_for_is_not_taken(
    server: DumpServer, downloader: Downloader, told: str | None
) -> None:
    path = put_one(server)
    server.faults[path] = [short_body(BIG_ENOUGH), partial(told, b"wrong")]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert [request.headers["Range"] for request in server.gets(path)] == [
        None, f"bytes={BIG_ENOUGH}-", None,
    ]  # fmt: skip


def test_a_partial_answer_to_a_plain_request_is_not_taken(
    server: DumpServer, downloader: Downloader, clock: Clock
) -> None:
    wrong = partial(f"bytes 0-{len(BODY) - 1}/{len(BODY)}", bytes(len(BODY)))
    server.faults[put_one(server)] = [wrong]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert clock.slept == [1.0]


def test_a_part_of_another_file_is_not_gone_on_with(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    path = put_one(server)
    files.make_directory(place(cache).parent)
    part = place(cache, MULTISTREAM + ".part")
    for note, rest in [
        (None, b"unknown"),
        ("{}", b"unknown"),
        ("not JSON", b"unknown"),
        (json.dumps({"sha1": "0" * 40, "etag": '"v1"'}), b"other"),
        (json.dumps({"sha1": sha1(BODY), "etag": '"v1"'}), BODY + b"too long"),
    ]:
        part.write_bytes(rest)
        if note is not None:
            part.with_name(part.name + ".json").write_text(note)
        downloader.fetch()
        assert place(cache).read_bytes() == BODY
        place(cache).unlink()
    assert all(request.headers["Range"] is None for request in server.gets(path))


def test_a_part_that_only_wants_its_name_is_verified_without_a_request(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    path = put_one(server)
    files.make_directory(place(cache).parent)
    place(cache, MULTISTREAM + ".part").write_bytes(BODY)
    downloader.fetch()
    assert place(cache).read_bytes() == BODY
    assert not server.gets(path)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_in_seconds_is_kept_to(
    server: DumpServer, downloader: Downloader, clock: Clock, code: int
) -> None:
    server.faults[put_one(server)] = [status(code, retry_after="37")]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert clock.slept == [37.0]


def test_retry_after_as_a_date_is_kept_to(
    server: DumpServer, downloader: Downloader, clock: Clock
) -> None:
    date = email.utils.formatdate(clock.now() + 90, usegmt=True)
    server.faults[put_one(server)] = [status(503, retry_after=date)]
    downloader.fetch()
    assert clock.slept == [90.0]


@pytest.mark.parametrize(
    "told",
    ["", "soon", "-5", "Mon, 01 Jan 0001 00:00:00 -0000", "Mon, 01 Jan 2001 00:00:00 GMT", "0"],
)
def test_retry_after_that_says_nothing_leaves_the_usual_wait(
    server: DumpServer, downloader: Downloader, clock: Clock, told: str
) -> None:
    server.faults[put_one(server)] = [status(429, retry_after=told)]
    downloader.fetch()
    assert clock.slept == [1.0]


@pytest.mark.parametrize("told", ["86400", "9" * 40, "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_long_retry_after_ends_the_work(
    server: DumpServer, downloader: Downloader, clock: Clock, told: str
) -> None:
    server.faults[put_one(server)] = [status(503, retry_after=told)]
    with pytest.raises(StorageError, match=r"asks to wait [\d,]+ s"):
        downloader.fetch()
    assert clock.slept == []


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_waits_double_and_the_tries_are_bounded(
    server: DumpServer, downloader: Downloader, clock: Clock, code: int
) -> None:
    path = put_one(server)
    server.faults[path] = [status(code)] * 20
    with pytest.raises(StorageError, match=rf"{code} .*\(4 tries\)"):
        downloader.fetch()
    assert clock.slept == [1.0, 2.0, 4.0]
    assert len(server.gets(path)) == 4


def test_progress_resets_the_count_of_failures(
    server: DumpServer, downloader: Downloader, clock: Clock
) -> None:
    path = put_one(server, BODY * 3)
    server.faults[path] = [short_body(BIG_ENOUGH)] * 9
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY * 3
    assert clock.slept == [1.0] * 9


def test_a_server_that_always_starts_over_is_given_up(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_one(server)
    server.faults[path] = [whole_then_cut(BODY, BIG_ENOUGH)] * 40
    with pytest.raises(StorageError, match=r"\(4 tries\)"):
        downloader.fetch()
    assert len(server.gets(path)) == 4


@pytest.mark.parametrize("code", [400, 401, 403, 404, 410, 451])
def test_other_refusals_end_at_once(
    server: DumpServer, downloader: Downloader, clock: Clock, code: int
) -> None:
    path = put_one(server)
    server.faults[path] = [status(code)] * 9
    with pytest.raises(StorageError, match=str(code)):
        downloader.fetch()
    assert len(server.gets(path)) == 1
    assert clock.slept == []


def test_a_refused_catalogue_is_tried_again_too(
    server: DumpServer, downloader: Downloader, clock: Clock
) -> None:
    put_one(server)
    server.faults[address("dumpstatus.json")] = [status(503), reset(5), stall(5)]
    assert downloader.names() == [MULTISTREAM]
    assert clock.slept == [1.0, 2.0, 4.0]


def test_a_server_that_is_not_there_is_told(downloader: Downloader, clock: Clock) -> None:
    with serving() as gone:
        base = gone.base
    with pytest.raises(StorageError, match=r"dumpstatus\.json.*\(4 tries\)"):
        downloader.plan(mirror=base)


# --- wrong files ----------------------------------------------------------------------------------


def test_a_wrong_sum_is_fetched_once_anew(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    path = put_one(server)
    server.faults[path] = [whole(bytes(len(BODY)))]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert [request.headers["Range"] for request in server.gets(path)] == [None, None]
    assert leftovers(cache) == {MULTISTREAM, "download.json"}


def test_a_wrong_sum_twice_is_an_error_and_leaves_nothing(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    path = put_one(server)
    server.faults[path] = [whole(bytes(len(BODY)))] * 9
    with pytest.raises(StorageError, match=sha1(BODY)) as caught:
        downloader.fetch()
    assert caught.value.exit_code == 4
    assert len(server.gets(path)) == 2
    assert not cache.exists()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (whole(b"<html>log in</html>"), "has 19 bytes"),
        (chunked(b"<html>"), "ended after 6"),
        (chunked(BODY + b"more"), "sends more than"),
    ],
)
def test_a_body_of_another_size_is_no_dump(
    server: DumpServer, downloader: Downloader, cache: Path, fault: Fault, message: str
) -> None:
    path = put_one(server)
    server.faults[path] = [fault]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    place(cache).unlink()
    server.faults[path] = [fault] * 20
    with pytest.raises(StorageError, match=message):
        downloader.fetch()
    assert MULTISTREAM not in leftovers(cache)


@pytest.mark.parametrize("body", [bytes(len(BODY)) + b"more", b"<html>"])
def test_a_body_of_another_size_is_not_gone_on_with(
    server: DumpServer, downloader: Downloader, body: bytes
) -> None:
    path = put_one(server)
    server.faults[path] = [chunked(body)]
    (found,) = downloader.fetch()
    assert found.read_bytes() == BODY
    assert [request.headers["Range"] for request in server.gets(path)] == [None, None]


# --- the disk, the lock, the bar ------------------------------------------------------------------


def test_space_is_checked_first_and_counts_what_is_here(
    server: DumpServer, downloader: Downloader, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put_one(server)
    free = len(BODY) - 1
    usage = shutil.disk_usage(cache.parent)._replace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(StorageError, match=f"{len(BODY):,} bytes.*{free:,} bytes"):
        downloader.fetch()
    assert not server.gets(path)
    assert not cache.exists()
    place(cache).parent.mkdir(parents=True)
    place(cache, MULTISTREAM + ".part").write_bytes(BODY[:1])
    downloader.fetch()


def test_a_full_disk_keeps_what_was_received(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    put_one(server)

    def full(operation: str, path: Path) -> None:
        if operation == "rename" and path.name == MULTISTREAM:
            raise OSError(28, "No space left on device")

    with files.observed(full), pytest.raises(OSError, match="No space"):
        downloader.fetch()
    assert leftovers(cache) == {MULTISTREAM + ".part"}
    downloader.fetch()
    assert place(cache).read_bytes() == BODY


def test_a_second_download_of_the_same_dump_is_told_of_the_first(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    path = put_one(server)
    plan = downloader.plan()
    program = (
        "import sys, pathlib; from jagpt import files\n"
        "with files.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(plan.directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunInUseError, match=rf"process {other.pid} on .* the same dump"):
            downloader.fetch(plan)
        other.communicate("\n")
    assert not server.gets(path)
    downloader.fetch(plan)


def test_a_killed_download_goes_on(server: DumpServer, downloader: Downloader, cache: Path) -> None:
    path = put_one(server)
    server.faults[path] = [stall(BIG_ENOUGH)]
    program = (
        "import os, sys, threading, time, pathlib\n"
        "from jagpt.corpus.download import fetch, plan_download\n"
        f"plan = plan_download('jawiki', {DATE!r}, sys.argv[1])\n"
        f"part = plan.directory / {(MULTISTREAM + '.part')!r}\n"
        "def watch():\n"
        "    while not (part.exists() and part.stat().st_size > 1_000_000): time.sleep(0.01)\n"
        "    os.kill(os.getpid(), 9)\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "fetch(plan)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, server.base], check=False, env=dict(os.environ), timeout=30
    )
    assert done.returncode == -9
    assert not place(cache).exists()
    downloader.fetch()
    start = int(server.gets(path)[-1].headers["Range"].removeprefix("bytes=").removesuffix("-"))
    assert start > 1_000_000
    assert place(cache).read_bytes() == BODY


def test_progress_tells_what_happens(server: DumpServer, clock: Clock) -> None:
    server.faults[put_one(server)] = [short_body(BIG_ENOUGH)]
    console = Console(file=io.StringIO(), width=200)
    Downloader(server, clock, Progress(console=console)).fetch()
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert f"{MULTISTREAM}: peer closed connection" in text
    assert "trying again in 1 s" in text
    assert f"{MULTISTREAM}: 5 of 5 MB" in text
    assert f"{MULTISTREAM}: checking 5.12 MB" in text


# --- the record -----------------------------------------------------------------------------------


def test_a_recorded_file_that_is_gone_or_cut_is_named(
    server: DumpServer, downloader: Downloader, cache: Path
) -> None:
    put_one(server)
    downloader.fetch()
    place(cache).write_bytes(b"cut")
    with pytest.raises(StorageError, match=r"3 bytes, but 5,120,000"):
        downloaded_files("jawiki", DATE)
    place(cache).unlink()
    with pytest.raises(StorageError, match="missing"):
        downloaded_files("jawiki", DATE)


@pytest.mark.parametrize("change", [{"name": "../x"}, {"size": "5"}, {"name": None}])
def test_a_damaged_record_is_named(
    server: DumpServer, downloader: Downloader, cache: Path, change: dict[str, Any]
) -> None:
    put_one(server)
    downloader.fetch()
    record = place(cache, "download.json")
    value = json.loads(record.read_text())
    value["files"][0].update(change)
    record.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"download\.json"):
        downloaded_files("jawiki", DATE)


def test_a_plan_of_a_file_that_the_server_lost_is_told(
    server: DumpServer, downloader: Downloader
) -> None:
    path = put_one(server)
    plan = downloader.plan()
    (file,) = plan.files
    del server.contents[path]
    with pytest.raises(StorageError, match="404"):
        downloader.fetch(replace(plan, files=(file,)))
