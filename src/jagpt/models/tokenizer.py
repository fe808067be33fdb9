"""A folder's tokenizer, as transformers reads it, without running the folder's code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jagpt.errors import DataError
from jagpt.models import guard
from jagpt.models.quiet import quiet
from jagpt.text import first_line

FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.json")
"""At least one of these is in every tokenizer folder."""
MAX_PADDING_ROWS = 1024
"""Rows that a model may have beyond its tokenizer's pieces: vocabularies are padded for speed."""
ANY_LENGTH = 10**30
"""Texts are cut into windows here, so no length deserves transformers' warning."""
_TRIAL = "日本 a1。\n"


def has_one(folder: Path) -> bool:
    """Whether the folder has a tokenizer."""
    return any((folder / name).is_file() for name in FILES)


def own_files(folder: Path) -> list[Path]:
    """The files of a folder that decide what its tokenizer does, in the order of their names."""
    return sorted(
        path
        for path in folder.iterdir()
        if guard.TOKENIZER_FILE.fullmatch(path.name) and path.is_file()
    )


def load_tokenizer(folder: Path) -> Any:
    """The folder's tokenizer, which treats a text that spells a special token as text.

    `DataError` if there is none that loads and encodes.
    """
    if not has_one(folder):
        raise DataError(
            f"{folder}: no tokenizer ({', '.join(FILES)}: none is there); one in another folder, "
            "as "
            "for a checkpoint, is given with `jagpt evaluate --tokenizer DIR`"
        )
    guard.check_folder(folder)
    guard.check_tokenizer(folder)
    from transformers import AutoTokenizer

    try:
        with quiet():
            found = AutoTokenizer.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                split_special_tokens=True,
                model_max_length=ANY_LENGTH,
            )
            found.decode(found(_TRIAL)["input_ids"])
    except Exception as error:  # libraries may raise anything for an invalid folder
        raise DataError(f"{folder}: its tokenizer cannot be loaded ({first_line(error)})") from None
    return found


def token_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Each text's ids, without special tokens.

    `DataError` if the tokenizer has no id for something in them: some know no unknown token.
    """
    try:
        with quiet():
            found: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    except Exception as error:  # tokenizers raises no class of its own
        raise DataError(
            f"{tokenizer.name_or_path}: its tokenizer cannot encode this text "
            f"({first_line(error)}); give it text of the characters that it knows"
        ) from None
    return found


def other_ids(ours: Any, theirs: Any) -> int:
    """Pieces that do not have the same id in both tokenizers."""
    one, two = ours.get_vocab(), theirs.get_vocab()
    return sum(one.get(piece) != two.get(piece) for piece in one.keys() | two.keys())


def fits(pieces: int, rows: int) -> bool:
    """Whether a model with these rows may have a tokenizer with this many pieces."""
    return 0 <= rows - pieces <= MAX_PADDING_ROWS


def check_match(model: Path | str, pieces: int, rows: int) -> None:
    """`DataError` if a tokenizer with this many pieces does not match a model's rows."""
    if not fits(pieces, rows):
        raise DataError(
            f"{model}: the tokenizer has {pieces:,} pieces but the model {rows:,} rows: "
            "they do not belong together"
        )
