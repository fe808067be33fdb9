"""What a finished stage made, and from what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jagpt import files, manifests
from jagpt.errors import DataError
from jagpt.manifests import FileEntry, Manifest


def manifest() -> Manifest:
    entry = FileEntry("sub/a.bin", 1, "0" * 64)
    return Manifest("corpus", 1, "f" * 64, {"corpus": {"a": 1}}, {"source": "00"}, (entry,))


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


LIES = [
    *({"stage": text} for text in ("", "../corpus", "a b", 3)),
    *({"fingerprint": text} for text in ("", "/../../", "**" + "f" * 62, "f" * 63, "F" * 64, None)),
    *({"files": [{"sha256": text}]} for text in ("/../../../x", "0" * 65, 0)),
    *({"files": [{"size": size}]} for size in (-1, 1.5, True, "1", None)),
    *({"version": version} for version in (float("inf"), float("nan"), -1, 1.5, True, "1", None)),
    *({"section": section} for section in ([], {"train": 5}, {"train": None}, [["train", {}]])),
    *({"section": {"train": {"rate": value}}} for value in (float("nan"), float("inf"), "\ud800")),
    *({"section": {key: {}}} for key in ("\ud800",)),
    *({"inputs": inputs} for inputs in ({"a": "\ud800"}, {"\udcff": "00"}, {"a": 1}, [])),
]


@pytest.mark.parametrize("lie", LIES, ids=str)
def test_what_becomes_part_of_a_name_or_a_sum_is_checked(
    tmp_path: Path, lie: dict[str, Any]
) -> None:
    value = manifest().as_json()
    if "files" in lie:
        lie = {"files": [value["files"][0] | lie["files"][0]]}
    with pytest.raises(DataError, match=r"manifest\.json: this manifest is damaged"):
        Manifest.of(value | lie, tmp_path / manifests.MANIFEST)
    (tmp_path / manifests.MANIFEST).write_text(json.dumps(value | lie))
    with pytest.raises(DataError, match=r"manifest\.json: this (manifest is damaged|.* as JSON)"):
        Manifest.read(tmp_path)


def test_a_damaged_manifest_is_told_in_one_short_line(tmp_path: Path) -> None:
    value = manifest().as_json() | {"stage": "x\n" * 100_000}
    files.write_json(tmp_path / manifests.MANIFEST, value)
    with pytest.raises(DataError) as caught:
        Manifest.read(tmp_path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"stage": 1}', "[" * 100_000, "\udcff"])
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / manifests.MANIFEST).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"manifest\.json.*rerun its stage with --force"):
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
