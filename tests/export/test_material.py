"""The text that parity is measured on, from whatever file a user names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import folders
import pytest

from jagpt import models
from jagpt.errors import DataError, UsageError
from jagpt.formats import material
from jagpt.formats.source import ModelSource


@pytest.fixture(scope="module")
def tokenizer(source: ModelSource) -> Any:
    return models.load_tokenizer(source.directory)


def test_of_a_large_file_the_beginning_is_read(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(folders.TEXT.replace("\n", "\r\n").encode() + "京".encode() + b"\xff" * 99)
    monkeypatch.setattr(material, "FILE_BYTES", path.stat().st_size - 100)  # within the character
    found = material.of_file(path, tokenizer, 64)
    assert found == material.of_text(folders.TEXT, "text.txt", tokenizer, 64)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_is_no_file_is_told_and_not_waited_for(tokenizer: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="pipe: expected a regular text, found a named pipe"):
        material.of_file(tmp_path / "pipe", tokenizer, 64)
    with pytest.raises(DataError, match="expected a regular text, found a directory"):
        material.of_file(tmp_path, tokenizer, 64)
    with pytest.raises(UsageError, match="no such file"):
        material.of_file(tmp_path / "none", tokenizer, 64)


def test_a_file_in_another_encoding_is_told(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes("京都".encode() + b"\xff")
    with pytest.raises(DataError, match=r"not UTF-8 text \(byte 6\)"):
        material.of_file(tmp_path / "text.txt", tokenizer, 64)
