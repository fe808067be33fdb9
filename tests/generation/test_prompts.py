from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from jagpt.errors import DataError, JagptError, UsageError
from jagpt.generation import read_prompts


def test_one_prompt_a_line_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes("\ufeff京都は\r\n\n  \n 日本の\n".encode())
    assert read_prompts(str(path)) == ["京都は", " 日本の"]


def test_only_line_ends_part_prompts(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    odd = "前\u2028中\x85後\x0c末\x1c\x0b"
    path.write_bytes(f"{odd}\r東京は\r\n京都は\n".encode())
    assert read_prompts(str(path)) == [odd, "東京は", "京都は"]


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("京都は\n東京は".encode())))
    assert read_prompts("-") == ["京都は", "東京は"]


def test_closed_standard_input_and_a_folder_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        read_prompts("-")
    with pytest.raises(UsageError, match="expected a file, found a directory"):
        read_prompts(str(tmp_path))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="link: expected a file, found a directory"):
        read_prompts(str(tmp_path / "link"))


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (None, UsageError, "no such file"),
        (b"", DataError, "no prompt in it"),
        (b"\n \n", DataError, "no prompt in it"),
        (b"a\nb\n\xff\xfe\n", DataError, "line 3 is not UTF-8"),
        ("京都".encode("euc_jp"), DataError, "line 1 is not UTF-8"),
    ],
)
def test_what_is_no_list_of_prompts_is_refused(
    tmp_path: Path, content: bytes | None, kind: type[JagptError], message: str
) -> None:
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(kind, match=message):
        read_prompts(str(path))
