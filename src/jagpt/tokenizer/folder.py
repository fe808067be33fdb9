"""The folder that `AutoTokenizer` loads, with ids equal to SentencePiece's own.

Two forms, both beside `spiece.model`:

- *fast*, for an exact model: a `tokenizer.json` of our own under `PreTrainedTokenizerFast`, which
  transformers 4.41 to 5 load (5's own `save_pretrained` writes a class that 4.x does not know);
- *slow*, for any other (the original's settings): `BertGenerationTokenizer` on `spiece.model`. It
  is always given a `sep_token` of the vocabulary, as its default would add an id. Its decoding
  knows no byte pieces, strips spaces at both ends and writes unknowns as `<unk>`; and where a
  vocabulary has none of the characters of, say, `<s>`, that spelling becomes the token itself.

In both, text that spells a special token is text (`split_special_tokens`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.tokenizer.model import (
    BOS,
    CLS,
    CONTROL,
    EOS,
    NORMAL,
    PAD,
    SEP,
    SPACE,
    UNIGRAM,
    UNK,
    UNKNOWN,
    has_bytes,
    is_exact,
)

MODEL_FILE = "spiece.model"
CONFIG_FILE = "tokenizer_config.json"
FAST_FILE = "tokenizer.json"

NEVER = -1000.0
"""Score of control and byte pieces: spelling one out in characters is always cheaper."""


def write_folder(model: Any, directory: Path) -> None:
    """Put the tokenizer's files for `model` (a ModelProto) into `directory`."""
    fast = is_exact(model)
    files.write_bytes(directory / MODEL_FILE, model.SerializeToString(deterministic=True))
    if fast:
        files.write_json(directory / FAST_FILE, fast_tokenizer(model))
    files.write_json(directory / CONFIG_FILE, tokenizer_config(model, fast))


def tokenizer_config(model: Any, fast: bool) -> dict[str, Any]:
    """`tokenizer_config.json`; GPT-2 takes no `token_type_ids`, so none are made."""
    pieces = {piece.piece for piece in model.pieces}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast" if fast else "BertGenerationTokenizer",
        "pad_token": PAD,
        "unk_token": UNK,
        "bos_token": BOS,
        "eos_token": EOS,
        "cls_token": CLS if CLS in pieces else BOS,
        "sep_token": SEP if SEP in pieces else EOS,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def fast_tokenizer(model: Any) -> dict[str, Any]:
    """`tokenizer.json` of an exact model."""
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(number, piece.piece)
            for number, piece in enumerate(model.pieces)
            if piece.type in (UNKNOWN, CONTROL)
        ],
        "normalizer": _normalizer(model),
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}],
        },
        "model": _unigram(model) if model.trainer_spec.model_type == UNIGRAM else _bpe(model),
    }


def _unigram(model: Any) -> dict[str, Any]:
    return {
        "type": "Unigram",
        "unk_id": 1,
        "vocab": [
            [piece.piece, piece.score if piece.type == NORMAL else NEVER] for piece in model.pieces
        ],
        "byte_fallback": has_bytes(model),
    }


def _bpe(model: Any) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": UNK,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": True,
        "byte_fallback": has_bytes(model),
        "ignore_merges": False,
        "vocab": {piece.piece: number for number, piece in enumerate(model.pieces)},
        "merges": _merges(model),
    }


def _merges(model: Any) -> list[list[str]]:
    """Every pair of pieces that makes a piece, best piece first (SentencePiece keeps no pairs)."""
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    best_first = sorted(scores, key=lambda piece: -scores[piece])
    pairs = ([piece[:cut], piece[cut:]] for piece in best_first for cut in range(1, len(piece)))
    return [[left, right] for left, right in pairs if left in scores and right in scores]


def _normalizer(model: Any) -> dict[str, Any]:
    import base64

    escape = _replace(" ", SPACE)
    charsmap = model.normalizer_spec.precompiled_charsmap
    if not charsmap:
        return escape
    encoded = base64.b64encode(charsmap).decode("ascii")
    # NFKC first: tokenizers applies the map by grapheme cluster, SentencePiece by longest prefix
    precompiled = {"type": "Precompiled", "precompiled_charsmap": encoded}
    return {"type": "Sequence", "normalizers": [{"type": "NFKC"}, precompiled, escape]}


def _replace(pattern: str, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": {"String": pattern}, "content": content}


def _added_token(number: int, piece: str) -> dict[str, Any]:
    return {
        "id": number,
        "content": piece,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }
