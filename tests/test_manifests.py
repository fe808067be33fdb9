"""What a finished stage made, and from what."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jagpt import files, manifests
from jagpt.errors import DataError
from jagpt.manifests import FileEntry, Manifest


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
    value = json.loads((tmp_path / manifests.MANIFEST).read_text())
    value["files"][0]["name"] = name
    (tmp_path / manifests.MANIFEST).write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"stage": 1}', "[" * 100_000, "\udcff"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / manifests.MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_entries_list_every_file_with_its_hash_and_refuse_links(tmp_path: Path) -> None:
    files.write_text(tmp_path / "b" / "x", "abc")
    files.write_text(tmp_path / manifests.IN_PROGRESS, "{}")
    (found,) = manifests.entries(tmp_path)
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert found == FileEntry("b/x", 3, digest)
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(DataError, match="symbolic link"):
        manifests.entries(tmp_path)
