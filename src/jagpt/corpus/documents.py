"""A document on its way: as its source gives it, as an article, and in the finished corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document as its source gives it. `problem` says why there is no text.

    `id` is a hash of it where the file has none, so that no order or path matters.
    """

    id: str
    title: str
    text: str
    url: str | None = None
    revision: int | None = None
    problem: str | None = None
    wikitext: bool = False
    """The text is wikitext, still to be converted."""
    other_namespace: bool = False
    """No article: it is only counted."""

    def packed(self) -> bytes:
        """All of it as bytes, to be hashed."""
        head = (self.id, self.title, self.url, self.revision, self.problem, self.wikitext)
        return f"{head!r} {self.other_namespace} {self.text}".encode()


def identity(title: str, text: str) -> str:
    """16 hex digits of BLAKE2b over title and text: equal documents always share a split."""
    return hashlib.blake2b(f"{title}\n{text}".encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Article:
    """An article after conversion. `problem` says why there is no text, `digest` is of the text.

    `list_only` means five list items or more, and one sentence on a line of its own at most.
    `japanese_share`, `categories` and `signature` (MinHash) stand there where a filter asks for
    them.
    """

    id: str
    title: str
    url: str | None
    revision: int | None
    text: str
    problem: str | None = None
    disambiguation: bool = False
    list_only: bool = False
    japanese_share: float | None = None
    digest: bytes = b""
    categories: Sequence[str] = ()
    signature: bytes = b""

    def document(self, source: str, text: str) -> Document:
        """The document that `text`, all of the article's or a piece of it, becomes."""
        return Document(self.id, source, self.title, self.url, self.revision, text)


@dataclass(frozen=True, slots=True)
class Document:
    """One document; `url` and `revision` are None where unknown.

    `id` is the page's number, or for text files a hash of title and text. Documents share one where
    `first-lines` cut a page at the bound of two splits, or where duplicates of a text were kept.
    """

    id: str
    source: str
    title: str
    url: str | None
    revision: int | None
    text: str


COLUMNS = tuple(field.name for field in fields(Document))
