"""Plain text files in their three layouts."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
import zstandard

from jagpt.compressed import Reader
from jagpt.corpus import text_files
from jagpt.corpus.text_files import read_documents
from jagpt.errors import DataError, MissingExtraError

TEXT = "題一\n本文の一行目。\n二行目。\n\n\n題二\r\n別の本文。\r\n\u3000\n一行だけ\n"


def read(tmp_path: Path, data: bytes | str, layout: str, suffix: str = ".txt") -> list[list[str]]:
    path = tmp_path / f"text{suffix}"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return [[d.title, d.text] for d in read_documents(Reader(path), layout)]


def test_a_block_of_several_lines_has_its_first_as_title(tmp_path: Path) -> None:
    blocks = [["題一", "本文の一行目。\n二行目。"], ["題二", "別の本文。"], ["", "一行だけ"]]
    assert read(tmp_path, TEXT, "block") == blocks
    assert read(tmp_path, TEXT.rstrip(), "block") == blocks


def test_a_line_is_a_document(tmp_path: Path) -> None:
    texts = ["題一", "本文の一行目。", "二行目。", "題二", "別の本文。", "一行だけ"]
    assert read(tmp_path, TEXT, "line") == [["", text] for text in texts]


def test_a_file_is_a_document(tmp_path: Path) -> None:
    assert read(tmp_path, "\n一\r\n\n二\n\n", "file") == [["", "一\n\n二"]]


@pytest.mark.parametrize("layout", ["file", "line", "block"])
def test_a_file_of_white_space_has_no_document(tmp_path: Path, layout: str) -> None:
    assert read(tmp_path, " \n\u3000\n\n", layout) == []


@pytest.mark.parametrize("layout", ["file", "line", "block"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_block_bounds_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, size: int
) -> None:
    expected = read(tmp_path, TEXT, layout)
    monkeypatch.setattr("jagpt.compressed.READ_BYTES", size)
    assert read(tmp_path, TEXT, layout) == expected


def test_compressed_files_are_read(tmp_path: Path) -> None:
    data, expected = TEXT.encode(), read(tmp_path, TEXT, "block")
    assert read(tmp_path, gzip.compress(data), "block", ".txt.gz") == expected
    assert read(tmp_path, lzma.compress(data), "block", ".txt.xz") == expected
    packed = zstandard.ZstdCompressor().compress(data)
    assert read(tmp_path, packed, "block", ".txt.zst") == expected


def test_the_byte_order_mark_goes(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbf" + TEXT.encode(), "block") == read(tmp_path, TEXT, "block")


def test_ids_depend_on_the_document_alone(tmp_path: Path) -> None:
    def ids(name: str, text: str) -> list[str]:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return [d.id for d in read_documents(Reader(path), "line")]

    first = ids("a.txt", "甲\n乙\n")
    assert ids("b.txt", "丙\n乙\n甲\n")[1:] == first[::-1]
    assert len(set(first)) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        ("良い行\n".encode() + b"ab\xff\xfe\n", "not UTF-8 at byte 12"),
        (b"\xef\xbb\xbf" + "良い行\n".encode() + b"\x93\xfa", "not UTF-8 at byte 13"),
        ("日本".encode("utf-16"), "UTF-16"),
        ("行\n".encode() + b"a\0b", "byte 5 is 0"),
    ],
)
def test_what_is_not_utf8_text_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match="text.txt.*" + message):
        read(tmp_path, data, "line")


@pytest.mark.parametrize("layout", ["file", "line", "block"])
def test_a_document_over_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    monkeypatch.setattr(text_files, "DOCUMENT_BYTES", 2_000)
    monkeypatch.setattr("jagpt.compressed.READ_BYTES", 500)
    data = "題\n\n" + ("あ" * 5_000 if layout == "line" else "行\n" * 5_000)
    with pytest.raises(DataError, match="longer than"):
        read(tmp_path, data, layout)


# --- encodings ------------------------------------------------------------------------------------

LEGACY = "題\n日本語の文章です。漢字とカナが混じります。\n\n別の題\n半角ABCもあります。\n"


@pytest.mark.parametrize("encoding", ["cp932", "euc_jp", "iso2022_jp", "utf-8"])
def test_an_encoding_is_named_or_found(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(LEGACY.encode(encoding))
    expected = [(d.title, d.text) for d in read_documents(Reader(path), "block", encoding=encoding)]
    assert expected == [
        ("題", "日本語の文章です。漢字とカナが混じります。"),
        ("別の題", "半角ABCもあります。"),
    ]
    found = read_documents(Reader(path), "block", encoding="auto")
    assert [(d.title, d.text) for d in found] == expected


@pytest.mark.parametrize("encoding", ["iso2022_jp", "auto"])
@pytest.mark.parametrize("size", [1, 7, 20])
def test_a_shift_to_kanji_lasts_over_lines_and_block_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, size: int
) -> None:
    monkeypatch.setattr("jagpt.compressed.READ_BYTES", size)
    path = tmp_path / "text.txt"
    lines = ["一行目の文章", "二行目の文章", "三行目の文章"]
    path.write_bytes("日本".encode("iso2022_jp")[:-3] + b"\n" + b"\n".join(
        line.encode("iso2022_jp")[3:-3] for line in lines))  # fmt: skip
    found = read_documents(Reader(path), "line", encoding=encoding)
    assert [document.text for document in found] == ["日本", *lines]


def test_ascii_before_the_first_character_does_not_mislead(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(b"plain text\n" * 200 + LEGACY.encode("euc_jp"))
    *_, last = read_documents(Reader(path), "line", encoding="auto")
    assert last.text == "半角ABCもあります。"


@pytest.mark.parametrize(
    ("data", "encoding", "words"),
    [
        (LEGACY.encode("cp932"), "utf-8", r"line 1: 91 e8 .*looks like cp932: set `encoding = "),
        (LEGACY.encode("euc_jp"), "iso2022_jp", r"not iso2022_jp at byte 0 .*looks like euc_jp"),
        ("行\n行\n".encode("cp932") + b"\xfc\xfc\n", "cp932",
         r"not cp932 at byte 6 \(line 3: fc fc 0a\)"),
        ("行\n".encode("iso2022_jp") + b"ab\x9a\nab\n", "iso2022_jp",
         r"not iso2022_jp at byte 11 \(line 2: 9a 0a"),
        (bytes(range(128, 256)), "auto", "its encoding cannot be detected"),
        ("行\n".encode("cp932") * 30_000 + b"\xfc\xfc", "auto",
         r"not cp932, which it was taken for at byte 90000 \(line 30001"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [10, 1_000_000])
def test_a_wrong_encoding_is_told_with_line_and_guess(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    data: bytes,
    encoding: str,
    words: str,
    size: int,
) -> None:
    monkeypatch.setattr("jagpt.compressed.READ_BYTES", size)
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words):
        list(read_documents(Reader(path), "line", encoding=encoding))


def test_without_the_library_a_wrong_encoding_is_told_and_none_is_guessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jagpt.corpus.encodings.find_spec", lambda name: None)
    path = tmp_path / "text.txt"
    path.write_bytes(LEGACY.encode("cp932"))
    with pytest.raises(DataError, match=r"not UTF-8 at byte 0 .*convert it"):
        list(read_documents(Reader(path), "line"))
    with pytest.raises(MissingExtraError, match="encodings"):
        list(read_documents(Reader(path), "line", encoding="auto"))


# --- long documents -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "most", "lengths"),
    [
        ("短い。", 100, [3]),
        ("あ" * 250, 100, [84, 83, 83]),
        (("い" * 39 + "。\n") * 10, 100, [81, 81, 81, 81, 81]),
        (("う" * 29 + "。") * 10, 100, [90, 60, 60, 90]),
        ("え" * 10 + "\n" + "お" * 190, 100, None),
    ],
)
def test_long_documents_are_cut_at_lines_and_sentences(
    text: str, most: int, lengths: list[int] | None
) -> None:
    pieces = list(text_files.cut(text, most))
    assert "".join(pieces).replace("\n", "") == text.replace("\n", "")
    assert max(map(len, pieces)) <= most
    if lengths is not None:
        assert [len(piece) for piece in pieces] == lengths


def test_pieces_share_a_title_and_have_ids_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "work.txt"
    path.write_text("題\n\n" + "".join(f"文{n}である。\n" for n in range(100)), "utf-8")
    pieces = list(read_documents(Reader(path), "file", markup="aozora", split_characters=200))
    assert len(pieces) == 4
    assert {piece.title for piece in pieces} == {"題"}
    assert len({piece.id for piece in pieces}) == 4
