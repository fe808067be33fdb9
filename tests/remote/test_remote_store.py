"""A store of keys: what it confirms, refuses and says; the lease on it."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fsspec.registry import _registry
from remote import s3_server
from remote.s3_server import Fault, S3Server

from jagpt import files
from jagpt.errors import DataError, MissingExtraError, RunInUseError, UsageError
from jagpt.manifests import FileEntry
from jagpt.recipe import place_problem
from jagpt.remote import lease
from jagpt.remote import store as stores
from jagpt.remote.copies import Copy
from jagpt.remote.store import LocalFileError, RemoteError, Store


def entry_of(path: Path) -> FileEntry:
    return FileEntry(path.name, path.stat().st_size, files.sha256(path))


def ignored(_count: int) -> None:
    """Nobody looks."""


@pytest.fixture(params=["s3", "file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "s3":
        return Store(str(request.getfixturevalue("bucket")))
    return Store(str(tmp_path / "elsewhere"))


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 5, 11 * 1024**2], ids=["empty", "one part", "several parts"])
def test_a_file_goes_there_and_comes_back(
    store: Store, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "PART_BYTES", 5 * 1024**2)
    path, ticks = tmp_path / "file", []
    path.write_bytes(os.urandom(size))
    entry = entry_of(path)
    store.send(path, "a/file", entry, ticks.append)
    assert sum(ticks) == size
    store.send(path, "a/file", entry, ticks.append)
    store.fetch("a/file", entry, tmp_path / "back", ticks.append)
    assert sum(ticks) == 3 * size
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert store.names() == ["a/file"]


def test_what_is_there_already_is_not_sent_and_what_differs_is(
    s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    path, store = tmp_path / "file", Store(bucket)
    path.write_bytes(b"12345")
    store.write("file", b"54321")
    store.send(path, "file", entry_of(path), ignored)
    assert store.read("file", 10) == b"12345"
    with s3.faulty(lambda _number, _request: None):
        store.send(path, "file", entry_of(path), ignored)
        assert [request.split()[0] for request in s3.requests] == ["HEAD"]


def test_what_arrived_otherwise_is_told(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    (tmp_path / "other").write_bytes(b"54321")
    put = store._files.put_file

    def bad(_source: str, target: str, **options: object) -> None:
        put(str(tmp_path / "other"), target, **options)

    monkeypatch.setattr(store._files, "put_file", bad)
    with pytest.raises(RemoteError, match="the copy differs from what was sent"):
        store.send(path, "file", entry_of(path), ignored)


def test_a_file_that_changed_here_is_not_sent(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    entry = entry_of(path)
    path.write_bytes(b"54321")
    with pytest.raises(LocalFileError, match="not as its manifest lists it"):
        store.send(path, "file", entry, ignored)
    assert store.size("file") is None


def test_another_size_is_not_even_fetched(store: Store, tmp_path: Path) -> None:
    store.write("file", b"12345")
    entry = FileEntry("file", 4, "0" * 64)
    with pytest.raises(DataError, match="5 bytes, and 4 are listed"):
        store.fetch("file", entry, tmp_path / "back", ignored)
    with pytest.raises(DataError, match="at most 4 are read"):
        store.read("file", 4)


def test_no_link_is_followed(tmp_path: Path) -> None:
    secret, store = tmp_path / "secret", Store(str(tmp_path / "drive"))
    secret.mkdir()
    (secret / "file").write_bytes(b"12345")
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "folder").symlink_to(secret)
    (tmp_path / "drive" / "link").symlink_to(secret / "file")
    for key in ("folder/file", "link"):
        with pytest.raises(DataError, match="no link is followed there"):
            store.read(key, 100)
    with pytest.raises(DataError, match="no link is followed there"):
        store.write("folder/new", b"")
    os.mkfifo(tmp_path / "drive" / "pipe")
    with pytest.raises(DataError, match="not a regular file"):
        store.read("pipe", 100)


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (s3_server.wrong_key, "refused .* check the credentials in the environment"),
        (s3_server.wrong_clock, "this machine's clock, which is off: set it"),
        (s3_server.error("404 Not Found", "NoSuchBucket", "It is gone"), "no such bucket"),
        (s3_server.refused, "it failed .* check the network"),
        (s3_server.lost, "it failed .* check the network"),
    ],
    ids=["credentials", "clock", "bucket", "down", "lost"],
)
def test_a_refusal_is_one_line(
    fault: Fault, told: str, s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(stores._TIMEOUTS, "retries", {"max_attempts": 0})
    store = Store(bucket)
    store._files.retries = 1
    with s3.faulty(lambda _number, _request: fault), pytest.raises(RemoteError, match=told) as said:
        store.names()
    assert str(said.value).startswith(f"{bucket}: ")
    assert len(str(said.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "told"),
    [(403, "check the credentials"), (404, "no such bucket"), (500, "it failed")],
)
def test_azures_refusals_are_known_by_their_status(
    status: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class HttpResponseError(Exception):  # of azure.core, which is not installed here
        status_code = status

    def refuse(*_: object) -> None:
        raise HttpResponseError("Said by the store.")

    store = Store(str(tmp_path / "drive"))
    monkeypatch.setattr(store._files, "find", refuse)
    with pytest.raises(RemoteError, match=f"Said by the store.*{told}|{told}.*Said by the store"):
        store.names()


@pytest.mark.parametrize(
    "place",
    ["s3://key:secret@bucket/run", "s3://secret@bucket/run", "https://host/run?sig=secret"],
)
def test_a_place_with_credentials_is_refused_without_repeating_them(place: str) -> None:
    with pytest.raises(UsageError, match="credentials come from the environment") as said:
        Store(place)
    assert "secret" not in str(said.value)


@pytest.mark.parametrize(
    "place", ["", "runs", "s3://", "file://runs", "/a/../b", "simplecache::s3://b/x", "s3://b/a b"]
)
def test_what_is_no_place_is_refused(place: str) -> None:
    assert place_problem(place)


@pytest.mark.parametrize(
    "place",
    ["s3://b/x", "gs://b", "abfs://c@account.dfs.core.windows.net/x", "/mnt/x", "file:///x"],
)
def test_a_place_is_taken(place: str) -> None:
    assert place_problem(place) is None


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(_registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match=r"\[remote\]"):
        Store("s3://bucket/run")
    with pytest.raises(UsageError, match="nonsense"):
        Store("nonsense://bucket/run")


# --- a stranger's copies --------------------------------------------------------------------------


def copy_with(**changes: object) -> bytes:
    manifest = {
        "stage": "corpus", "version": 2, "fingerprint": "ab" * 32, "section": {}, "inputs": {},
        "files": [{"name": "a", "size": 1, "sha256": "0" * 64}],
    }  # fmt: skip
    manifest |= {key: value for key, value in changes.items() if key in manifest}
    value = {"version": 1, "manifest": manifest, "step": None, "logs": [], "time": None}
    return json.dumps(value | {k: v for k, v in changes.items() if k in value}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"files": [{"name": name, "size": 1, "sha256": "0" * 64}]}
        for name in ("../a", "/etc/passwd", "a/../../b", "a\\b", ".", "a\0b")
    ]
    + [
        {"logs": [{"name": "../metrics.jsonl", "size": 1, "sha256": "0" * 64}]},
        {"files": [{"name": "a", "size": -1, "sha256": "0" * 64}]},
        {"files": [{"name": "a", "size": 1, "sha256": "../../../x"}]},
        {"fingerprint": "cd" * 32},
        {"step": "x"},
        {"version": 99},
        {"files": None},
    ],
)
def test_a_copy_that_lies_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    store, key = Store(str(tmp_path)), f"corpus-{('ab' * 8)}/copy.json"
    store.write(key, copy_with())
    assert Copy.read(store, key) is not None
    store.write(key, copy_with(**changes))
    with pytest.raises(DataError, match="corpus-abab"):
        Copy.read(store, key)


# --- the lease ------------------------------------------------------------------------------------


def other_machine(**changes: object) -> lease.Claim:
    return replace(lease.Claim.mine(), nonce="theirs", host="far", machine="far 1", **changes)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(lease, "RENEW_SECONDS", 0.01)


def test_one_after_the_other(store: Store) -> None:
    first = lease.take(store, pytest.fail)
    with pytest.raises(RunInUseError, match=f"process {os.getpid()} on"):
        lease.take(store, pytest.fail)
    first.release()
    second = lease.take(store, pytest.fail)
    assert (first.token, second.token) == (1, 2)
    with pytest.raises(lease.TakenOverError):
        first.check()
    assert second.check() == 2
    second.release()


def test_a_killed_process_of_this_machine_is_told_at_once(store: Store) -> None:
    lease._write(store, 1, replace(lease.Claim.mine(), pid=2**22 - 1, started=1.0))
    said: list[str] = []
    lease.take(store, said.append).release()
    assert "vanished: taking over" in "".join(said)


def test_another_machine_that_lives_is_waited_for_and_found(store: Store, quick: None) -> None:
    lease._write(store, 1, other_machine())
    said: list[str] = []

    def beat(text: str) -> None:
        said.append(text)
        lease._write(store, 1, other_machine(beats=1))

    with pytest.raises(RunInUseError, match="on far writes there"):
        lease.take(store, beat)
    assert "waiting up to 60 s" in said[0]


def test_a_stale_claim_is_taken_over_in_the_open(
    store: Store, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "STALE_SECONDS", 0.0)
    lease._write(store, 1, other_machine())
    said: list[str] = []
    mine = lease.take(store, said.append)
    assert mine.token == 2
    assert "on far wrote there and vanished: taking over" in said[-1]
    mine.release()


def test_the_machines_clock_does_not_matter(
    store: Store, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease._write(store, 1, other_machine())
    monkeypatch.setattr(time, "time", lambda: 4e9)
    age = store.age(lease._key(1), lease._CLOCK)
    assert age is not None
    assert 0 <= age < 30


def test_a_holder_beats(store: Store, quick: None) -> None:
    mine = lease.take(store, pytest.fail)
    end = time.monotonic() + 20
    while (claim := lease.holder(store)[1]) is None or claim.beats < 2:
        assert time.monotonic() < end
    mine.release()
    _, claim = lease.holder(store)
    assert claim is not None
    assert claim.released


def test_of_two_that_claim_at_once_one_gets_it(store: Store, quick: None) -> None:
    mine, theirs = lease.Claim.mine(), other_machine()
    assert lease._created(store, 1, theirs)
    assert not lease._created(store, 1, mine)
    assert lease._created(store, 1, theirs)  # its first answer was lost


def test_an_old_listing_hides_no_claim(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in (1, 2, 3):
        lease._write(store, token, other_machine(released=True))
    monkeypatch.setattr(Store, "names", lambda _self, _below="": ["lease/00000001.json"])
    assert lease.holder(store)[0] == 3
