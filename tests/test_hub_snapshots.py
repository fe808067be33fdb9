"""A repository of the hub: what is asked for, and what is said where it does not come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from jagpt import hub
from jagpt.errors import DataError, JagptError, StorageError


@pytest.mark.parametrize("name", ["org/name", "0rg/n.a-m_e", "名/name", "org", "-o/n", "a/b/c", ""])
def test_a_hub_id_is_two_words(name: str) -> None:
    assert hub.is_hub_id(name) == (name in ("org/name", "0rg/n.a-m_e"))


@pytest.mark.parametrize(
    ("raised", "seen", "words"),
    [
        (
            RepositoryNotFoundError,
            DataError,
            "--model: org/name at revision v1 .* the hub has no such repository",
        ),
        (RevisionNotFoundError, DataError, "the hub has no such repository .gone"),
        (
            HfHubHTTPError,
            StorageError,
            "--model: org/name at revision v1 .* could not be downloaded",
        ),
        (LocalEntryNotFoundError, StorageError, "gone.*HF_HUB_OFFLINE, or give a folder"),
        (OSError, StorageError, "could not be downloaded"),
    ],
)
def test_what_does_not_come_is_told(
    monkeypatch: pytest.MonkeyPatch, raised: Any, seen: type[JagptError], words: str
) -> None:
    def fail(*_: object, **__: object) -> str:
        if issubclass(raised, HfHubHTTPError):
            raise raised("gone\nfor good", response=httpx.Response(404, request=REQUEST))
        raise raised("gone\nfor good")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(seen, match=words) as caught:
        hub.fetch("org/name", "v1", ["*.json"], "--model")
    assert "for good" not in str(caught.value)


def test_files_of_the_patterns_are_asked_for_at_the_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[object] = []

    def snapshot_download(repository: str, **given: object) -> str:
        asked.append((repository, given))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert hub.fetch("org/name", None, ["*.json"], "--model") == tmp_path
    assert asked == [("org/name", {"revision": None, "allow_patterns": ["*.json"]})]


REQUEST = httpx.Request("GET", "https://hub.invalid/org/name")
