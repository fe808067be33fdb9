"""Files of a repository on the hub, fetched into the library's cache."""

from __future__ import annotations

import re
from pathlib import Path

from jagpt.errors import DataError, StorageError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form ORG/NAME."""
    return _HUB_ID.fullmatch(name) is not None


def fetch(repository: str, revision: str | None, patterns: list[str], where: str) -> Path:
    """The folder with the repository's files of these patterns.

    `DataError` where the hub has no such repository or revision, `StorageError` where it does not
    answer. `where` is the key of the recipe, or the option, that names the repository.
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
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except (RevisionNotFoundError, RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(
            f"{where}: {name} is no folder here, and the hub has none ({_first_line(error)})"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise StorageError(
            f"{where}: {name} is no folder here, and could not be fetched from the hub "
            f"({_first_line(error)}); check the network and HF_HUB_OFFLINE, or give a folder"
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
