"""Documents of a CirrusSearch content dump: Wikimedia's search index, with templates expanded.

Lines in pairs, in the form of Elasticsearch's bulk interface: `{"index": {"_id": …}}`, then the
page with `title`, `text`, `namespace`, `version` (its revision) and more.
https://www.mediawiki.org/wiki/Extension:CirrusSearch/Schema
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from jagpt.compressed import Reader
from jagpt.corpus.documents import SourceDocument
from jagpt.corpus.dump import title_in_url
from jagpt.corpus.rows import Columns, RowError, json_objects
from jagpt.errors import DataError

ARTICLES = 0
_COLUMNS = Columns(text="text", title="title", id="page_id", revision="version")
_WIKIPEDIA = re.compile("([a-z]{2,3}(?:_[a-z]+)*|simple)wiki")
"""Database names of Wikipedias by language; `commonswiki` and the like are not Wikipedias."""


def read_documents(reader: Reader) -> Iterator[SourceDocument]:
    """The pages, in order; those outside the article namespace are marked and have no text.

    Raises `DataError` with file and line if the lines are not such pairs.
    """
    lines = json_objects(reader)
    for number, action in lines:
        identifier = _identifier(action)
        if identifier is None:
            raise DataError(
                f'{reader.path}: line {number}: expected {{"index": {{"_id": …}}}}, as in a '
                f"CirrusSearch dump; found {str(action)[:60]}"
            )
        number, page = next(lines, (number, None))
        if page is None:
            raise DataError(
                f"{reader.path}: cut short: it ends at line {number}, before page {identifier}"
            )
        try:
            yield _document(page, identifier)
        except RowError as error:
            raise DataError(f"{reader.path}: line {number}: {error}") from None


def _identifier(action: dict[str, Any]) -> str | None:
    """The page's number in an action line; None if the line is something else."""
    head = action.get("index", action.get("create"))
    found = head.get("_id") if isinstance(head, dict) and len(action) == 1 else None
    return str(found) if isinstance(found, str | int) and found != "" else None


def _document(page: dict[str, Any], identifier: str) -> SourceDocument:
    """Old dumps have no `page_id`, and some pages no `version`."""
    namespace = page.get("namespace")
    if isinstance(namespace, bool) or not isinstance(namespace, int):
        raise RowError(f"`namespace` is {namespace!r}; expected an integer")
    if namespace != ARTICLES:
        return SourceDocument(identifier, "", "", other_namespace=True)
    document = _COLUMNS.document({"page_id": identifier, "version": None, "text": None, **page})
    return replace(document, url=_url(page.get("wiki"), document.title))


def _url(wiki: object, title: str) -> str | None:
    """The page's URL; None if the dump does not name a Wikipedia."""
    named = _WIKIPEDIA.fullmatch(wiki) if isinstance(wiki, str) else None
    if named is None:
        return None
    return f"https://{named[1].replace('_', '-')}.wikipedia.org/wiki/{title_in_url(title)}"
