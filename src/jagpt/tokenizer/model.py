"""The SentencePiece model: the special pieces it must have, and the form that is exact everywhere.

A model is *exact* if there is a `tokenizer.json` with which `tokenizers` yields SentencePiece's
own ids for any text. SentencePiece adds piece scores as float32, `tokenizers` as float64, and they
break ties differently; if all scores are multiples of 1/128, both sums are exact, and ties are
ties in both. A user-defined piece would spoil that (SentencePiece scores it `max - 0.1`), so the
line break becomes a normal piece of score 0: no other piece contains one, so it always stays
separate. (BPE merges by rank, and needs no rounding.)

Two things are not exact, and are tested as such. With `nfkc`, SentencePiece does not reorder or
compose over several combining marks in a row, and splits U+30FF before it voices it. And U+2581
reads as a space in every model.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError

PAD, UNK, BOS, EOS, CLS, SEP = "<pad>", "<unk>", "<s>", "</s>", "<cls>", "<sep>"
RESERVED = (PAD, UNK, BOS, EOS)
"""The pieces with the ids 0 to 3."""

SPACE = "▁"
"""SentencePiece's own character for a space (U+2581)."""

SPELLING = SPACE + "<>/0123456789ABCDEFxspadunkcle"
"""Characters that spell special and byte pieces.

Each must be a piece, so that a text that spells a special piece is cheaper character by character.
"""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of pieces (sentencepiece_model.proto)."""

UNIGRAM, BPE = 1, 2
"""Types of models."""

SCORE_STEP = 128
MAX_BYTES = 64 * 1024**2
"""Largest model that is read; a million pieces take a quarter of it."""


def parse(raw: bytes, origin: Path | str) -> Any:
    """The model's protocol buffer (`sentencepiece.ModelProto`); `DataError` names `origin`."""
    protocol = import_module("sentencepiece.sentencepiece_model_pb2")
    try:
        model = protocol.ModelProto.FromString(raw)
    except import_module("google.protobuf.message").DecodeError:
        raise DataError(f"{origin}: this is not a SentencePiece model") from None
    if not model.pieces:
        raise DataError(f"{origin}: this SentencePiece model has no pieces")
    for number, piece in enumerate(model.pieces):
        if not isinstance(piece.piece, str):  # protobuf returns bytes that are not text unchanged
            raise DataError(f"{origin}: piece {number} of this SentencePiece model is not UTF-8")
    return model


def read(path: Path) -> bytes:
    """The bytes of a model's file; `DataError` if it is missing, not a file, or too large."""
    return files.read_bytes(path, "tokenizer model", MAX_BYTES)


def check(model: Any, origin: Path | str) -> None:
    """`DataError` if the special ids or the vocabulary are not what jagpt works with."""
    found = [piece.piece for piece in model.pieces[: len(RESERVED)]]
    if found != list(RESERVED):
        raise DataError(
            f"{origin}: the pieces with ids 0 to 3 are {', '.join(found)}, but "
            f"{', '.join(RESERVED)} are needed; train a tokenizer, or choose another one"
        )
    types = [piece.type for piece in model.pieces[: len(RESERVED)]]
    if types != [CONTROL, UNKNOWN, CONTROL, CONTROL]:
        raise DataError(
            f"{origin}: the pieces with ids 0 to 3 are not special ones (types {types}, but "
            f"{[CONTROL, UNKNOWN, CONTROL, CONTROL]} are needed)"
        )
    seen: set[str] = set()
    for number, piece in enumerate(model.pieces):
        if piece.piece in seen:
            raise DataError(f"{origin}: piece {number}, {piece.piece!r}, occurs twice")
        seen.add(piece.piece)
    if has_bytes(model) and not is_exact(model):
        raise DataError(
            f"{origin}: this model spells characters as bytes, which transformers can decode only "
            "if the model keeps text as it is (no add_dummy_prefix, remove_extra_whitespaces, "
            "nmt_nfkc or user-defined pieces) and its scores are multiples of 1/128, as jagpt "
            "trains it; choose another tokenizer, or train one"
        )


def has_bytes(model: Any) -> bool:
    """Whether characters without their own piece are spelled as bytes."""
    return any(piece.type == BYTE for piece in model.pieces)


def make_exact(model: Any) -> None:
    """Change a freshly trained model into its exact form."""
    rounded = model.trainer_spec.model_type == UNIGRAM
    for piece in model.pieces:
        if piece.type == USER_DEFINED and piece.piece == "\n":
            piece.type, piece.score = NORMAL, 0.0
        elif piece.type == NORMAL and rounded:
            piece.score = round(piece.score * SCORE_STEP) / SCORE_STEP


def is_exact(model: Any) -> bool:
    """Whether a `tokenizer.json` can give exactly the ids of this model."""
    normalizer, trainer = model.normalizer_spec, model.trainer_spec
    if trainer.model_type not in (UNIGRAM, BPE) or trainer.treat_whitespace_as_suffix:
        return False
    if normalizer.add_dummy_prefix or normalizer.remove_extra_whitespaces:
        return False
    if not normalizer.escape_whitespaces or normalizer.name not in ("identity", "nfkc"):
        return False
    if any(piece.type in (USER_DEFINED, UNUSED) for piece in model.pieces):
        return False
    normal = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    if trainer.model_type == BPE:
        return True
    scores_are_exact = all((score * SCORE_STEP).is_integer() for score in normal.values())
    return set(SPELLING) <= normal.keys() and scores_are_exact
