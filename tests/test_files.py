"""Durable writes, manifests and the lock."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jagpt import files
from jagpt.errors import DataError, RunInUseError
from jagpt.files import FileEntry, Manifest


def recorded(target: Path) -> list[tuple[str, str]]:
    """The durable operations of writing one JSON file at `target`."""
    operations: list[tuple[str, str]] = []
    with files.observed(lambda operation, path: operations.append((operation, path.name))):
        files.write_json(target, {"a": 1})
    return operations


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path: Path) -> None:
    assert recorded(tmp_path / "a.json") == [
        ("fsync", ".staging-a.json"),
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
    assert files.list_files(target) == ["second"]


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
    assert files.list_files(target) == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["step"]


def test_leftovers_of_a_killed_process_go_and_what_it_replaced_comes_back(tmp_path: Path) -> None:
    for name in (".staging-a.json", "below/.staging-b", f"{files.REPLACED_PREFIX}step/old"):
        files.make_directory((tmp_path / name).parent)
        (tmp_path / name).write_text("x")
    (tmp_path / f"{files.REMOVED_PREFIX}corpus").mkdir()
    files.remove_leftovers(tmp_path)
    assert files.list_files(tmp_path) == ["below/.staging-b", "step/old"]
    files.remove_leftovers(tmp_path, below=True)
    assert files.list_files(tmp_path) == ["step/old"]
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
    with pytest.raises(DataError, match="no number"):
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


# --- manifests ------------------------------------------------------------------------------------


def manifest() -> Manifest:
    entry = FileEntry("sub/a.bin", 1, "00")
    return Manifest("corpus", 1, "ff", {"corpus": {"a": 1}}, {"source": "00"}, (entry,))


def test_a_manifest_survives_writing_and_reading(tmp_path: Path) -> None:
    manifest().write(tmp_path)
    assert Manifest.read(tmp_path) == manifest()


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "a/../../x", "", "a\\..\\b", "a\0b", 3, None]
)
def test_a_manifest_never_names_a_file_outside_its_folder(tmp_path: Path, name: object) -> None:
    manifest().write(tmp_path)
    value = json.loads((tmp_path / files.MANIFEST).read_text())
    value["files"][0]["name"] = name
    (tmp_path / files.MANIFEST).write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"stage": 1}', "[" * 100_000, "\udcff"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / files.MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_entries_list_every_file_with_its_hash_and_refuse_links(tmp_path: Path) -> None:
    files.write_text(tmp_path / "b" / "x", "abc")
    files.write_text(tmp_path / files.IN_PROGRESS, "{}")
    (found,) = files.entries(tmp_path)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found == FileEntry("b/x", 3, digest)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="symbolic link"):
        files.entries(tmp_path)


# --- the lock -------------------------------------------------------------------------------------


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
