"""Documents of a data set of the Hugging Face Hub, streamed; needs the extra `jagpt[datasets]`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.rows import Columns, RowError
from jagpt.errors import DataError, MissingExtraError, StorageError
from jagpt.recipe import Source


def check_library() -> None:
    """Raise `MissingExtraError` if the library that streams data sets is not installed."""
    if find_spec("datasets") is None:
        raise MissingExtraError('a source of kind "hf"', "datasets")


class HubDocuments:
    """The documents of a source's data set, in one pass, in order.

    Raises `MissingExtraError` without the package, `DataError` with the row if a column is
    missing or of another type, or if there is no such data set, and `StorageError` for the network.
    """

    def __init__(self, source: Source) -> None:
        self.path = Path(str(source.dataset))
        self.offset = 0
        """Bytes of text read so far; the files' own sizes are not known."""
        self._source = source
        self._columns = Columns.of(source)
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of the documents so far, since there is no file to hash."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[SourceDocument]:
        for number, row in enumerate(self._rows(), start=1):
            try:
                document = self._columns.document(row)
            except RowError as error:
                raise DataError(f"{self._name}: row {number}: {error}") from None
            packed = document.packed()
            self._hash.update(len(packed).to_bytes(8, "little") + packed)
            self.offset += len(packed)
            yield document

    @property
    def _name(self) -> str:
        config = f", {self._source.config}" if self._source.config else ""
        return f"data set {self._source.dataset} ({self._source.dataset_split}{config})"

    def _rows(self) -> Iterator[dict[str, Any]]:
        check_library()
        import datasets

        source = self._source
        try:
            yield from datasets.load_dataset(
                source.dataset,
                source.config,
                split=source.dataset_split,
                revision=source.revision,
                streaming=True,
            )
        except (datasets.exceptions.DatasetsError, ValueError, FileNotFoundError) as error:
            raise DataError(f"{self._name}: cannot be read ({error})") from None
        except (OSError, RuntimeError) as error:
            raise StorageError(
                f"{self._name}: {error}; check the network, then run the same command again: "
                "finished "
                "work is kept"
            ) from None
