"""Rows with columns: JSON lines, Parquet files and data sets of the hub."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.readers import readers_of
from jagpt.corpus.sources import source_files
from jagpt.errors import DataError, MissingExtraError
from jagpt.recipe import Source

ROWS: list[dict[str, Any]] = [
    {"id": 7, "name": "甲", "body": "甲は例である。\r\n二行目。\n", "link": "https://a", "rev": 70},
    {"id": "x8", "name": None, "body": "\u3000乙\n", "link": None, "rev": None},
    {"id": 9, "name": "丙", "body": None, "link": "", "rev": "90"},
    {"id": 10, "name": "丁", "body": "a\0b", "link": None, "rev": 1},
]
COLUMNS = {
    "column": "body",
    "title_column": "name",
    "id_column": "id",
    "url_column": "link",
    "revision_column": "rev",
}
DOCUMENTS = [
    SourceDocument("7", "甲", "甲は例である。\n二行目。", "https://a", 70),
    SourceDocument("x8", "", "乙"),
    SourceDocument("9", "丙", "", revision=90, problem="no text"),
    SourceDocument("10", "丁", "", revision=1, problem="not text"),
]
PACKERS = {
    "": bytes,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def source(kind: str, path: Path, **fields: object) -> Source:
    return Source.model_validate({"name": "s", "kind": kind, "path": str(path), **fields})


def read(made: Source) -> list[SourceDocument]:
    return [
        document
        for documents in readers_of(made, source_files(made))
        for document in documents
        if isinstance(document, SourceDocument)
    ]


def json_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


# --- JSON lines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", PACKERS)
def test_columns_become_a_document(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(PACKERS[suffix](json_lines(ROWS) + b"\n"))
    assert read(source("jsonl", path, **COLUMNS)) == DOCUMENTS


def test_without_columns_named_only_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json_lines([{"text": "甲", "title": "題", "id": 1}, {"text": "乙"}]))
    first, second = read(source("jsonl", path))
    assert (first.title, first.text, second.text) == ("", "甲", "乙")
    path.write_bytes(json_lines([{"text": "乙"}, {"text": "甲"}]))
    assert [d.id for d in read(source("jsonl", path))] == [second.id, first.id]


def test_half_a_surrogate_pair_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "\\ud83d甲", "t": "\\ud83d題"}\n', "utf-8")
    (document,) = read(source("jsonl", path, title_column="t"))
    assert (document.problem, document.text, document.title) == ("not text", "", "?題")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: not JSON"),
        ("[" * 100_000, "line 2: not JSON"),
        ("[1]", "line 2: expected a JSON object, found list"),
        ('{"body": "a"}', "line 2: no column 'text'; there is body"),
        ('{"text": ["a"]}', "line 2: column 'text' is list"),
        ('{"text": 3}', "line 2: column 'text' is int 3; expected a string or null"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "良い"}\n' + line + "\n", "utf-8")
    with pytest.raises(DataError, match=r"rows\.jsonl: " + message):
        read(source("jsonl", path))


@pytest.mark.parametrize(
    ("column", "value", "wanted"),
    [
        ("id", None, "expected a string or an integer"),
        ("id", True, "expected a string or an integer"),
        ("id", "", "expected a string or an integer"),
        ("rev", 1.5, "expected an integer or null"),
        ("rev", 2**63, "expected an integer or null"),
        ("rev", "r1", "expected an integer or null"),
        ("name", 3, "expected a string or null"),
    ],
)
def test_a_column_of_another_type_is_named(
    tmp_path: Path, column: str, value: object, wanted: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json_lines([ROWS[0] | {column: value}]))
    with pytest.raises(DataError, match=f"line 1: column '{column}' is .*{wanted}"):
        read(source("jsonl", path, **COLUMNS))


def test_wikitext_rows_have_columns_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_bytes(json_lines([{"title": "題", "wikitext": "'''題'''は例。"}]))
    (document,) = read(source("wikitext", path))
    assert (document.title, document.text, document.wikitext) == ("題", "'''題'''は例。", True)


# --- bombs ----------------------------------------------------------------------------------------


def lines(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        '{"text": "甲", "more": [' + ",".join(["{}"] * 2_000_000) + "]}",
        "{" + ",".join(f'"{n}":[]' for n in range(1_100_000)) + ', "text": "甲"}',
    ],
    ids=["a list", "keys"],
)
def test_a_line_of_many_values_is_told_before_it_is_parsed(tmp_path: Path, row: str) -> None:
    """Parsed, a value of three bytes takes a hundred."""
    path = lines(tmp_path / "rows.jsonl", '{"text": "乙"}', row)
    with pytest.raises(DataError, match=r"rows.jsonl: line 2: more than 4 MiB of JSON besides"):
        read(source("jsonl", path))


@pytest.mark.parametrize("end", ["", "\\"])
def test_a_cut_line_is_told_at_once_whatever_its_text(tmp_path: Path, end: str) -> None:
    """Tried from each of its quotes, such a line took many minutes."""
    path = lines(tmp_path / "rows.jsonl", '{"text": "甲"}', '{"text": "' + '\\"' * 2_200_000 + end)
    with pytest.raises(DataError, match=r"rows.jsonl: line 2: not JSON \(Unterminated string"):
        read(source("jsonl", path))


def test_a_long_text_is_no_skeleton(tmp_path: Path) -> None:
    text = '[{"甲": "乙\\"}], ' * 500_000
    path = lines(tmp_path / "rows.jsonl", json.dumps({"text": text}))
    assert len(path.read_bytes()) > 8_000_000
    (document,) = read(source("jsonl", path))
    assert document.text == text.strip()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"text":' + "[" * 100_000 + "]" * 100_000 + "}", "not JSON"),
        ('{"text": "甲", "id": ' + "9" * 5_000 + "}", "not JSON"),
        ('{"text": "甲", "id": "' + "9" * 10_001 + '"}', "column 'id' has 10,001 characters"),
    ],
    ids=["deep", "a number of 5,000 digits", "a long id"],
)
def test_an_odd_line_is_told_with_its_number(tmp_path: Path, row: str, told: str) -> None:
    path = lines(tmp_path / "rows.jsonl", '{"text": "乙", "id": 1}', row)
    with pytest.raises(DataError, match=rf"rows.jsonl: line 2: {told}"):
        read(source("jsonl", path, id_column="id"))


# --- Parquet --------------------------------------------------------------------------------------


def write_parquet(path: Path, rows: list[dict[str, Any]], **options: Any) -> None:
    names = rows[0].keys()
    pq.write_table(pa.table({name: [row[name] for row in rows] for name in names}), path, **options)


def test_parquet_gives_what_json_lines_give(tmp_path: Path) -> None:
    rows = [row | {"id": str(row["id"]), "rev": row["rev"] and int(row["rev"])} for row in ROWS]
    path = tmp_path / "rows.parquet"
    write_parquet(path, rows, row_group_size=3)
    assert read(source("parquet", path, **COLUMNS)) == DOCUMENTS


def test_a_parquet_file_without_the_column_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, [{"body": "甲", "title": "題"}])
    with pytest.raises(DataError, match=r"rows.parquet: no column 'text'; there is body, title"):
        read(source("parquet", path))
    write_parquet(path, [{"n": 3}])
    with pytest.raises(DataError, match="row 1: column 'n' is int 3; expected a string or null"):
        read(source("parquet", path, column="n"))


def test_what_is_no_whole_parquet_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_parquet(path, [{"text": f"文{n}" * 50} for n in range(500)])
    whole = path.read_bytes()
    middle = len(whole) // 3
    damaged = whole[:middle] + bytes(200) + whole[middle + 200 :]
    for data in (b"", b"PAR1 and more PAR1", whole[:-20], damaged):
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"rows\.parquet: not a complete Parquet file"):
            read(source("parquet", path))


def test_reading_parquet_holds_a_few_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    noise = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(20_000))
    rows = [{"text": noise[n:] + noise[:n]} for n in range(400)]
    write_parquet(path, rows, use_dictionary=False, write_batch_size=8)  # a row group of 24 MB
    program = (
        "import pathlib, sys, pyarrow, pyarrow.parquet; from jagpt.corpus.rows import *\n"
        "from jagpt.corpus.parquet import ParquetDocuments\n"
        "done = ParquetDocuments(pathlib.Path(sys.argv[1]), Columns('text'))\n"
        "print(sum(len(d.text) for d in done), pyarrow.default_memory_pool().max_memory())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    characters, peak = map(int, shown.stdout.split())
    assert characters == 20_000 * 400
    assert peak < 16e6


# --- data sets of the hub -------------------------------------------------------------------------


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    made = Source.model_validate({"name": "s", "kind": "hf", "dataset": "a/b", "revision": "r"})
    assert source_files(made) == []
    with pytest.raises(MissingExtraError, match=r"\[datasets\]"):
        read(made)


def hub_source(folder: Path, **fields: object) -> Source:
    return Source.model_validate({"name": "s", "kind": "hf", "dataset": str(folder), **fields})


@pytest.fixture
def _hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets", reason="the extra jagpt[datasets] is not installed")


@pytest.mark.usefixtures("_hub")
@pytest.mark.filterwarnings("default")  # of the package's own dependencies
def test_a_data_set_gives_the_documents_of_its_split(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_bytes(json_lines([{"text": f"文{n}", "n": n} for n in range(9)]))
    (folder / "test.jsonl").write_bytes(json_lines([{"text": "別", "n": 1}]))
    documents = read(hub_source(folder, id_column="n"))
    assert [(d.id, d.text) for d in documents] == [(str(n), f"文{n}") for n in range(9)]
    assert [d.text for d in read(hub_source(folder, dataset_split="test"))] == ["別"]
    with pytest.raises(DataError, match="row 1: no column 'body'"):
        read(hub_source(folder, column="body"))
    with pytest.raises(DataError, match=r"\(valid\): cannot be read"):
        read(hub_source(folder, dataset_split="valid"))
    with pytest.raises(DataError, match="cannot be read"):
        read(hub_source(tmp_path / "nothing"))
