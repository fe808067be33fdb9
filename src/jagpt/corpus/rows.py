"""Documents of rows with named columns: of JSON Lines, and what Parquet and data sets share.

A row that contradicts the recipe (not JSON, a column that is missing or of another type) ends the
reading: the recipe names the wrong column or the file is damaged. A text that is null or unusable
(NUL, a lone surrogate) is left out with a reason.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jagpt.compressed import Reader
from jagpt.corpus.documents import SourceDocument, identity
from jagpt.corpus.text_files import Lines
from jagpt.errors import DataError
from jagpt.recipe import Source
from jagpt.text import shortened

NO_TEXT = "no text"
NOT_TEXT = "not text"
LARGEST_REVISION = 2**63 - 1
LISTED_COLUMNS = 20
LONGEST_NAME = 10_000
"""Characters of an id, a title or a URL."""
SKELETON = 4 * 1024 * 1024
"""Characters of a JSON line outside its strings: each value, at least one, takes about 100
bytes.
"""

_STRING = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)')
"""Where the line is cut, its end: each quote in an unfinished string would be tried otherwise."""


class RowError(ValueError):
    """A row does not match the columns; the caller, who knows its place, turns this into a
    `DataError`.
    """


@dataclass(frozen=True)
class Columns:
    """The roles of a row's columns; `wikitext` says that the text is wikitext."""

    text: str
    title: str | None = None
    id: str | None = None
    url: str | None = None
    revision: str | None = None
    wikitext: bool = False

    @classmethod
    def of(cls, source: Source) -> Columns:
        """The columns that a source names, or those that its kind has."""
        wikitext = source.kind == "wikitext"
        return cls(
            text=source.column or ("wikitext" if wikitext else "text"),
            title=source.title_column or ("title" if wikitext else None),
            id=source.id_column,
            url=source.url_column,
            revision=source.revision_column,
            wikitext=wikitext,
        )

    @property
    def names(self) -> list[str]:
        """The columns that are read, each once."""
        named = (self.text, self.title, self.id, self.url, self.revision)
        return list(dict.fromkeys(name for name in named if name is not None))

    def document(self, row: Mapping[str, Any]) -> SourceDocument:
        """The row's document; `RowError` if a column is missing or of another type."""
        title = _name(row, self.title) or ""
        text, problem = tidy(_string(row, self.text))
        given = _identifier(row, self.id) if self.id else None
        return SourceDocument(
            id=given or identity(clean(title), text),
            title=clean(title).strip(),
            text=text,
            url=clean(_name(row, self.url) or "") or None,
            revision=_revision(row, self.revision) if self.revision else None,
            problem=problem,
            wikitext=self.wikitext,
        )


def tidy(text: str | None) -> tuple[str, str | None]:
    """The text with uniform line ends and no surrounding white space, or why it is unusable."""
    if text is None:
        return "", NO_TEXT
    if "\0" in text or clean(text) != text:
        return "", NOT_TEXT
    return text.replace("\r\n", "\n").strip(), None


def exact(text: str, column: str) -> str:
    """`text` as it stands; `RowError` if it contains a NUL or a lone surrogate."""
    if tidy(text)[1] is not None:
        raise RowError(f"column {column!r} contains a NUL or a lone surrogate: not text")
    return text


def clean(text: str) -> str:
    """`text` with a question mark for each lone surrogate, which UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _value(row: Mapping[str, Any], column: str) -> Any:
    if column not in row:
        raise RowError(f"no column {column!r}; {there_is(list(row))}")
    return row[column]


def there_is(names: Sequence[str]) -> str:
    more = ", …" if len(names) > LISTED_COLUMNS else ""
    return f"there is {', '.join(map(str, names[:LISTED_COLUMNS])) or 'none'}{more}"


def _string(row: Mapping[str, Any], column: str | None) -> str | None:
    value = None if column is None else _value(row, column)
    if value is None or isinstance(value, str):
        return value
    raise RowError(f"column {column!r} is {_shown(value)}; expected a string or null")


def _name(row: Mapping[str, Any], column: str | None) -> str | None:
    value = _string(row, column)
    if value is not None and len(value) > LONGEST_NAME:
        raise RowError(
            f"column {column!r} has {len(value):,} characters; at most {LONGEST_NAME:,} are read"
        )
    return value


def _identifier(row: Mapping[str, Any], column: str) -> str:
    value = _value(row, column)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value:
        return clean(_name(row, column) or "")
    raise RowError(f"column {column!r} is {_shown(value)}; expected a string or an integer")


def _revision(row: Mapping[str, Any], column: str) -> int | None:
    value = _value(row, column)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST_REVISION:
        return value
    raise RowError(f"column {column!r} is {_shown(value)}; expected an integer or null")


def _shown(value: object) -> str:
    return f"{type(value).__name__} {shortened(repr(value), 40)}"


# --- JSON lines -----------------------------------------------------------------------------------


def read_json_lines(reader: Reader, columns: Columns) -> Iterator[SourceDocument]:
    """The documents of a JSON Lines file, in order; blank lines are skipped.

    Raises `DataError` with file and line if a line is not a JSON object or lacks a column.
    """
    for number, value in json_objects(reader):
        try:
            yield columns.document(value)
        except RowError as error:
            raise DataError(f"{reader.path}: line {number}: {error}") from None


def json_objects(reader: Reader) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON Lines file with their line numbers, counted from 1."""
    for number, line in enumerate(Lines(reader), start=1):
        if line.strip():
            yield number, json_object(line, f"{reader.path}: line {number}")


def json_object(line: str, place: str) -> dict[str, Any]:
    """The JSON object of a line; `DataError` with its `place` if there is none."""
    if len(line) > SKELETON and len(_STRING.sub("", line)) > SKELETON:
        raise DataError(
            f"{place}: more than {SKELETON // 2**20} MiB of JSON besides its texts; leave out the "
            "columns that are not read"
        )
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not JSON ({error}); it begins with {line[:20]!r}") from None
    if not isinstance(value, dict):
        raise DataError(f"{place}: expected a JSON object, found {_shown(value)}")
    return value
