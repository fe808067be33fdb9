"""A tokenizer that exists: a folder, a bare SentencePiece model, or a repository on the hub."""

from __future__ import annotations

import re
from pathlib import Path

from jagpt.errors import DataError, StorageError, UsageError
from jagpt.recipe import Tokenizer
from jagpt.tokenizer.folder import FAST_FILE, MODEL_FILE

HUB_FILES = [MODEL_FILE, "*.model", FAST_FILE, "tokenizer_config.json"]

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


FROM = "[tokenizer] from"
"""Where the name stands, unless the caller says otherwise: messages begin with it."""


def model_file(settings: Tokenizer, where: str = FROM) -> Path:
    """The SentencePiece model that `[tokenizer] from` means; a hub id is fetched.

    `UsageError` where it is nothing of the kind, `DataError` where a folder has no model,
    `StorageError` where the hub does not answer.
    """
    return local_file(settings, where) or _model_in(
        fetched(settings.from_ or "", settings.revision, HUB_FILES, where)
    )


def local_file(settings: Tokenizer, where: str = FROM) -> Path | None:
    """The model file if `from` names a place on this machine; None for a hub id."""
    origin = settings.from_ or ""
    path = Path(origin)
    if path.is_file():
        return path
    if path.is_dir():
        return _model_in(path)
    if is_hub_id(origin):
        return None
    raise UsageError(
        f"{where}: {origin!r} is no run directory, tokenizer folder or .model file here, "
        "and no hub id (ORG/NAME)"
    )


def check_size(settings: Tokenizer, vocab_size: int, origin: Path | str) -> None:
    """`DataError` where a recipe takes a tokenizer of another size than the one it names itself."""
    default = Tokenizer.model_fields["vocab_size"].default
    if settings.from_ is not None and settings.vocab_size not in (default, vocab_size):
        raise DataError(
            f"{origin}: this tokenizer has {vocab_size:,} pieces, and [tokenizer] vocab_size asks "
            f"for {settings.vocab_size:,}: set it to {vocab_size}, or take another tokenizer"
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
        f"{folder}: a SentencePiece model ({MODEL_FILE}, or one .model file) is wanted here "
        f"(found: {names}); a tokenizer.json alone is not enough"
    )


def is_hub_id(origin: str) -> bool:
    """Whether `origin` has the form ORG/NAME."""
    return _HUB_ID.fullmatch(origin) is not None


def fetched(repository: str, revision: str | None, patterns: list[str], where: str) -> Path:
    """The folder with the hub's files of these patterns; `StorageError` where it has none.

    `where` is the key of the recipe, or the option, that names the repository.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = f"{repository} at revision {revision}" if revision else repository
    advice = f"name a folder on this machine in {where} instead, or try again later"
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (RevisionNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
        raise StorageError(f"{where}: the hub has no {name} ({_first_line(error)})") from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise StorageError(
            f"{where}: {name} could not be fetched from the hub ({_first_line(error)}); {advice}"
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
