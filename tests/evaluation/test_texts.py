from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
from pathlib import Path
from types import SimpleNamespace

import fakes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import model_folder

from jagpt import models
from jagpt.errors import DataError, UsageError
from jagpt.evaluation import texts
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer.folder import write_folder

RAW = "  日本語\n\n 統計的推定 \n\rﾊﾝｶｸ"


def written(tmp_path: Path, content: bytes, name: str = "text.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_a_plain_file_is_one_document_as_it_stands(tmp_path: Path) -> None:
    path = written(tmp_path, RAW.encode())
    found = texts.read(path)
    assert found.documents == [RAW]
    assert found.sha256 == hashlib.sha256(RAW.encode()).hexdigest()
    assert [sizes.tolist() for sizes in found.sizes] == [[len(RAW)], [len(RAW.encode())]]


def test_lines_are_documents_where_asked(tmp_path: Path) -> None:
    found = texts.read(written(tmp_path, RAW.encode()), layout="line")
    assert found.documents == ["  日本語", " 統計的推定 ", "\rﾊﾝｶｸ"]


@pytest.mark.parametrize("layout", ["file", "line"])
def test_lines_that_end_with_cr_lf_are_read_as_with_lf(tmp_path: Path, layout: str) -> None:
    plain = texts.read(written(tmp_path, f"{RAW}\n".encode()), layout)
    windows = texts.read(written(tmp_path, f"{RAW}\n".replace("\n", "\r\n").encode()), layout)
    assert windows.documents == plain.documents
    assert (plain.had_crlf, windows.had_crlf) == (False, True)


def test_cr_lf_within_a_row_is_read_as_lf(tmp_path: Path) -> None:
    row = json.dumps({"text": "一\r\n二\r\n"})
    found = texts.read(written(tmp_path, row.encode(), "rows.jsonl"))
    assert (found.documents, found.had_crlf) == (["一\n二\n"], True)


def test_compressed_text_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, gzip.compress(RAW.encode()), "text.txt.gz")
    assert texts.read(path).documents == [RAW]


def test_json_lines_and_parquet_keep_the_text_as_it_stands(tmp_path: Path) -> None:
    rows = [{"body": RAW}, {"body": None}, {"body": ""}, {"body": "京都"}]
    lines = "\n".join(json.dumps(row) for row in rows)
    path = written(tmp_path, lines.encode(), "text.jsonl")
    assert texts.read(path, column="body").documents == [RAW, "京都"]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "text.parquet")
    assert texts.read(tmp_path / "text.parquet", column="body").documents == [RAW, "京都"]


@pytest.mark.parametrize(
    ("content", "name", "words"),
    [
        (b"", "text.txt", "empty"),
        (b"\n\n", "text.jsonl", "contains no text"),
        (b"\x7fELF\0\0\0\n", "text.txt", "byte 4 is 0"),
        (b"\xff\xfea\0", "text.txt", "UTF-16"),
        ("日本".encode("euc_jp"), "text.txt", "not UTF-8"),
        (b'{"title": "a"}', "text.jsonl", "no column 'text'"),
        (b'{"text": "a\\u0000"}', "text.jsonl", "NUL"),
        (b"no parquet", "text.parquet", "not a complete Parquet file"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        texts.read(written(tmp_path, content, name))


def test_a_missing_file_and_an_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        texts.read(tmp_path / "nothing.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match="expected a regular file, found a named pipe"):
        texts.read(tmp_path / "pipe.txt")
    with pytest.raises(UsageError, match="--layout page"):
        texts.read(written(tmp_path, b"a"), layout="page")


def test_documents_become_one_stream_with_end_tokens_between(tmp_path: Path) -> None:
    subject = models.open(model_folder(tmp_path / "model"))
    text = texts.read(written(tmp_path, "日本語\n京都".encode()), layout="line")
    found = texts.encode(text, subject, end_token=True)
    assert found.tokens.tolist() == [*fakes.encode("日本語"), *fakes.encode("京都")]
    assert found.document_starts.tolist() == [0, 4, 7]
    bare = texts.encode(text, subject, end_token=False)
    assert bare.document_starts.tolist() == [0, 3, 5]


def test_a_text_of_one_token_cannot_be_measured(tmp_path: Path) -> None:
    subject = models.open(model_folder(tmp_path / "model"))
    with pytest.raises(DataError, match="fewer than 2 tokens"):
        texts.encode(texts.read(written(tmp_path, "日".encode())), subject, end_token=False)


def sentencepiece_model() -> bytes:
    import sentencepiece

    writer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["京都と東京の統計的推定を使う日本語", "統計的な京都"] * 9),
        model_writer=writer, vocab_size=26, minloglevel=2, add_dummy_prefix=False,
        hard_vocab_limit=False, pad_id=0, unk_id=1, bos_id=2, eos_id=3, pad_piece="<pad>",
    )  # fmt: skip
    return writer.getvalue()


def test_a_tokenizer_that_is_not_its_own_model_is_told(tmp_path: Path) -> None:
    """As where transformers reads a folder as another class."""
    folder = tmp_path / "model"
    folder.mkdir()
    made = pieces.parse(sentencepiece_model(), "test")
    write_folder(made, folder)
    subject = SimpleNamespace(
        name="it", tokenizer_folder=folder, tokenizer=models.load_tokenizer(folder)
    )
    text = texts.read(written(tmp_path, "京都\n統計的".encode()))
    assert texts.disagreement(text, subject) is None
    made.pieces.add(piece="京", score=0.0, type=pieces.NORMAL)
    del made.pieces[next(n for n, each in enumerate(made.pieces) if each.piece == "京")]
    (folder / "spiece.model").write_bytes(made.SerializeToString())
    said = texts.disagreement(text, subject)
    assert said is not None
    assert "gives different ids than the folder's own spiece.model for" in said
