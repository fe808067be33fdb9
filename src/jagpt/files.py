"""Durable writes and the run's lock.

The only module that renames, syncs or deletes. A file or folder appears under its final name only
when its bytes are on the disk: written beside it, fsynced, renamed, and the folder fsynced (the
order of https://lwn.net/Articles/457667/). Libraries write into a staging folder provided
here. Each such operation passes `gate`, so that a test can observe or break it.

A folder may come from a stranger. Temporary files are created exclusively, under unpredictable
names; no link is written through, and no pipe or device is opened (`check_tree`).
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from jagpt.errors import DataError, JagptError, NewerVersionError, RunInUseError
from jagpt.text import printable, shortened

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK, OWNER = ".lock", ".owner.json"
HELD = ".lock-held"
"""Replaces a lock on `LOCK` if the file system has none: it exists while the lock is held."""
LOCK_FILES = frozenset({LOCK, OWNER, HELD})
"""What `locked` keeps in a folder; part of no result."""
STAGING_PREFIX = ".staging-"
REPLACED_PREFIX = STAGING_PREFIX + "replaced-"
REMOVED_PREFIX = STAGING_PREFIX + "removed-"
FILE_MODE = 0o644
MAX_JSON_BYTES = 64 * 1024**2
"""Largest JSON file that is read; parsed, it takes some twenty times as much memory."""
MAX_LINE_BYTES = 1 << 20
"""Longest line of a log; longer ones are read in pieces, none of which is a row."""

_NO_LINK, _NO_WAIT = (getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK"))
_ADDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINK
_LONGEST_NAME = 200
"""Bytes of a name that a temporary name keeps; file systems allow 255."""
_SOME = 1024**2
_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_observers: list[Callable[[str, Path], None]] = []


def gate(operation: str, path: Path) -> None:
    """Every durable operation passes here just before it happens."""
    for observer in _observers:
        observer(operation, path)


@contextmanager
def observed(observer: Callable[[str, Path], None]) -> Iterator[None]:
    """Call `observer(operation, path)` before each durable operation; it may raise instead."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


# --- writing --------------------------------------------------------------------------------------


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all."""
    with staged_file(path) as staged:
        staged.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Put `text` at `path` as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Put `value` at `path` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


@contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """An empty file to write to; it moves to `path` when the block succeeds.

    Several processes may write the same `path`: the last one's file stays, complete.
    """
    make_directory(path.parent)
    with _held(path, _make_file) as staged, _told_as(staged, path):
        yield staged
        _publish(staged, path)
        _sync_directory(path.parent)


def publish(staged: Path, target: Path) -> None:
    """Move a finished file to `target` in the same folder; it is on the disk when this returns.

    For work too long for `staged_file`: the caller keeps its unfinished file between runs.
    """
    _publish(staged, target)
    _sync_directory(target.parent)


@contextmanager
def staged_directory(path: Path) -> Iterator[Path]:
    """An empty folder to fill; it becomes `path` as a whole when the block succeeds.

    An existing folder at `path` is replaced; it is deleted only once the new one is in place.
    """
    make_directory(path.parent)
    with _held(path, _make_directory) as staged, _told_as(staged, path):
        yield staged
        for file in files_below(staged):
            _sync_file(file)
        for folder in sorted((p for p in staged.rglob("*") if p.is_dir()), reverse=True):
            _sync_directory(folder)
        _sync_directory(staged)
        _put_in_place(staged, path)


def _put_in_place(staged: Path, path: Path) -> None:
    """Rename a folder to `path`; an existing one is kept beside it until that is done."""
    old = _beside(path, REPLACED_PREFIX)
    if path.is_dir():
        gate("rename", old)
        path.rename(old)
    try:
        gate("rename", path)
        staged.rename(path)
    except BaseException:
        if old.is_dir():
            old.rename(path)
        raise
    _sync_directory(path.parent)
    remove(old)


@contextmanager
def staging(directory: Path) -> Iterator[Path]:
    """An empty folder for a library to write into; its files move into `directory` at the end."""
    make_directory(directory)
    with _held(directory / "files", _make_directory) as staged, _told_as(staged, directory):
        yield staged
        for file in files_below(staged):
            target = directory / file.relative_to(staged)
            make_directory(target.parent)
            _publish(file, target)
        for folder in {file.parent for file in files_below(directory)}:
            _sync_directory(folder)


@contextmanager
def appending(path: Path) -> Iterator[IO[bytes]]:
    """A file to append to; `DataError` if it is not a regular file with a single name."""
    make_directory(path.parent)
    with _told_as(path, path), os.fdopen(_handle_of(path, _ADDING), "ab") as file:
        if os.fstat(file.fileno()).st_nlink > 1:
            raise DataError(f"{path}: this file has a second name (a hard link); delete this one")
        yield file


@contextmanager
def appended(path: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A function that adds one JSON line to the log at `path` and flushes it to the system."""
    with appending(path) as log:

        def append(row: Mapping[str, Any]) -> None:
            log.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")
            log.flush()

        yield append


def truncate_log(path: Path, keep: Callable[[dict[str, Any]], bool]) -> None:
    """Keep only the complete JSON lines of `path` that `keep` approves (the torn end of a killed
    run is removed, and what no log has: a line of more than `MAX_LINE_BYTES`, for instance).
    """
    if not path.exists():
        return
    regular_file(path, "log")
    with staged_file(path) as staged, path.open("rb") as log, staged.open("wb") as kept:
        while line := log.readline(MAX_LINE_BYTES):
            try:
                row = json.loads(line.decode("utf-8", "replace"))
                text = json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"
            except (ValueError, RecursionError):
                continue
            if isinstance(row, dict) and keep(row):
                kept.write(text)


def make_directory(path: Path) -> None:
    """Make `path` and its parents; the new entry is on the disk when this returns."""
    if path.is_dir():
        return
    if path.exists() or path.is_symlink():
        raise DataError(f"{path}: expected a directory, found {sort_of(path)}")
    make_directory(path.parent)
    gate("mkdir", path)
    path.mkdir(exist_ok=True)
    _sync_directory(path.parent)


def move(source: Path, target: Path) -> None:
    """Move a file or folder within one file system, durably, to a free name."""
    make_directory(target.parent)
    if target.exists():
        raise DataError(f"{target}: this already exists")
    gate("rename", target)
    source.rename(target)
    _sync_directory(target.parent)
    _sync_directory(source.parent)


def move_directory(source: Path, target: Path) -> Path:
    """`move`, adding a number if `target` already exists; returns the final path."""
    free, number = target, 1
    while free.exists():
        number += 1
        free = target.with_name(f"{target.name}-{number}")
    move(source, free)
    return free


def copy(source: Path, target: Path, *, linked: bool = False) -> None:
    """Copy a file or folder to a free name; with `linked`, as hard links if the disk allows it.

    For a folder that is being staged: nothing is synced here.
    """
    if not source.is_dir():
        shutil.copy2(source, target, follow_symlinks=False)
        return

    def take(source: str, target: str) -> None:
        if linked:
            with suppress(OSError):  # another file system, or one without links
                os.link(source, target)
                return
        shutil.copy2(source, target, follow_symlinks=False)

    shutil.copytree(source, target, copy_function=take, symlinks=True)


@contextmanager
def snapshot(source: Path, beside: Path) -> Iterator[Path]:
    """A snapshot of a finished folder, in the folder `beside`, whatever happens to the original in
    the block.

    By links where the disk allows. `FileNotFoundError` if it goes at this very moment.
    """
    with _held(beside / source.name, _make_directory) as staged:
        try:
            copy(source, staged / source.name, linked=True)
        except shutil.Error:  # files that were deleted one by one
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source)) from None
        yield staged / source.name


def remove(path: Path) -> None:
    """Delete a file or a folder with all below it; nothing happens if there is none.

    A folder disappears at once: it is renamed first, so that nobody takes a part of it for the
    whole.
    """
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_dir():
        gate("remove", path)
        path.unlink()
    else:
        if not path.name.startswith(STAGING_PREFIX):
            removed = _beside(path, REMOVED_PREFIX)
            gate("rename", removed)
            path.rename(removed)
            path = removed
        gate("remove", path)
        shutil.rmtree(path)


def remove_leftovers(directory: Path, *, below: bool = False, of: str = "") -> None:
    """Delete what killed processes were writing in `directory`, and with `below` in its folders.

    With `of`, only what was to become the file or folder of that name. A folder that was about to
    be replaced is put back. Files of running processes stay.
    """
    pattern = STAGING_PREFIX + "*"
    for path in sorted(directory.rglob(pattern) if below else directory.glob(pattern)):
        if path.name.endswith(of):
            with _if_abandoned(path) as abandoned:
                if abandoned:
                    _clear_away(path)


def _clear_away(path: Path) -> None:
    original = _replaced(path)
    if original is not None and not os.path.lexists(original):
        gate("rename", original)
        path.rename(original)
        _sync_directory(path.parent)
    else:
        remove(path)


def _replaced(path: Path) -> Path | None:
    """The place of the folder that was moved to `path` to be replaced; None for other leftovers."""
    found = re.fullmatch(f"{re.escape(REPLACED_PREFIX)}(?:[0-9a-f]{{16}}-)?(.+)", path.name, re.S)
    return None if found is None or found[1] in (".", "..") else path.with_name(found[1])


# --- temporary names ------------------------------------------------------------------------------


def _beside(path: Path, prefix: str = STAGING_PREFIX) -> Path:
    """An unpredictable name in the folder of `path`."""
    name = os.fsdecode(os.fsencode(path.name)[-_LONGEST_NAME:])
    return path.with_name(f"{prefix}{secrets.token_hex(8)}-{name}")


@contextmanager
def _held(path: Path, make: Callable[[Path], int]) -> Iterator[Path]:
    """A new file or folder beside `path`, locked while this process works on it.

    It is deleted at the end, unless it was renamed.
    """
    while True:
        staged = _beside(path)
        with _told_as(staged, path):
            handle = make(staged)
        if (
            _lock(handle) and os.fstat(handle).st_nlink
        ):  # else another process took it for a leftover
            break
        os.close(handle)
    try:
        yield staged
    finally:
        os.close(handle)
        if staged.is_dir():
            shutil.rmtree(staged, ignore_errors=True)
        else:
            staged.unlink(missing_ok=True)


def _make_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | _NO_LINK, FILE_MODE)


def _make_directory(path: Path) -> int:
    gate("mkdir", path)
    path.mkdir()
    return os.open(path, os.O_RDONLY | _NO_LINK)


@contextmanager
def _if_abandoned(path: Path) -> Iterator[bool]:
    """Whether no running process works on this file or folder; none can start to within the
    block.
    """
    if path.is_symlink() or not (path.is_file() or path.is_dir()):
        yield True
        return
    try:
        handle = os.open(path, os.O_RDONLY | _NO_LINK | _NO_WAIT)
    except FileNotFoundError:  # its process has just put it in place
        yield False
        return
    try:
        yield _lock(handle)
    finally:
        os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file or folder; False if another process has it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without such locks
        return True
    return True


@contextmanager
def _told_as(staged: Path, path: Path) -> Iterator[None]:
    """Errors of the disk name `path`, not a temporary name or nothing at all."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in _DISK_FULL:
            error.filename = str(path)
        elif isinstance(error.filename, str | bytes):
            error.filename = os.fsdecode(error.filename).replace(str(staged), str(path))
        raise
    except JagptError:
        raise
    except Exception:  # many libraries report a full disk in their own words
        _ask_disk(path)
        raise


def _ask_disk(path: Path) -> None:
    """Raise the error that the disk gives for writing more bytes in the folder of `path`."""
    probe = _beside(path)
    try:
        with os.fdopen(_make_file(probe), "wb") as file:
            file.write(bytes(_SOME))
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        probe.unlink(missing_ok=True)


def _handle_of(path: Path, flags: int) -> int:
    """A file that was opened, if it is a regular one; otherwise `DataError`."""
    try:
        handle = os.open(path, flags | _NO_WAIT, FILE_MODE)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _no_file(path) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _no_file(path)
    return handle


def _no_file(path: Path) -> DataError:
    found = _sort_of(path.lstat().st_mode)
    return DataError(f"{path}: expected a regular file, found {found}; move it away or delete it")


# --- syncing --------------------------------------------------------------------------------------


def _publish(staged: Path, target: Path) -> None:
    _sync_file(staged)
    gate("rename", target)
    staged.replace(target)


def _sync_file(path: Path) -> None:
    gate("fsync", path)
    handle = _handle_of(path, (os.O_RDONLY if fcntl else os.O_RDWR) | _NO_LINK)
    try:
        if hasattr(os, "fchmod"):  # safetensors and others leave 0600 whatever the umask
            os.fchmod(handle, FILE_MODE)
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # Windows cannot open a folder to sync it
        return
    gate("fsync", path)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --- reading --------------------------------------------------------------------------------------


def check_tree(root: Path, pass_over: Callable[[str], bool] = lambda _name: False) -> None:
    """Refuse what would lead out of the folder `root` or hang: `DataError` names it.

    That is a link below `root` that leads outside or nowhere, a named pipe, a device or a socket.
    `root` itself may be reached through a link. Folders whose relative name `pass_over` approves
    are not examined, and no link may lead there.
    """
    home = Path(os.path.realpath(root))
    waiting = [home] if home.is_dir() else []
    while waiting:
        with suppress(FileNotFoundError), os.scandir(waiting.pop()) as found:
            for entry in found:
                if entry.is_file(follow_symlinks=False):
                    continue
                path = Path(entry.path)
                name = path.relative_to(home)
                if entry.is_symlink():
                    _check_link(root / name, home, pass_over)
                elif not entry.is_dir(follow_symlinks=False):
                    raise _no_file(root / name)
                elif not pass_over(name.as_posix()):
                    waiting.append(path)


def _check_link(link: Path, home: Path, pass_over: Callable[[str], bool]) -> None:
    try:
        target: Path | None = Path(os.path.realpath(link, strict=True))
    except OSError:  # to nowhere, or in a circle
        target = None
    if target is not None and target.is_relative_to(home):
        inner = target.relative_to(home)
        folders = [inner, *inner.parents] if target.is_dir() else inner.parents
        if not any(pass_over(folder.as_posix()) for folder in folders if folder.name):
            return
    if os.path.lexists(link):
        raise DataError(
            f"{link}: a link that leads out of its folder, or nowhere ({link.readlink()}); such "
            "links are not followed: replace it with what it points to, or delete it"
        )


def files_below(directory: Path) -> list[Path]:
    """Every file and link below `directory`, in order."""
    return sorted(path for path in directory.rglob("*") if path.is_file() or path.is_symlink())


def regular_file(
    path: Path, kind: str = "file", limit: int | None = None, missing: str = ""
) -> int:
    """Size in bytes of the regular file at `path`.

    Reading a named pipe, a socket or a device may hang, or never end. `DataError` if there is one
    of these, a folder, nothing (in the words of `missing`), or more than `limit` bytes.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(f"{path}: {missing or f'this {kind} is missing'}") from None
    except ValueError:  # a NUL
        raise DataError(f"{str(path)!r}: no file can have this name") from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise DataError(f"{path}: expected a {kind}, found a link to itself") from None
    if not stat.S_ISREG(found.st_mode):
        raise DataError(f"{path}: expected a regular {kind}, found {_sort_of(found.st_mode)}")
    if limit is not None and found.st_size > limit:
        raise DataError(
            f"{path}: this {kind} has {found.st_size:,} bytes, and at most {limit:,} are read"
        )
    return found.st_size


def sort_of(path: Path) -> str:
    """What is at `path`, or where it leads if it is a link, as a message names it."""
    return _sort_of((path.stat() if path.exists() else path.lstat()).st_mode)


def _sort_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return "a file"
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISLNK(mode):
        return "a link"
    if stat.S_ISFIFO(mode):
        return "a named pipe"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"


def read_bytes(path: Path, kind: str = "file", limit: int | None = None) -> bytes:
    """The content of a regular file; raises as `regular_file` does."""
    regular_file(path, kind, limit)
    try:
        with _named(path):
            return path.read_bytes()
    except FileNotFoundError:  # it was deleted in between
        raise DataError(f"{path}: this {kind} is missing") from None


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An error of reading names the file, which the system leaves out once it is open."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def read_json(path: Path, kind: str = "file", limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object at `path`; `DataError` names the file where there is no such object."""
    raw = read_bytes(path, kind, limit)
    try:
        value = json.loads(raw.decode("utf-8"), parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: this {kind} is not readable as JSON ({error})") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: this {kind} should hold a JSON object")
    return value


def check_version(path: object, found: object, known: int) -> None:
    """`NewerVersionError` if a newer jagpt wrote `path`, `DataError` for any other version."""
    if type(found) is int and found > known:
        raise NewerVersionError(path, found, known)
    if found != known:
        raise DataError(f"{path}: damaged: found version {found!r}, expected {known}")


def _finite(text: str) -> float:
    """A JSON number, which cannot be infinite; Python's reader would let it through."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is not a JSON number")
    return number


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    regular_file(path)
    with _named(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical(value: Any) -> bytes:
    """The one JSON form of `value` that is hashed: sorted keys, no white space."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8")


def fingerprint_of(value: Any) -> str:
    """Hex SHA-256 of the canonical form of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


# --- the lock -------------------------------------------------------------------------------------


@contextmanager
def locked(run_directory: Path) -> Iterator[None]:
    """Hold the run's one lock; `RunInUseError` names the process that has it.

    A lock beside which nothing was made is deleted, and so are the folders created only for it.
    """
    made = [path for path in (run_directory, *run_directory.parents) if not path.exists()]
    make_directory(run_directory)
    owner, place = run_directory / OWNER, run_directory / LOCK
    new = not os.path.lexists(place)
    lock = _lock_of(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunInUseError(
            f"{run_directory}: in use by another jagpt process{_owner_name(owner)}; "
            f"wait for it to end, stop it, or work elsewhere with --run-dir{_left_over(lock)}"
        ) from None
    try:
        _write_owner(owner)
        yield
    finally:
        owner.unlink(missing_ok=True)
        if new and [path.name for path in run_directory.iterdir()] == [place.name]:
            _remove_empty(place, made)
        lock.release()


def _lock_of(place: Path) -> BaseFileLock:
    """The lock on a file, which is made; on a file system that has none, a file beside it.

    That file also counts where there are locks: another machine may see the file system otherwise.
    """
    held = place.with_name(HELD)
    handle = _handle_of(place, _ADDING)  # neither a link nor a pipe
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pass
    except OSError:
        return SoftFileLock(held)
    finally:
        os.close(handle)
    if not os.path.lexists(held):
        return FileLock(place)
    if not held.is_file():
        raise _no_file(held)
    return SoftFileLock(held)


def _left_over(lock: BaseFileLock) -> str:
    """What to do about a file that serves as a lock: it outlives a killed process."""
    if not isinstance(lock, SoftFileLock):
        return ""
    return (
        ". A file stands for its lock, as where a file system has none, so jagpt cannot tell "
        "whether that process is still running: "
        f"if it is not, on any machine, delete {lock.lock_file}"
    )


def _remove_empty(lock: Path, folders: Sequence[Path]) -> None:
    """Delete a lock that nobody else holds, and the folders that contain nothing else."""
    gate("remove", lock.parent)
    lock.unlink()
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _write_owner(owner: Path) -> None:
    """Records who holds the lock until it is released; need not be synced to disk.

    A full disk does without the record: `clean` must work there.
    """
    try:
        with _held(owner, _make_file) as staged, _told_as(staged, owner):
            staged.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}))
            staged.replace(owner)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise


def _owner_name(owner: Path) -> str:
    try:
        value = read_json(owner)
        host = shortened(" ".join(printable(str(value["host"])).split()), 64)
        return f" (process {int(value['pid'])} on {host})"
    except (OSError, OverflowError, DataError, ValueError, KeyError, TypeError):
        return ""
