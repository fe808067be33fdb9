"""Parquet files that become far more than they are: bounded by page, value, row and file."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jagpt import compressed
from jagpt.corpus import parquet
from jagpt.corpus.parquet import ParquetDocuments, ParquetRows
from jagpt.corpus.rows import Columns
from jagpt.errors import DataError


def write(path: Path, texts: Any, **options: Any) -> Path:
    pq.write_table(pa.table({"text": texts}), path, **options)
    return path


def texts_of(path: Path) -> list[str]:
    return [document.text for document in ParquetDocuments(path, Columns("text"))]


def test_the_sizes_of_pages_are_those_that_arrow_finds(tmp_path: Path) -> None:
    """Of all kinds of headers: with a dictionary and without, with statistics, in both versions."""
    rows = [f"文{number % 700}" * 20 for number in range(5_000)]
    for version in ("1.0", "2.0"):
        for dictionary in (True, False):
            path = write(
                tmp_path / "rows.parquet", rows, data_page_version=version, data_page_size=8192,
                use_dictionary=dictionary, compression="zstd", write_batch_size=64,
                write_page_checksum=True, row_group_size=2_000,
            )  # fmt: skip
            metadata = pq.read_metadata(path)
            with path.open("rb") as file:
                for group, (chunk,) in enumerate(parquet._chunks(file)):
                    column = metadata.row_group(group).column(0)
                    pages = list(parquet._pages(file, chunk))
                    headers = column.total_uncompressed_size - sum(size for _, size in pages)
                    assert 0 < headers < 400 * len(pages)
                    assert len(pages) > 1
            assert texts_of(path) == rows


def test_a_name_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["文"]).rename(tmp_path / "\udcff.parquet")
    with pytest.raises(DataError, match=r"\udcff.parquet: this name is not valid UTF-8.* rename"):
        texts_of(path)


def test_a_page_that_asks_for_too_much_is_named_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "PAGE_BYTES", 1_000_000)
    path = write(tmp_path / "bomb.parquet", ["x" * 2_000_000], compression="zstd")
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"bomb.parquet: column 'text': the page at byte \d+ has 2"):
        texts_of(path)


def test_a_page_is_measured_whatever_the_footer_says(tmp_path: Path) -> None:
    """The page's header is what Arrow takes memory by; here it lies by itself."""
    path = write(tmp_path / "rows.parquet", ["甲" * 100], use_dictionary=False, compression="none")
    raw = path.read_bytes()
    with path.open("rb") as file:
        ((chunk,),) = parquet._chunks(file)
        (place, size), *_ = parquet._pages(file, chunk)
    zigzag = lambda n: bytes([n * 2 % 128 | 128, n * 2 >> 7])  # noqa: E731 (two bytes of varint)
    assert raw[place : place + 5] == b"\x15\x00\x15" + zigzag(size)
    # as many bytes that say 2**31 - 1 are five, so the codec's size goes along
    lie = b"\x15\x00\x15\xfe\xff\xff\xff\x0f\x15" + zigzag(size)
    path.write_bytes(raw[:place] + lie + raw[place + 8 :])
    with pytest.raises(DataError, match="has 2,147,483,647 bytes"):
        texts_of(path)


def test_a_value_over_the_limit_is_named_with_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "DOCUMENT_BYTES", 1_000)
    path = write(tmp_path / "rows.parquet", ["a", None, "あ" * 400])
    with pytest.raises(DataError, match=r"row 3: column 'text' has 1,200 bytes, and at most 1,000"):
        texts_of(path)


def test_a_large_dictionary_is_unfolded_a_few_rows_at_a_time(tmp_path: Path) -> None:
    indices = pa.array(np.zeros(30, dtype=np.int32))
    folded = pa.DictionaryArray.from_arrays(indices, pa.array(["y" * 16_000_000]))
    path = write(tmp_path / "folded.parquet", folded, compression="zstd")
    assert path.stat().st_size < 10_000
    program = (
        "import pathlib, sys, pyarrow; from jagpt.corpus.rows import Columns\n"
        "from jagpt.corpus.parquet import ParquetDocuments\n"
        "try:\n    print(sum(1 for _ in ParquetDocuments(pathlib.Path(sys.argv[1]), "
        "Columns('text'))))\nexcept Exception as error:\n    print(error)\n"
        "print(pyarrow.default_memory_pool().max_memory())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    said, peak = shown.stdout.splitlines()
    assert "more than 1,000 times its size" in said
    assert int(peak) < 400e6


def test_equal_rows_without_end_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "rows.parquet", ["あ"] * 200_000)
    assert len(texts_of(path)) == 200_000
    monkeypatch.setattr(compressed, "FREE_BYTES", 1_000_000)
    with pytest.raises(DataError, match=r"rows.parquet: .* treated as an attack"):
        texts_of(path)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([["甲"]]),
        pa.array([{"a": 1}]),
        pa.array([b"a" * 8], pa.binary(8)),
        pa.array([b"a"]),
    ],
    ids=["list", "struct", "bytes of a length", "bytes"],
)
def test_a_column_of_another_kind_is_told(tmp_path: Path, values: Any) -> None:
    """A row of some of them may stand for any number of values."""
    path = write(tmp_path / "rows.parquet", values)
    with pytest.raises(DataError, match=r"rows.parquet: column 'text' is .*; expected strings"):
        texts_of(path)


def test_a_footer_of_too_many_values_is_refused_before_arrow_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "bomb.parquet", ["x"] * 20, row_group_size=1)
    assert len(texts_of(path)) == 20
    monkeypatch.setattr(parquet, "_MOST", 500)
    monkeypatch.setattr(pq, "ParquetFile", lambda *_, **__: pytest.fail("Arrow was asked"))
    with pytest.raises(DataError, match=r"bomb.parquet: .*a footer of more than 500 values"):
        texts_of(path)


@pytest.mark.parametrize("raw", [b"", b"PAR1", b"PAR1PAR1", b"PAR1\xff\xff\xff\x7fPAR1"])
def test_a_file_without_a_footer_is_told(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "rows.parquet").write_bytes(raw)
    with pytest.raises(DataError, match=r"rows\.parquet: not a complete Parquet file"):
        texts_of(tmp_path / "rows.parquet")


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_texts_of_all_kinds_are_read(tmp_path: Path, kind: Any) -> None:
    path = write(tmp_path / "rows.parquet", pa.array(["甲", None, "乙"]).cast(kind))
    assert [row["text"] for row in ParquetRows(path, ["text"])] == ["甲", None, "乙"]


def test_what_is_no_text_is_told(tmp_path: Path) -> None:
    raw = pa.array([b"ok", b"\xff\xfe\xfa"]).view(pa.string())
    path = write(tmp_path / "rows.parquet", raw)
    with pytest.raises(DataError, match=r"rows.parquet: not a complete Parquet file"):
        texts_of(path)


@pytest.mark.parametrize("name", ["run-T22:13", "a:b [c]", "s3:", "*?[x]"])
def test_a_relative_name_is_no_address_and_no_pattern(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(name, "a:b [c].parquet")
    path.parent.mkdir()
    write(path.absolute(), ["本文"])
    assert texts_of(path) == ["本文"]


def test_a_column_that_is_there_twice_is_told(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="column 'text' is there more than once"):
        texts_of(tmp_path / "rows.parquet")


def test_a_million_short_rows_cost_seconds(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.parquet", ["あ"] * 1_000_000)
    before = time.process_time()
    assert sum(1 for _ in ParquetRows(path, ["text"])) == 1_000_000
    assert time.process_time() - before < 15
