"""The folder that `AutoTokenizer` loads, with ids equal to SentencePiece's own.

Two forms, both beside `spiece.model`:

- *fast*, for an exact model: a `tokenizer.json` of our own under `PreTrainedTokenizerFast`, which
  transformers 4.41 to 5 load (5's own `save_pretrained` writes a class that 4.x does not know);
- *slow*, for any other (the original's settings): `BertGenerationTokenizer` on `spiece.model`. It
  always gets a `sep_token` from the vocabulary, since its default would add an id. Its decoding
  has no byte pieces, strips spaces at both ends and writes unknowns as `<unk>`; and if a
  vocabulary lacks the characters of, say, `<s>`, that spelling becomes the token itself.

In both, text that spells a special token is text (`split_special_tokens`).

A model that is published gets a `tokenizer.json` in the slow form too, for programs that know
nothing else, where it gives SentencePiece's ids to all texts that it is tried on, but ties
(`add_fast_file`): of two ways to split a text that are as likely, say 11|1 and 1|11, sums of
float32 scores may prefer one and sums of float64 the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.tokenizer import model as sentencepiece_model
from jagpt.tokenizer.awkward import spells_special
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

TIE = 1e-2
"""Nats between two ways to split a text that count as equally likely: float32 keeps no more of the
sum of a long text."""
NEVER = -1000.0
"""Score of control and byte pieces: spelling one out in characters is always cheaper."""


def write_folder(model: Any, directory: Path) -> None:
    """Write the tokenizer's files for `model` (a ModelProto) into `directory`."""
    fast = is_exact(model)
    files.write_bytes(directory / MODEL_FILE, model.SerializeToString(deterministic=True))
    if fast:
        files.write_json(directory / FAST_FILE, fast_tokenizer(model))
    files.write_json(directory / CONFIG_FILE, tokenizer_config(model, fast))


@dataclass(frozen=True)
class Tried:
    """How many texts a `tokenizer.json` was tried on; those split otherwise, but as likely
    (`tied`), and those with other ids (`odd`)."""

    texts: int
    tied: list[str]
    odd: list[str]


def add_fast_file(folder: Path, texts: Iterable[str]) -> Tried:
    """Put a `tokenizer.json` beside a `spiece.model` that has none, if it gives `texts` its ids.

    Texts that spell a special token are left out: bare `tokenizers` takes that for the token, in
    any model.
    """
    import json

    from tokenizers import Tokenizer

    from jagpt.tokenizer.encoder import Encoder

    encoder, path = Encoder.open(folder), folder / MODEL_FILE
    model = sentencepiece_model.parse(sentencepiece_model.read(path), path)
    made = fast_tokenizer(model)
    fast = Tokenizer.from_str(json.dumps(made))
    tried = 0
    tied: list[str] = []
    odd: list[str] = []
    for text in texts:
        if spells_special(text):
            continue
        tried += 1
        found, wanted = fast.encode(text, add_special_tokens=False).ids, encoder.encode(text)
        if found != wanted:
            (tied if _as_likely(model, found, wanted) else odd).append(text)
    if not odd:
        files.write_json(folder / FAST_FILE, made)
    return Tried(tried, tied, odd)


def _as_likely(model: Any, ids: Sequence[int], others: Sequence[int]) -> bool:
    """Whether both spell one text, and the model prefers neither."""
    one, two = ([model.pieces[number] for number in each] for each in (ids, others))
    apart = sum(piece.score for piece in one) - sum(piece.score for piece in two)
    spelled = ["".join(piece.piece for piece in pieces) for pieces in (one, two)]
    return spelled[0] == spelled[1] and abs(apart) < TIE


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
    """`tokenizer.json` of a model: with its very ids if that is exact, else as near as can be."""
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
        "decoder": _decoder(model),
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
    """Every pair of pieces that forms a piece, best piece first (SentencePiece stores no pairs)."""
    scores = {piece.piece: piece.score for piece in model.pieces if piece.type == NORMAL}
    best_first = sorted(scores, key=lambda piece: -scores[piece])
    pairs = ([piece[:cut], piece[cut:]] for piece in best_first for cut in range(1, len(piece)))
    return [[left, right] for left, right in pairs if left in scores and right in scores]


def _decoder(model: Any) -> dict[str, Any]:
    decoders = [_replace(SPACE, " "), {"type": "ByteFallback"}, {"type": "Fuse"}]
    if model.normalizer_spec.add_dummy_prefix:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return {"type": "Sequence", "decoders": decoders}


def _normalizer(model: Any) -> dict[str, Any]:
    rules = model.normalizer_spec
    steps = [*_charsmap(rules), *(_MERGED_SPACES if rules.remove_extra_whitespaces else [])]
    steps.append(_replace(" ", SPACE))
    if rules.add_dummy_prefix:
        steps.append({"type": "Prepend", "prepend": SPACE})
        steps.append(_ALONE)  # JavaScript's puts one before an empty text too
    return steps[0] if len(steps) == 1 else {"type": "Sequence", "normalizers": steps}


def _charsmap(rules: Any) -> list[dict[str, Any]]:
    """NFKC first: tokenizers applies the map by grapheme cluster, SentencePiece by longest prefix.

    `nmt_nfkc` leaves U+FF5E as it is and drops the control characters that stand for it meanwhile.
    """
    import base64

    if not rules.precompiled_charsmap:
        return []
    encoded = base64.b64encode(rules.precompiled_charsmap).decode("ascii")
    precompiled = {"type": "Precompiled", "precompiled_charsmap": encoded}
    nfkc = [{"type": "NFKC"}]
    if rules.name == "nmt_nfkc":
        tilde, dropped, other = "\uff5e", "\x01", "\x02"
        hidden = [_replace(dropped, other), _replace(tilde, dropped)]
        nfkc = [*hidden, *nfkc, _replace(dropped, tilde)]
    return [*nfkc, precompiled]


_MERGED_SPACES: list[dict[str, Any]] = [
    # in Oniguruma ^ and $ are those of a line, and JavaScript knows no \A
    {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
    for pattern, content in ((r"(?<![\s\S]) +| +(?![\s\S])", ""), (" {2,}", " "))
]
_ALONE = {
    "type": "Replace",
    "pattern": {"Regex": rf"(?<![\s\S]){SPACE}(?![\s\S])"},
    "content": "",
}


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
