"""Requests to the hub: a repository's files, into the cache, and a data set's sizes."""

from __future__ import annotations

import re
from pathlib import Path

from jagpt.errors import DataError, StorageError
from jagpt.text import first_line

ANSWER_SECONDS = 10
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether `name` has the form ORG/NAME."""
    return _HUB_ID.fullmatch(name) is not None


def fetch(repository: str, revision: str | None, patterns: list[str], where: str) -> Path:
    """The folder with the repository's files of these patterns.

    `DataError` if the hub has no such repository or revision, `StorageError` if it does not
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
            f"{where}: {name} not a folder here, and the hub has no such repository "
            f"({first_line(error)})"
        ) from None
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise StorageError(
            f"{where}: {name} not a folder here, and could not be downloaded from the "
            f"hub ({first_line(error)}); check the network and HF_HUB_OFFLINE, or give a folder"
        ) from None


def dataset_files(name: str, revision: str | None) -> list[tuple[str, int]]:
    """Name and size in bytes of each file of a data set; empty if the hub does not say."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        found = HfApi().dataset_info(
            name, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS
        )
    except (HfHubHTTPError, HFValidationError, OfflineModeIsEnabled, OSError):
        return []
    return [(file.rfilename, file.size or 0) for file in found.siblings or []]
