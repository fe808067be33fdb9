"""Durable writes and the lock."""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from locking import fails_without_locks

from jagpt import files, manifests
from jagpt.errors import DataError, RunInUseError


def recorded(target: Path) -> list[tuple[str, str]]:
    """The durable operations of writing one JSON file at `target`."""
    operations: list[tuple[str, str]] = []
    with files.observed(lambda operation, path: operations.append((operation, unnamed(path)))):
        files.write_json(target, {"a": 1})
    return operations


def unnamed(path: Path) -> str:
    """The name of a file, without what is random in it."""
    return re.sub("[0-9a-f]{16}", "*", path.name)


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path: Path) -> None:
    assert recorded(tmp_path / "a.json") == [
        ("fsync", ".staging-*-a.json"),
        ("rename", "a.json"),
        ("fsync", tmp_path.name),
    ]


def test_a_new_folder_is_synced_into_its_parent(tmp_path: Path) -> None:
    assert recorded(tmp_path / "new" / "a.json")[:2] == [("mkdir", "new"), ("fsync", tmp_path.name)]


@pytest.mark.parametrize("operation", ["fsync", "rename"])
def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path, operation: str) -> None:
    target = tmp_path / "a.json"
    files.write_json(target, {"old": True})

    def fail(seen: str, _path: Path) -> None:
        if seen == operation:
            raise OSError(28, "No space left on device")

    with files.observed(fail), pytest.raises(OSError, match="No space"):
        files.write_json(target, {"old": False})
    assert json.loads(target.read_text()) == {"old": True}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_finished_file_is_published_durably(tmp_path: Path) -> None:
    part, target = tmp_path / "dump.part", tmp_path / "dump"
    part.write_bytes(b"new")
    target.write_bytes(b"old")
    operations: list[tuple[str, str]] = []
    with files.observed(lambda operation, path: operations.append((operation, path.name))):
        files.publish(part, target)
    assert operations == [("fsync", "dump.part"), ("rename", "dump"), ("fsync", tmp_path.name)]
    assert target.read_bytes() == b"new"
    assert not part.exists()


def test_a_staged_directory_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "step"

    def fill_half(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError

    with pytest.raises(RuntimeError), files.staged_directory(target) as staged:
        fill_half(staged)
    assert list(tmp_path.iterdir()) == []
    with files.staged_directory(target) as staged:
        (staged / "below").mkdir()
        (staged / "below" / "whole").write_text("x")
    assert (target / "below" / "whole").read_text() == "x"


def test_a_staged_directory_replaces_what_stood_there(tmp_path: Path) -> None:
    target = tmp_path / "step"
    for content in ("first", "second"):
        with files.staged_directory(target) as staged:
            (staged / content).write_text(content)
    assert manifests.list_files(target) == ["second"]


def test_a_replaced_directory_stays_where_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    target = tmp_path / "step"
    with files.staged_directory(target) as staged:
        (staged / "old").write_text("x")

    def fail(operation: str, path: Path) -> None:
        if operation == "rename" and path == target:
            raise OSError(5, "Input/output error")

    with (
        files.observed(fail),
        pytest.raises(OSError, match="Input"),
        files.staged_directory(target) as staged,
    ):
        (staged / "new").write_text("x")
    assert manifests.list_files(target) == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


def test_leftovers_of_a_killed_process_go_and_what_it_replaced_comes_back(tmp_path: Path) -> None:
    for name in (".staging-a.json", "below/.staging-b", f"{files.REPLACED_PREFIX}step/old"):
        files.make_directory((tmp_path / name).parent)
        (tmp_path / name).write_text("x")
    (tmp_path / f"{files.REMOVED_PREFIX}corpus").mkdir()
    files.remove_leftovers(tmp_path)
    assert manifests.list_files(tmp_path) == ["below/.staging-b", "step/old"]
    files.remove_leftovers(tmp_path, below=True)
    assert manifests.list_files(tmp_path) == ["step/old"]
    assert not (tmp_path / f"{files.REMOVED_PREFIX}corpus").exists()


def test_a_folder_is_deleted_at_once(tmp_path: Path) -> None:
    files.write_text(tmp_path / "corpus" / "a", "x")

    def die(operation: str, path: Path) -> None:
        if operation == "remove":
            raise KeyboardInterrupt

    with files.observed(die), pytest.raises(KeyboardInterrupt):
        files.remove(tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()


def test_named_pipes_devices_and_sockets_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    for name, found in {
        "pipe": "named pipe", "device": "device", "folder": "directory", "socket": "socket"
    }.items():  # fmt: skip
        with pytest.raises(
            DataError, match=f"{name}: expected a regular manifest, found a {found}"
        ):
            files.read_json(tmp_path / name, "manifest")


def test_a_file_larger_than_what_is_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert files.read_bytes(tmp_path / "x", limit=5) == b"12345"
    with pytest.raises(DataError, match="x: this list has 5 bytes, and at most 4 are read"):
        files.read_bytes(tmp_path / "x", "list", limit=4)


def test_a_name_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file can have this name"):
        files.read_bytes(tmp_path / "a\0b")


@pytest.mark.parametrize("number", ["Infinity", "-Infinity", "NaN", "1e999"])
def test_json_knows_no_infinity(tmp_path: Path, number: str) -> None:
    (tmp_path / "a.json").write_text(f'{{"a": {number}}}')
    with pytest.raises(DataError, match="is not a JSON number"):
        files.read_json(tmp_path / "a.json")


def test_staging_moves_a_librarys_files_with_a_readable_mode(tmp_path: Path) -> None:
    with files.staging(tmp_path) as staged:
        (staged / "model.safetensors").write_bytes(b"x")
        (staged / "model.safetensors").chmod(0o600)
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_folder_that_is_moved_onto_another_gets_a_number(tmp_path: Path) -> None:
    for content in ("a", "b", "c"):
        files.write_text(tmp_path / "corpus" / "f", content)
        files.move_directory(tmp_path / "corpus", tmp_path / "superseded" / "corpus-0123")
    names = sorted(path.name for path in (tmp_path / "superseded").iterdir())
    assert names == ["corpus-0123", "corpus-0123-2", "corpus-0123-3"]


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("")
    with pytest.raises(DataError, match="logs"):
        files.make_directory(tmp_path / "logs" / "below")


def test_a_logs_torn_tail_is_cut_off(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n[3]\n{"st')
    files.truncate_log(log, lambda row: row["step"] <= 1)
    assert log.read_text() == '{"step": 1}\n'


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"step": 0, "x": "\\ud800"}', "9" * 5_000, "\0" * 3_000_000]
)
def test_what_is_no_row_of_a_log_is_left_out(tmp_path: Path, line: str) -> None:
    log = tmp_path / "metrics.jsonl"
    log.write_text(f'{{"step": 1}}\n{line}\n{{"step": 2}}\n')
    files.truncate_log(log, lambda row: True)
    assert log.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_log_is_read_by_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file without data blocks may have any length; of a stranger's log no more is held."""
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("read as a whole"))
    monkeypatch.setattr(Path, "read_bytes", lambda *_: pytest.fail("read as a whole"))
    with (tmp_path / "metrics.jsonl").open("wb") as log:
        log.truncate(5_000_000)
    files.truncate_log(tmp_path / "metrics.jsonl", lambda row: True)
    assert (tmp_path / "metrics.jsonl").stat().st_size == 0


def test_a_row_that_holds_a_line_separator_is_one_row(tmp_path: Path) -> None:
    log = tmp_path / "samples.jsonl"
    row = {"step": 1, "text": "前\u2028中\x85後"}
    with files.appended(log) as append:
        append(row)
    files.truncate_log(log, lambda row: True)
    assert [json.loads(line) for line in log.read_text("utf-8").split("\n") if line] == [row]


# --- a stranger's folder --------------------------------------------------------------------------


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A file of the user's outside every folder of jagpt; it must stay as it is."""
    path = tmp_path / "canary"
    path.write_text("the user's own")
    path.chmod(0o600)
    before = path.stat()
    yield path
    after = path.stat()
    assert path.read_text() == "the user's own"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("kind", ["link", "folder's link", "hard link", "pipe"])
def test_nothing_is_written_through_what_stands_under_a_files_name(
    tmp_path: Path, kind: str
) -> None:
    """The names are those that temporary files had when they could be foreseen, too."""
    work = tmp_path / "work"
    work.mkdir()
    for name in ("a.json", ".staging-a.json", ".owner.json", "step", ".staging-step"):
        plant(work / name, kind, tmp_path)
    files.write_json(work / "a.json", {"a": 1})
    with files.locked(work), files.staged_directory(work / "step2") as folder:
        (folder / "x").write_text("x")
    assert json.loads((work / "a.json").read_text()) == {"a": 1}
    assert not (work / "a.json").is_symlink()
    files.remove_leftovers(work)
    files.remove(work / "step")
    assert sorted(path.name for path in work.iterdir()) == [".lock", "a.json", "step2"]


def plant(place: Path, kind: str, outside: Path) -> None:
    """Something that leads out of the folder of `place`, or hangs."""
    target = outside / "canary"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "hard link":
        os.link(target, place)
    else:
        place.symlink_to(target if kind == "link" else outside)


@pytest.mark.usefixtures("canary")
@pytest.mark.parametrize("kind", ["link", "folder's link", "hard link", "pipe"])
@pytest.mark.parametrize("name", ["log", ".lock"])
def test_a_log_or_a_lock_that_is_not_a_file_of_its_own_is_refused(
    tmp_path: Path, name: str, kind: str
) -> None:
    plant(tmp_path / name, kind, tmp_path)
    if (name, kind) == (".lock", "hard link"):  # nothing is written into a lock
        with files.locked(tmp_path):
            return
    opened = files.locked(tmp_path) if name == ".lock" else files.appending(tmp_path / name)
    with pytest.raises(DataError, match=name), opened:
        pass


@pytest.mark.parametrize("kind", ["link", "folder's link", "pipe", "nowhere", "ring", "socket"])
def test_a_tree_with_a_way_out_is_refused(tmp_path: Path, kind: str) -> None:
    below = tmp_path / "run" / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "canary").write_text("x")
    files.check_tree(tmp_path / "run")
    place = below / "odd"
    if kind == "nowhere":
        place.symlink_to("missing")
    elif kind == "ring":
        place.symlink_to("odd")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(place))
    else:
        plant(place, kind, tmp_path)
    with pytest.raises(DataError, match="run/a/b/odd: "):
        files.check_tree(tmp_path / "run")
    files.check_tree(tmp_path / "run", lambda name: name == "a")


def test_links_within_a_tree_and_to_it_are_no_way_out(tmp_path: Path) -> None:
    run = tmp_path / "disk" / "run"
    (run / "a").mkdir(parents=True)
    (run / "a" / "x").write_text("x")
    (tmp_path / "runs").symlink_to("disk")
    (run / "y").symlink_to("a/x")
    (run / "b").symlink_to(run / "a")
    files.check_tree(tmp_path / "runs" / "run")
    with pytest.raises(DataError, match="a link that leads out"):  # a is not looked into
        files.check_tree(tmp_path / "runs" / "run", lambda name: name == "a")


def test_many_writers_of_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from jagpt import files\n"
        "for n in range(200): files.write_text(pathlib.Path(sys.argv[1]), sys.argv[2] * 9999)\n"
        "files.remove_leftovers(pathlib.Path(sys.argv[1]).parent)"
    )
    target = tmp_path / "report.html"
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(target), letter], stderr=-1, text=True)
        for letter in "abcd"
    ]
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [("", 0)] * 4
    assert target.read_text() in [letter * 9999 for letter in "abcd"]
    assert list(tmp_path.iterdir()) == [target]


def test_what_a_living_process_writes_is_no_leftover(tmp_path: Path) -> None:
    with files.staged_file(tmp_path / "a") as staged, files.staged_directory(tmp_path / "b") as new:
        staged.write_text("x")
        (new / "x").write_text("x")
        program = "import sys, pathlib; from jagpt import files\n" + (
            "files.remove_leftovers(pathlib.Path(sys.argv[1]), below=True)"
        )
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
    assert manifests.list_files(tmp_path) == ["a", "b/x"]


def test_a_disk_that_is_full_is_told_with_the_files_name_and_leaves_no_rest(tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "log").touch()
    with pytest.raises(OSError, match="No space") as one, files.staged_file(tmp_path / "a"):
        full()
    with pytest.raises(OSError, match="No space") as two, files.staged_directory(tmp_path / "b"):
        full()
    with pytest.raises(OSError, match="No space") as three, files.staging(tmp_path):
        full()
    with pytest.raises(OSError, match="No space") as four, files.appending(tmp_path / "log"):
        full()
    assert [error.value.filename for error in (one, two, three, four)] == [
        str(path) for path in (tmp_path / "a", tmp_path / "b", tmp_path, tmp_path / "log")
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_a_full_disk_that_a_library_tells_in_its_own_words_is_told_as_one(tmp_path: Path) -> None:
    program = (
        "import resource, sys, pathlib; from jagpt import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, -1))\n"
        "try:\n"
        "    with files.staged_directory(pathlib.Path(sys.argv[1])) as folder:\n"
        "        raise RuntimeError('iostream error')\n"
        "except OSError as error: print(error.errno, error.filename)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "a")], capture_output=True, text=True
    )
    assert done.stdout == f"{errno.EFBIG} {tmp_path / 'a'}\n", done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that gives EIO")
@pytest.mark.parametrize("read", [files.read_bytes, files.sha256])
def test_a_disk_that_fails_while_it_is_read_is_told_with_the_file(
    read: Callable[[Path], object],
) -> None:
    with pytest.raises(OSError, match=f"{os.strerror(errno.EIO)}: '/proc/self/mem'"):
        read(Path("/proc/self/mem"))


@pytest.fixture
def no_new_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which no temporary file can be made."""
    opened = os.open

    def refuse(path: Any, flags: int, mode: int = 0o777, **options: Any) -> int:
        if files.STAGING_PREFIX in str(path) and flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return opened(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", refuse)


@pytest.mark.usefixtures("no_new_file")
def test_a_file_that_cannot_even_be_made_is_told_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as raised:
        files.write_bytes(tmp_path / "a", b"")
    assert raised.value.filename == str(tmp_path / "a")


# --- the lock -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_new_file")
def test_a_full_disk_can_be_locked_to_be_cleaned(tmp_path: Path) -> None:
    (tmp_path / "superseded").mkdir()
    with files.locked(tmp_path):
        files.remove(tmp_path / "superseded")
    assert list(tmp_path.iterdir()) == []


def test_a_lock_beside_which_nothing_was_made_goes(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "a" / "b"):
        with files.locked(folder):
            assert (folder / files.LOCK).exists()
        assert list(tmp_path.iterdir()) == []
    with files.locked(tmp_path):
        (tmp_path / "made").mkdir()
    with files.locked(tmp_path):
        (tmp_path / "made").rmdir()
    assert [path.name for path in tmp_path.iterdir()] == [files.LOCK]  # another may wait for it


def test_a_second_process_is_told_who_holds_the_lock(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from jagpt import files\n"
        "with files.locked(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(RunInUseError, match=f"process {other.pid}"),
            files.locked(tmp_path),
        ):
            pass
        other.communicate("\n")
    with files.locked(tmp_path):
        assert (tmp_path / ".owner.json").exists()
    assert not (tmp_path / ".owner.json").exists()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys, os, pathlib; from jagpt import files\n"
        "with files.locked(pathlib.Path(sys.argv[1])): os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    with files.locked(tmp_path):
        pass


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no `flock`."""

    monkeypatch.setattr("fcntl.flock", fails_without_locks)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_file_stands_for_one(tmp_path: Path) -> None:
    with files.locked(tmp_path):
        with (
            pytest.raises(RunInUseError, match=f"process {os.getpid()} on"),
            files.locked(tmp_path),
        ):
            pass
        assert (tmp_path / files.HELD).exists()
    assert not (tmp_path / files.HELD).exists()
    with files.locked(tmp_path):
        pass


def test_a_file_that_stands_for_a_lock_counts_where_there_are_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another machine may see the same file system without them."""
    with monkeypatch.context() as other:
        other.setattr("fcntl.flock", fails_without_locks)
        with files.locked(tmp_path):
            other.undo()
            with pytest.raises(RunInUseError, match="delete "), files.locked(tmp_path):
                pass
    with files.locked(tmp_path):
        pass
    (tmp_path / files.HELD).mkdir()
    with pytest.raises(DataError, match="found a directory"), files.locked(tmp_path):
        pass


def test_the_owner_of_a_lock_is_told_in_one_line_whatever_it_says(tmp_path: Path) -> None:
    with files.locked(tmp_path):
        for host, pid in (("x\n\x1b[31m" * 99, 7), ("x", 1e400)):
            (tmp_path / files.OWNER).write_text(json.dumps({"pid": pid, "host": host}))
            with pytest.raises(RunInUseError) as told, files.locked(tmp_path):
                pass
            assert str(told.value).isprintable()
            assert len(str(told.value)) < 400


@pytest.mark.usefixtures("without_locks")
def test_what_is_left_of_a_lock_on_another_machine_is_named_with_the_way_out(
    tmp_path: Path,
) -> None:
    left = tmp_path / files.HELD
    left.write_text("12\nelsewhere\n")
    way_out = f"if it is not, on any machine, delete {left}$"
    with pytest.raises(RunInUseError, match=way_out) as caught, files.locked(tmp_path):
        pass
    assert "\n" not in str(caught.value)
    left.unlink()
    with files.locked(tmp_path):
        pass
