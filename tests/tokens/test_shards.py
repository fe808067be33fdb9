"""The two files of a shard, and what happens when they are not whole."""

from __future__ import annotations

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from jagpt.errors import DataError
from jagpt.tokens.dataset import TokenSplit
from jagpt.tokens.index import TokenIndex, dtype_for
from jagpt.tokens.shards import CHUNK, Shard

from .conftest import random_shards, write_tokens


def test_anyone_reads_a_shard_with_numpy(tmp_path: Path) -> None:
    shards = random_shards(1, 20)
    write_tokens(tmp_path, shards)
    index = json.loads((tmp_path / "index.json").read_text())
    shard = index["splits"]["train"][0]
    tokens = np.memmap(tmp_path / f"{shard['name']}.bin", dtype=index["dtype"], mode="r")
    starts = np.fromfile(
        tmp_path / f"{shard['name']}.idx", "<i8", offset=48, count=shard["documents"] + 1
    )
    assert [tokens[a:b].tolist() for a, b in pairwise(starts)] == shards[0]


@pytest.mark.parametrize(("vocab_size", "dtype"), [(65_536, "<u2"), (65_537, "<u4")])
def test_the_type_is_the_smallest_that_holds_the_vocabulary(vocab_size: int, dtype: str) -> None:
    assert dtype_for(vocab_size) == dtype


def test_a_shard_knows_its_documents(tmp_path: Path) -> None:
    documents = [[1, 2, 3], [], [70_000, 5]]
    write_tokens(tmp_path, [documents], dtype="<u4")
    shard = Shard(tmp_path, "train-00000", "<u4")
    assert shard.starts.tolist() == [0, 3, 3, 5]
    assert shard.characters.tolist() == [3, 0, 2]
    assert shard.bytes.tolist() == [9, 0, 6]
    assert [shard.document_id(i) for i in range(3)] == ["source:0-0", "source:0-1", "source:0-2"]
    assert shard.tokens.tolist() == [1, 2, 3, 70_000, 5]
    assert TokenIndex.read(tmp_path).splits["train"] == [shard.size()]


def test_an_empty_shard_can_be_read(tmp_path: Path) -> None:
    write_tokens(tmp_path, [[], [[1, 2]], []])
    split = TokenSplit.open(tmp_path, "train")
    assert split.slice(0, 2).tolist() == [1, 2]
    split.check()


@pytest.mark.parametrize("change", [-1, -3, 7])
def test_a_shard_that_was_cut_or_grew_is_named_with_its_offset(tmp_path: Path, change: int) -> None:
    write_tokens(tmp_path, random_shards(2, 20))
    path = tmp_path / "train-00001.bin"
    raw = path.read_bytes()
    path.write_bytes(raw[:change] if change < 0 else raw + bytes(change))
    offset = min(len(raw), len(raw) + change)
    with pytest.raises(DataError, match=rf"train-00001\.bin: at byte {offset:,}: .*(cut|longer)"):
        TokenSplit.open(tmp_path, "train")


def test_a_shard_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    write_tokens(tmp_path, random_shards(2, 20))
    for kind in ("bin", "idx"):
        (tmp_path / f"train-00000.{kind}").write_bytes(
            (tmp_path / f"train-00001.{kind}").read_bytes()
        )
    with pytest.raises(DataError, match=r"train-00000\.bin: 20 documents and .* lists 20 and"):
        TokenSplit.open(tmp_path, "train")


def test_a_changed_byte_is_named_with_its_chunk(tmp_path: Path) -> None:
    write_tokens(tmp_path, [[[7] * CHUNK, [8] * 100]])  # 2 bytes per token: 2 MiB and a little
    path = tmp_path / "train-00000.bin"
    raw = bytearray(path.read_bytes())
    raw[CHUNK + 5] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"train-00000\.bin: at byte 1,048,576: .*changed"):
        TokenSplit.open(tmp_path, "train").check()


def test_an_id_outside_the_vocabulary_is_found_when_it_is_read(tmp_path: Path) -> None:
    write_tokens(tmp_path, random_shards(1, 30))
    path = tmp_path / "train-00000.bin"
    raw = bytearray(path.read_bytes())
    raw[200:202] = b"\xff\xff"
    path.write_bytes(raw)
    split = TokenSplit.open(tmp_path, "train")
    assert len(split.slice(0, 100)) == 100
    with pytest.raises(DataError, match=r"train-00000\.bin: at byte 200: token 65535 is outside"):
        split.slice(90, 110)


@pytest.mark.parametrize(
    ("place", "byte"), [(0, b"X"), (8, b"\x00"), (16, b"\xff"), (50, b"\x7f"), (56, b"\xff")]
)
def test_a_damaged_document_index_is_named(tmp_path: Path, place: int, byte: bytes) -> None:
    write_tokens(tmp_path, random_shards(1, 20))
    path = tmp_path / "train-00000.idx"
    raw = bytearray(path.read_bytes())
    raw[place : place + 1] = byte
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"train-00000\.idx: at byte \d+: "):
        TokenSplit.open(tmp_path, "train")


@pytest.mark.parametrize("damage", ["not UTF-8", "a fall", "below 0", "beyond the end"])
def test_damaged_ids_of_documents_are_named_where_they_are_read(
    tmp_path: Path, damage: str
) -> None:
    write_tokens(tmp_path, [[[1], [2], [3]]])
    path = tmp_path / "train-00000.idx"
    raw = bytearray(path.read_bytes())
    starts_at, ids_at = 48 + 8 * (4 + 3 + 3), len(raw) - 3 * len("source:0-0")
    if damage == "not UTF-8":
        raw[ids_at + 12] = 0xFF
    else:
        start = {"a fall": 5, "below 0": -1, "beyond the end": 2**60}[damage]
        raw[starts_at + 16 : starts_at + 24] = struct.pack("<q", start)
    path.write_bytes(raw)
    split = TokenSplit.open(tmp_path, "train")
    words = rf"train-00000\.idx: at byte {ids_at}: the documents' ids are invalid; run the tokens"
    with pytest.raises(DataError, match=words):
        split.document_id(1)
    with pytest.raises(DataError, match=words):
        list(split.shards[0].document_ids())


def test_a_cut_document_index_is_named(tmp_path: Path) -> None:
    write_tokens(tmp_path, random_shards(1, 20))
    path = tmp_path / "train-00000.idx"
    raw = path.read_bytes()
    for size in (0, 10, 100, len(raw) - 1):
        path.write_bytes(raw[:size])
        with pytest.raises(DataError, match=rf"train-00000\.idx: at byte {size}: "):
            TokenSplit.open(tmp_path, "train")


@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.idx", "index.json"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    write_tokens(tmp_path, random_shards(1, 5))
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: this token \w+ is missing"):
        TokenSplit.open(tmp_path, "train")


@pytest.mark.parametrize(
    "change",
    [
        {"version": 9},
        {"dtype": "<f4"},
        {"splits": {"train": [{"name": "../../etc/passwd"}]}},
        {"splits": []},
        {"vocab_size": None},
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    write_tokens(tmp_path, random_shards(1, 5))
    path = tmp_path / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=r"index\.json: "):
        TokenSplit.open(tmp_path, "train")


def test_a_split_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_tokens(tmp_path, random_shards(1, 5))
    with pytest.raises(DataError, match="no split 'test' here"):
        TokenSplit.open(tmp_path, "test")
