"""One file from a server to the disk: resumed, verified, and only then put in place.

A file grows as `<name>.part`; what the server said about its version is in `<name>.part.json`.
A later try asks for the rest by Range, and by If-Range for the whole file if the version has
changed (RFC 9110, sections 13.1.5 and 14.2). In the end the SHA-1 of the file on disk
decides, so that no server error gets through.
"""

from __future__ import annotations

import hashlib
import re
import time
from http import HTTPStatus
from pathlib import Path

import httpx2

from jagpt import files, units
from jagpt.corpus.download.client import Client, PassingError
from jagpt.corpus.download.plan import DumpFile, part_path
from jagpt.errors import DataError, StorageError
from jagpt.progress import Bar, Progress

MEGABYTE = 1_000_000
COUNTS_AS_PROGRESS = 1024 * 1024
"""New bytes that reset the count of failures."""
_SPEED_WINDOW = 5.0
"""Seconds over which the speed is measured."""


def transfer(client: Client, file: DumpFile, target: Path, progress: Progress) -> Path:
    """Download one file to `target`, complete and verified, continuing from what is already here.

    Raises `StorageError` if the server fails for too long or sends a wrong file twice,
    `DataError` if there is a different file at `target`.
    """
    if target.exists():
        _check_in_place(file, target, progress)
        return target
    part = PartialFile(part_path(target), file)
    for last_try in (False, True):
        _receive(client, file, part, progress)
        found = _sha1(part.path, progress)
        if found == file.sha1:
            part.publish(target)
            return target
        part.discard()
        if not last_try:
            progress.say(
                f"{file.name.text}: SHA-1 {found}, expected {file.sha1}; downloading it again"
            )
    raise StorageError(
        f"{file.url}: SHA-1 {found}, but the dump's own sums say {file.sha1}, twice; nothing was "
        "kept. Try later, or choose another server with --mirror"
    )


class PartialFile:
    """The unfinished file, and the version of the server's file that it belongs to."""

    def __init__(self, path: Path, file: DumpFile) -> None:
        self.path, self.file = path, file
        self._note = path.with_name(path.name + ".json")
        if self.length() != file.size and not self._belongs():
            self.discard()

    def length(self) -> int:
        """Bytes received."""
        return self.path.stat().st_size if self.path.exists() else 0

    def validator(self) -> str | None:
        """The value for If-Range: a strong entity tag, else the date of the last change."""
        note = self._read_note()
        tag, modified = note.get("etag"), note.get("last_modified")
        if isinstance(tag, str) and tag.startswith('"'):
            return tag
        return modified if isinstance(modified, str) else None

    def begin(self, headers: httpx2.Headers) -> None:
        """Start over with the version of the file that the response's headers name."""
        files.remove(self.path)
        note = {
            "sha1": self.file.sha1,
            "etag": headers.get("ETag"),
            "last_modified": headers.get("Last-Modified"),
        }
        files.write_json(self._note, note)

    def publish(self, target: Path) -> None:
        """Move the verified file to its place."""
        files.remove(self._note)
        files.publish(self.path, target)

    def discard(self) -> None:
        """Delete what was received."""
        files.remove(self.path)
        files.remove(self._note)

    def _belongs(self) -> bool:
        """Whether the leftover of an earlier run is the beginning of the requested file."""
        wanted = self._read_note().get("sha1") == self.file.sha1
        return wanted and self.length() < self.file.size

    def _read_note(self) -> dict[str, object]:
        try:
            return files.read_json(self._note)
        except DataError:
            return {}


# --- receiving ------------------------------------------------------------------------------------


def _receive(client: Client, file: DumpFile, part: PartialFile, progress: Progress) -> None:
    """Download until the part has the file's size; after a failure, continue where it stopped."""
    attempts = client.attempts(file.name.text)
    most = start = part.length()
    what = file.name.text + (f" (from {units.size(start)} on)" if start else "")
    with progress.bar(what, _megabytes(file.size - start) or 1, "MB") as bar:
        meter = Meter(bar, start)
        while part.length() < file.size:
            try:
                _receive_once(client, file, part, meter)
            except PassingError as failure:
                if part.length() >= most + COUNTS_AS_PROGRESS:
                    most = part.length()
                    attempts.moved_on()
                attempts.failed(failure)


def _receive_once(client: Client, file: DumpFile, part: PartialFile, meter: Meter) -> None:
    """One request and its body; `PassingError` if that did not complete the file."""
    start = part.length()
    with client.open(file.url, _range_headers(part, start)) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.discard()
            raise PassingError(f"the server's file ends before byte {start:,}")
        if response.status_code == HTTPStatus.PARTIAL_CONTENT and start:
            _check_range(response, file, part, start)
        else:
            _check_length(response, file, part, start)
            part.begin(response.headers)
        _append(response, file, part, meter)
    if (length := part.length()) < file.size:
        if response.status_code == HTTPStatus.OK and "Transfer-Encoding" in response.headers:
            part.discard()  # it was whole: another file
        raise PassingError(f"the body ended after {length:,} of {file.size:,} bytes")


def _range_headers(part: PartialFile, start: int) -> dict[str, str]:
    if not start:
        return {}
    validator = part.validator()
    return {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})


def _check_range(response: httpx2.Response, file: DumpFile, part: PartialFile, start: int) -> None:
    """A partial answer must be the requested rest, of a file of the right size."""
    told = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes ([0-9]{1,15})-([0-9]{1,15})/([0-9]{1,15}|\*)", told.strip())
    if found is None or int(found[1]) != start or found[3] not in (str(file.size), "*"):
        part.discard()
        raise PassingError(
            f"asked for bytes {start:,} on of {file.size:,}, the server sends {told or 'another'}"
        )


def _check_length(response: httpx2.Response, file: DumpFile, part: PartialFile, start: int) -> None:
    """A full answer of a different size is a different file: what is here is kept. Without a size
    it may be anything, such as a network's page to log in, so it replaces nothing.
    """
    if response.status_code != HTTPStatus.OK:
        raise PassingError(f"the server answers {response.status_code} to a plain request")
    told = response.headers.get("Content-Length")
    if told is not None and told != str(file.size):
        raise PassingError(f"the server's file has {told} bytes, expected {file.size}")
    if told is None and start:
        raise PassingError(
            f"asked for bytes {start:,} on, the server sends something whole without its size "
            f"(if it always does, delete {part.path.name})"
        )


def _append(response: httpx2.Response, file: DumpFile, part: PartialFile, meter: Meter) -> None:
    length = part.length()
    with files.appending(part.path) as handle:
        for chunk in response.iter_raw():  # as sent: a dump must not be decompressed in transit
            length += len(chunk)
            if length > file.size:
                break
            handle.write(chunk)
            meter.at(length)
    if length > file.size:
        part.discard()
        raise PassingError(f"the server sends more than the expected {file.size:,} bytes")


class Meter:
    """Updates a bar with the megabytes since the start, and the speed of the last seconds."""

    def __init__(self, bar: Bar, start: int) -> None:
        self._bar, self._start = bar, start
        self._marked, self._marked_at = start, time.monotonic()
        self._note = ""

    def at(self, length: int) -> None:
        """`length` bytes of the file are here."""
        seconds = time.monotonic() - self._marked_at
        if seconds >= _SPEED_WINDOW or (not self._note and seconds >= 1.0):
            speed = max(0, length - self._marked) / seconds
            self._note = f"{speed / MEGABYTE:,.1f} MB/s"
            self._marked, self._marked_at = length, time.monotonic()
        self._bar.update(_megabytes(max(0, length - self._start)), self._note)


def _megabytes(size: int) -> int:
    return round(size / MEGABYTE)


# --- verifying ------------------------------------------------------------------------------------


def _check_in_place(file: DumpFile, target: Path, progress: Progress) -> None:
    size = target.stat().st_size
    found = f"{size:,} bytes"
    if size == file.size:
        found = _sha1(target, progress)
        if found == file.sha1:
            return
    wanted = f"{file.size:,} bytes with SHA-1 {file.sha1}"
    raise DataError(
        f"{target}: not the file of this dump ({found}; expected {wanted}); move it away or delete "
        "it, then run the same command again"
    )


def _sha1(path: Path, progress: Progress) -> str:
    """Hex SHA-1 of the file on disk."""
    progress.say(f"{path.name.removesuffix('.part')}: checking {units.size(path.stat().st_size)}")
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, lambda: hashlib.sha1(usedforsecurity=False))
    return digest.hexdigest()
