"""Compressed files: everything comes out, or one message says where it broke."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from jagpt import compressed
from jagpt.compressed import GAP, Reader
from jagpt.errors import DataError

CONTENT = b"".join(b"line %d of the content\n" % n for n in range(20_000))
FORMATS: dict[str, Callable[[bytes], bytes]] = {
    ".bz2": bz2.compress,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
every_format = pytest.mark.parametrize("suffix", FORMATS)


def read(tmp_path: Path, suffix: str, data: bytes) -> bytes:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(data)
    return b"".join(Reader(path))


@every_format
def test_streams_are_joined(tmp_path: Path, suffix: str) -> None:
    compress = FORMATS[suffix]
    data = compress(CONTENT[:1000]) + compress(b"") + compress(CONTENT[1000:])
    assert read(tmp_path, suffix, data) == CONTENT


@every_format
def test_reader_tells_size_and_hash_of_the_file(tmp_path: Path, suffix: str) -> None:
    from jagpt.files import sha256

    path = tmp_path / f"file{suffix}"
    path.write_bytes(FORMATS[suffix](CONTENT))
    reader = Reader(path)
    for _ in reader:
        pass
    assert (reader.offset, reader.sha256) == (path.stat().st_size, sha256(path))


@every_format
def test_every_cut_within_a_later_stream_is_told(tmp_path: Path, suffix: str) -> None:
    first, second = FORMATS[suffix](CONTENT), FORMATS[suffix](CONTENT[:500])
    for kept in range(1, len(second), 7):
        with pytest.raises(DataError, match=rf"file{suffix}") as caught:
            read(tmp_path, suffix, first + second[:kept])
        assert str(len(first)) in str(caught.value)


@every_format
def test_damage_in_a_later_stream_is_told_with_stream_and_offset(
    tmp_path: Path, suffix: str
) -> None:
    first, second = FORMATS[suffix](CONTENT), bytearray(FORMATS[suffix](CONTENT))
    second[len(second) // 2] ^= 0xFF
    with pytest.raises(DataError, match=rf" 2, which begins at byte {len(first)}"):
        read(tmp_path, suffix, first + bytes(second))


@every_format
def test_what_follows_a_stream_must_be_another(tmp_path: Path, suffix: str) -> None:
    whole = FORMATS[suffix](CONTENT)
    with pytest.raises(DataError, match=f"at byte {len(whole)}, comes something"):
        read(tmp_path, suffix, whole + b"something else")


@every_format
def test_other_formats_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match="though its name ends in"):
        read(tmp_path, suffix, b"<mediawiki>" * 10)


@pytest.mark.parametrize("suffix", [*FORMATS, ".xml"])
def test_empty_files_are_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(DataError, match="the file is empty"):
        read(tmp_path, suffix, b"")


def test_plain_files_pass_through(tmp_path: Path) -> None:
    assert read(tmp_path, ".xml", CONTENT) == CONTENT


def test_gzip_and_xz_padding_is_allowed(tmp_path: Path) -> None:
    assert read(tmp_path, ".gz", gzip.compress(CONTENT) + bytes(512)) == CONTENT
    assert read(tmp_path, ".xz", lzma.compress(CONTENT) + bytes(8)) == CONTENT


def test_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        list(Reader(tmp_path / "none.bz2"))


@every_format
def test_a_bomb_is_decoded_in_bounded_memory(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bomb{suffix}"
    size = 256 * 2**20
    compress = FORMATS[suffix]
    path.write_bytes(compress(bytes(size // 4)) * 4)
    tracemalloc.start()
    assert sum(map(len, Reader(path))) == size
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


def far_back(window_log: int) -> bytes:
    """As `zstd --long` with this number makes it."""
    packer = zstandard.ZstdCompressor().compressobj()
    data = bytearray(packer.compress(CONTENT) + packer.flush())
    data[5] = window_log - 10 << 3  # RFC 8878, section 3.1.1.1.2
    return bytes(data)


WIDE_XZ = bytes.fromhex(
    "fd377a585a000004e6d6b4460200210124000000" "5e1fc7f901000078" "0000000045aeef83f8ee160a"
    "00011901a52c81cc" "1fb6f37d010000000004595a"
)  # fmt: skip
"""`x` with a dictionary of 1 GiB."""


def test_zstd_may_look_back_as_far_as_memory_allows(tmp_path: Path) -> None:
    assert read(tmp_path, ".zst", far_back(29)) == CONTENT


@pytest.mark.parametrize(
    ("suffix", "data"), [(".zst", far_back(30)), (".xz", WIDE_XZ)], ids=[".zst", ".xz"]
)
def test_a_file_that_needs_too_much_memory_is_not_called_damaged(
    tmp_path: Path, suffix: str, data: bytes
) -> None:
    with pytest.raises(DataError, match="more than 512 MiB of memory") as caught:
        read(tmp_path, suffix, data)
    assert "damaged" not in str(caught.value)
    with pytest.raises(DataError, match="more than 512 MiB of memory"):
        list(Reader(tmp_path / f"file{suffix}", skip_damaged=True))


# --- going on after damage ------------------------------------------------------------------------


def after_damage(path: Path) -> tuple[list[bytes], Reader]:
    reader = Reader(path, skip_damaged=True)
    return list(reader), reader


@every_format
@pytest.mark.parametrize("kept", [0.3, 0.99])
def test_a_cut_leaves_what_came_before_and_counts_the_rest(
    tmp_path: Path, suffix: str, kept: float
) -> None:
    path = tmp_path / f"file{suffix}"
    whole, cut = FORMATS[suffix](CONTENT), FORMATS[suffix](CONTENT)
    path.write_bytes(whole + cut[: int(len(cut) * kept)])
    blocks, reader = after_damage(path)
    assert (CONTENT + CONTENT).startswith(b"".join(blocks))
    assert len(b"".join(blocks)) >= len(CONTENT)
    assert (reader.losses.streams, reader.losses.places[0].problem) == (1, "cut short")
    assert reader.losses.places[0].offset == len(whole)


def test_bzip2_goes_on_at_the_next_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from jagpt.files import sha256

    pieces = [bz2.compress(b"%d" % k * 4000 + CONTENT[:3000]) for k in range(6)]
    data = bytearray(b"".join(pieces))
    begin = len(pieces[0]) + len(pieces[1])
    data[begin + 4] ^= 0xFF
    path = tmp_path / "file.bz2"
    path.write_bytes(bytes(data))
    for size in (13, 128 * 1024):
        monkeypatch.setattr("jagpt.compressed.READ_BYTES", size)
        blocks, reader = after_damage(path)
        good = [bz2.decompress(piece) for k, piece in enumerate(pieces) if k != 2]
        assert b"".join(blocks) == b"".join(good)
        assert blocks.count(GAP) == 1
        (loss,) = reader.losses.places
        assert (loss.offset, loss.bytes) == (begin, len(pieces[2]))
        assert reader.sha256 == sha256(path)


def test_nothing_of_a_damaged_stream_is_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "file.bz2"
    good, bad = bz2.compress(b"good"), bytearray(bz2.compress(CONTENT * 8))
    bad[-20] ^= 0xFF
    path.write_bytes(good + bytes(bad) + good)
    blocks, reader = after_damage(path)
    assert b"".join(blocks) == b"goodgood"
    assert reader.losses.stream_bytes == len(bad)


@every_format
def test_a_file_of_another_kind_is_refused_all_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match="though its name ends in"):
        after_damage(path)


# --- bombs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".bz2", ".xz", ".zst"])  # gzip gives 1,032 times at most
def test_a_file_that_becomes_far_more_than_it_is_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    data = FORMATS[suffix](b"a line\n" * 1_000_000)
    assert len(read(tmp_path, suffix, data)) == 7_000_000
    monkeypatch.setattr(compressed, "FREE_BYTES", 1_000_000)
    with pytest.raises(DataError, match=rf"file{suffix}: .* treated as an attack"):
        read(tmp_path, suffix, data)
    path = tmp_path / f"file{suffix}"
    with pytest.raises(DataError, match="treated as an attack"):
        list(Reader(path, skip_damaged=True))


@pytest.mark.parametrize("suffix", ["", *FORMATS])
def test_a_pipe_is_no_file(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"file{suffix}")
    with pytest.raises(DataError, match=f"file{suffix}: expected a regular file, found a named pi"):
        list(Reader(tmp_path / f"file{suffix}"))


def test_a_device_is_no_file() -> None:
    with pytest.raises(DataError, match="/dev/zero: expected a regular file, found a device"):
        list(Reader(Path("/dev/zero")))
