"""What every record shares: it writes itself, and checks what it reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from jagpt.errors import DataError
from jagpt.records import Count, Record, optional, remake


@dataclass(frozen=True)
class Part:
    size: Count
    share: float
    note: str | None = optional()


@dataclass(frozen=True)
class Example(Record):
    FILE = "example.json"
    KIND = "example"
    REMEDY = remake("corpus")

    name: str
    parts: tuple[Part, ...]
    sums: Mapping[str, Count]
    date: str | None = None


EXAMPLE = Example("京都", (Part(1, 0.5), Part(2, 0.25, "x")), {"a": 3})


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    EXAMPLE.write(tmp_path)
    assert Example.read(tmp_path) == EXAMPLE
    assert Example.find(tmp_path / "nowhere") is None


def test_the_file_holds_the_fields_in_order_without_empty_optional_ones(tmp_path: Path) -> None:
    EXAMPLE.write(tmp_path)
    value = {
        "name": "京都",
        "parts": [{"size": 1, "share": 0.5}, {"size": 2, "share": 0.25, "note": "x"}],
        "sums": {"a": 3},
        "date": None,
    }
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    assert (tmp_path / "example.json").read_text("utf-8") == text


def test_keys_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "example.json").write_text(json.dumps({**EXAMPLE.as_json(), "later": [1]}))
    assert Example.read(tmp_path) == EXAMPLE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "name: found 3; input should be a valid string"),
        ({"name": None}, "name: found None"),
        ({"parts": {}}, "parts: found {}"),
        ({"parts": [{"size": 1}]}, "the key parts.0.share is missing"),
        ({"parts": [{"size": -1, "share": 0.5}]}, "parts.0.size: found -1"),
        ({"parts": [{"size": True, "share": 0.5}]}, "parts.0.size: found True"),
        ({"parts": [{"size": 1.0, "share": 0.5}]}, "parts.0.size: found 1.0"),
        ({"parts": [{"size": 10**30, "share": 0.5}]}, "parts.0.size: found 1000000"),
        ({"parts": [{"size": 1, "share": 10**400}]}, "parts.0.share: found 1000000"),
        ({"parts": [{"size": 1, "share": float("inf")}]}, "parts.0.share: found inf"),
        ({"sums": {"a": [1] * 10_000}}, "sums.a: found [1, 1, 1, 1, 1, 1, ...]"),
        ({"sums": {"a\x1b[2J": "x"}}, r"sums.a\x1b[2J: found 'x'"),
        ({"date": "あ" * 10, "name": 1, "sums": 1}, "name: found 1; input should be a valid string "
         "(and 1 more)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line_with_file_key_and_remedy(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "example.json"
    path.write_text(json.dumps({**EXAMPLE.as_json(), **change}))
    with pytest.raises(DataError) as caught:
        Example.read(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{path}: this example is damaged: {message}")
    assert text.endswith("; make it again with `jagpt corpus RECIPE --force`")
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[" * 100_000, '{"a": 1' + "0" * 9000])
def test_what_is_no_json_object_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "example.json").write_text(content)
    with pytest.raises(DataError, match=r"example\.json: this example is damaged"):
        Example.read(tmp_path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"example\.json: this example is missing"):
        Example.read(tmp_path)
