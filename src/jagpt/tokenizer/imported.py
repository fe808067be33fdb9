"""An existing tokenizer: a folder, a bare SentencePiece model, or a repository on the hub."""

from __future__ import annotations

from pathlib import Path

from jagpt import hub
from jagpt.errors import DataError, UsageError
from jagpt.recipe import AUTO, Tokenizer
from jagpt.tokenizer.folder import FAST_FILE, MODEL_FILE

HUB_FILES = [MODEL_FILE, "*.model", FAST_FILE, "tokenizer_config.json"]

FROM = "[tokenizer] from"
"""Where the name was given, unless the caller says otherwise: messages begin with it."""


def model_file(settings: Tokenizer, where: str = FROM) -> Path:
    """The SentencePiece model that `[tokenizer] from` names; a hub id is downloaded.

    `UsageError` if it is not one, `DataError` if a folder has no model or the hub no such
    repository, `StorageError` if the hub does not answer.
    """
    return local_file(settings, where) or _model_in(
        hub.fetch(settings.from_ or "", settings.revision, HUB_FILES, where)
    )


def local_file(settings: Tokenizer, where: str = FROM) -> Path | None:
    """The model file if `from` names a place on this machine; None for a hub id."""
    origin = settings.from_ or ""
    path = Path(origin)
    if path.is_file():
        return path
    if path.is_dir():
        return _model_in(path)
    if hub.is_hub_id(origin):
        return None
    raise UsageError(
        f"{where}: {origin!r} is not a run directory, tokenizer folder, .model file or "
        "hub id (ORG/NAME)"
    )


def check_size(settings: Tokenizer, vocab_size: int, origin: Path | str) -> None:
    """`DataError` if a recipe's tokenizer has a different size than its own `vocab_size`."""
    default = Tokenizer.model_fields["vocab_size"].default
    if settings.from_ is not None and settings.vocab_size not in (default, AUTO, vocab_size):
        raise DataError(
            f"{origin}: this tokenizer has {vocab_size:,} pieces, but [tokenizer] vocab_size is "
            f"{settings.vocab_size:,}: set it to {vocab_size}, or use another tokenizer"
        )


def _model_in(folder: Path) -> Path:
    """The folder's `spiece.model`, or its only `.model` file."""
    if (folder / MODEL_FILE).is_file():
        return folder / MODEL_FILE
    found = sorted(folder.glob("*.model"))
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or "none"
    raise DataError(
        f"{folder}: expected a SentencePiece model here ({MODEL_FILE}, or one .model file; "
        f"found: {names}); a tokenizer.json alone is not enough"
    )
