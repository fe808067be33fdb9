"""A remote place as a store of keys: whatever fsspec opens, with few operations and errors in one
line.

A file that was sent counts only once its checksum does: the one that the store made (S3's ETag),
or that of its bytes read back. Listings may be outdated; what matters is looked up by
key. Credentials come from the environment or the provider's own store, and are never shown.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError, JagptError, MissingExtraError, StorageError, UsageError
from jagpt.manifests import FileEntry
from jagpt.recipe import place_problem
from jagpt.text import first_line

PART_BYTES = 50 * 1024**2
"""Of a file that goes to S3 in parts; its ETag depends on it."""
_BLOCK = 16 * 1024**2
_S3 = frozenset({"s3", "s3a"})
_LOCAL = frozenset({"file", "local"})
_TIMEOUTS = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3}}

Tick = Callable[[int], None]
"""Called with the bytes copied since the last call; may raise to stop."""


class RemoteError(StorageError):
    """The place refuses, or does not answer."""


class LocalFileError(DataError):
    """A local file is not, or no longer, what was to be copied."""


class Store:
    """Files by key at a place; every refusal is a `RemoteError` of one line."""

    def __init__(self, place: str) -> None:
        """`UsageError` if fsspec cannot open such a place here."""
        if problem := place_problem(place):
            raise UsageError(f"this remote place cannot be used: {problem}")
        self.place = place.rstrip("/")
        self._protocol = place.partition("://")[0] if "://" in place else "file"
        self._files, self._root = _opened(self.place, self._protocol)

    # --- reading ---

    def names(self, below: str = "") -> list[str]:
        """The keys that begin with a folder's name, as the store lists them."""
        with self._told():
            self._files.invalidate_cache()
            found = self._files.find(f"{self._root}/{below}".rstrip("/"))
        start = len(self._root) + 1
        return sorted(name[start:] for name in found)

    def size(self, key: str) -> int | None:
        """Size in bytes of what is there, None if nothing is; `DataError` if it is not a file."""
        found = self._info(key)
        return None if found is None else int(found["size"])

    def read(self, key: str, limit: int) -> bytes | None:
        """The content there, None if there is nothing; `DataError` above `limit` bytes."""
        size = self.size(key)
        if size is None:
            return None
        if size > limit:
            raise DataError(f"{self.where(key)}: {size:,} bytes, and at most {limit:,} are read")
        with self._told():
            try:
                return bytes(self._files.cat_file(self._full(key)))
            except FileNotFoundError:
                return None

    def age(self, key: str, beside: str) -> float | None:
        """Seconds since it was written, by the store's own clock; `beside` is written for that.

        None if the store does not say, or nothing is there.
        """
        self.write(beside, b"now\n")
        with self._told():
            try:
                now, then = (self._files.modified(self._full(name)) for name in (beside, key))
            except (FileNotFoundError, NotImplementedError):
                return None
        return float((now - then).total_seconds())

    def fetch(self, key: str, entry: FileEntry, path: Path, tick: Tick) -> None:
        """Download a file to `path`; `DataError` if it is gone, or is not as `entry` says."""
        size = self.size(key)
        if size != entry.size:
            found = "gone" if size is None else f"{size:,} bytes, and {entry.size:,} are listed"
            raise DataError(f"{self.where(key)}: {found}")
        with files.staged_file(path) as staged:
            with self._told():
                try:
                    with _ticking(tick, entry.size) as callback:
                        self._files.get_file(self._full(key), str(staged), callback=callback)
                except FileNotFoundError:
                    raise DataError(f"{self.where(key)}: gone") from None
            if staged.stat().st_size != entry.size or files.sha256(staged) != entry.sha256:
                raise DataError(
                    f"{self.where(key)}: damaged: its SHA-256 differs from the listed one"
                )

    # --- writing ---

    def write(self, key: str, data: bytes) -> None:
        """Write `data` there, overwriting what is there."""
        with self._told():
            self._make_parent(key)
            self._files.pipe_file(self._full(key), data)

    def create(self, key: str, data: bytes) -> bool:
        """Write `data` if nothing is there (buckets: If-None-Match; a file: O_EXCL); else False."""
        with self._told():
            self._make_parent(key)
            try:
                self._files.pipe_file(self._full(key), data, mode="create")
            except FileExistsError:
                return False
        return True

    def send(
        self, path: Path, key: str, entry: FileEntry, tick: Tick, *, listed: bool = True
    ) -> None:
        """Upload a local file and check that it arrived; one that is already there is not sent.

        If it is not `listed`, it is sent without asking. `LocalFileError` if the file is not as
        `entry` says.
        """
        try:
            digest, etag = _sums(path)
        except (FileNotFoundError, DataError):
            raise LocalFileError(f"{path}: deleted before it could be copied") from None
        if digest != entry.sha256:
            raise LocalFileError(f"{path}: not as its manifest lists it, so it is not copied")
        if listed and self._stands(key, entry, etag):
            tick(entry.size)
            return
        parts = {"chunksize": PART_BYTES} if self._protocol in _S3 else {}
        with self._told():
            self._make_parent(key)
            with _ticking(tick, entry.size) as callback:
                self._files.put_file(str(path), self._full(key), callback=callback, **parts)
        if not self._stands(key, entry, etag):
            raise RemoteError(f"{self.where(key)}: the copy differs from what was sent")

    def remove(self, keys: list[str]) -> None:
        """Delete what is there."""
        for key in keys:
            with self._told():
                try:
                    self._files.rm_file(self._full(key))
                except FileNotFoundError:
                    continue

    # --- how ---

    def where(self, key: str) -> str:
        """A key's place, for messages."""
        return f"{self.place}/{key}"

    def _full(self, key: str) -> str:
        full = f"{self._root}/{key}"
        if self._protocol in _LOCAL:
            inner = os.path.relpath(os.path.realpath(full), os.path.realpath(self._root))
            if inner != key:
                raise DataError(f"{self.where(key)}: a link; no link is followed there")
        return full

    def _make_parent(self, key: str) -> None:
        if self._protocol not in _S3:  # buckets have no folders, and creating one needs permissions
            self._files.makedirs(self._full(key).rpartition("/")[0], exist_ok=True)

    def _info(self, key: str) -> dict[str, Any] | None:
        with self._told():
            try:
                found: dict[str, Any] = self._files.info(self._full(key))
            except FileNotFoundError:
                return None
        if found["type"] != "file":
            raise DataError(f"{self.where(key)}: not a regular file")
        return found

    def _stands(self, key: str, entry: FileEntry, etag: str) -> bool:
        found = self._info(key)
        if found is None or found["size"] != entry.size:
            return False
        if str(found.get("ETag", "")).strip('"') == etag:
            return True
        digest = hashlib.sha256()
        for start in range(0, entry.size, _BLOCK):
            with self._told():
                end = min(start + _BLOCK, entry.size)
                digest.update(self._files.cat_file(self._full(key), start=start, end=end))
        return digest.hexdigest() == entry.sha256

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever a library raises, in one line without secrets."""
        try:
            yield
        except JagptError:
            raise
        except Exception as error:
            raise RemoteError(f"{self.place}: {_reason(error)}") from None


def _opened(place: str, protocol: str) -> tuple[Any, str]:
    import fsspec

    options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
    if protocol in _S3:
        options["config_kwargs"] = _TIMEOUTS
    try:
        system, root = fsspec.core.url_to_fs(place, **options)
    except ImportError as error:
        if protocol in _S3:
            raise MissingExtraError("a remote place on S3", "remote") from None
        raise UsageError(f"{place}: {first_line(error)}") from None
    except Exception as error:
        raise UsageError(f"{place}: {first_line(error)}") from None
    return system, root.rstrip("/")


def _sums(path: Path) -> tuple[str, str]:
    """SHA-256 of a file, and the ETag that S3 gives it (an MD5, or one of its parts' MD5s)."""
    size = files.regular_file(path)
    whole, parts = hashlib.sha256(), []
    single = size < 2 * PART_BYTES  # as s3fs does it
    with path.open("rb") as file:
        while part := file.read(PART_BYTES if not single else 2 * PART_BYTES):
            whole.update(part)
            parts.append(hashlib.md5(part, usedforsecurity=False))
    if single:
        parts = parts or [hashlib.md5(b"", usedforsecurity=False)]
        return whole.hexdigest(), parts[0].hexdigest()
    joined = b"".join(part.digest() for part in parts)
    etag = hashlib.md5(joined, usedforsecurity=False).hexdigest()
    return whole.hexdigest(), f"{etag}-{len(parts)}"


@contextmanager
def _ticking(tick: Tick, size: int) -> Iterator[Any]:
    """fsspec's callback for a file of this many bytes; some of its file systems never call it."""
    from fsspec.callbacks import Callback

    told = 0

    class Ticking(Callback):  # type: ignore[misc]
        def relative_update(self, inc: int = 1) -> None:
            nonlocal told
            told += inc
            tick(inc)

    yield Ticking()
    tick(size - told)


def _reason(error: Exception) -> str:
    """What a store or its library says, and what to do next."""
    said = re.sub(r"\?\S*|\S*@", "", first_line(error))  # a signed address, a user's name
    kind = type(error).__name__
    code, status = _code(error), getattr(error, "status_code", None)  # S3's, and Azure's
    if code == "RequestTimeTooSkewed" or "time and the current time" in said:
        return "the store refuses this machine's clock, which is off: set it (chronyc, timedatectl)"
    unknown = isinstance(error, PermissionError) or "Credentials" in kind or "Token" in kind
    if unknown or status in (401, 403):
        return f"refused ({said}); check the credentials in the environment, and their rights"
    if isinstance(error, FileNotFoundError) or status == 404:
        return f"there is no such bucket or folder ({said}); check its name"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"full ({said}); free some space there"
    return f"it failed ({said or kind}); check the network and the place"


def _code(error: BaseException) -> str:
    """The code in S3's answer."""
    response = getattr(error.__cause__ or error, "response", None)
    found = response.get("Error", {}) if isinstance(response, dict) else {}
    return str(found.get("Code", ""))
