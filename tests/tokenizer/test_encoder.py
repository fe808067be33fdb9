"""The bare encoder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from jagpt.errors import DataError
from jagpt.tokenizer.encoder import Encoder

from .japanese import documents


def test_ids_are_those_of_sentencepiece(folders: Callable[[str], Path]) -> None:
    encoder = Encoder.open(folders("default"))
    bare = sentencepiece.SentencePieceProcessor(model_file=str(folders("default") / "spiece.model"))
    texts = documents(20, seed=3)
    for text, ids in zip(texts, encoder.encode_batch(texts), strict=True):
        assert encoder.encode(text) == ids.tolist() == bare.encode(text)
        assert encoder.decode(ids) == text


def test_it_tells_its_vocabulary_special_ids_and_fingerprint(
    folders: Callable[[str], Path],
) -> None:
    encoder = Encoder.open(folders("default"))
    assert (encoder.vocab_size, encoder.pad_id, encoder.unk_id, encoder.end_id) == (500, 0, 1, 3)
    raw = (folders("default") / "spiece.model").read_bytes()
    assert encoder.fingerprint == hashlib.sha256(raw).hexdigest()


def test_lines_are_encoded_alone_and_joined_with_nothing_between(
    folders: Callable[[str], Path],
) -> None:
    encoder = Encoder.open(folders("default"))
    lines = ["京都の寺院。", "", "1868年"]
    expected = [number for line in lines for number in encoder.encode(line)]
    assert encoder.encode_lines("\n".join(lines)).tolist() == expected
    assert expected != encoder.encode("\n".join(lines))


def test_a_missing_or_damaged_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"spiece\.model: this tokenizer model is missing"):
        Encoder.open(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"\xffno model")
    with pytest.raises(DataError, match=r"spiece\.model: this is not a SentencePiece model"):
        Encoder.open(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"")
    with pytest.raises(DataError, match="has no pieces"):
        Encoder.open(tmp_path)
    (tmp_path / "spiece.model").unlink()
    os.mkfifo(tmp_path / "spiece.model")
    with pytest.raises(DataError, match="expected a regular tokenizer model, found a named pipe"):
        Encoder.open(tmp_path)


def test_a_model_whose_pieces_are_no_text_is_refused(folders: Callable[[str], Path]) -> None:
    raw = (folders("default") / "spiece.model").read_bytes()
    at = raw.index("。".encode())
    with pytest.raises(DataError, match=r"spiece: piece [0-9]+ of this .* is not UTF-8"):
        Encoder(raw[:at] + b"\xff\xfe\xfd" + raw[at + 3 :], "spiece")
