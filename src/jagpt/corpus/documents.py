"""A document at each step: as its source gives it, as an article, and in the finished corpus."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, slots=True)
class SourceDocument:
    """A document as its source gives it. `problem` says why there is no text.

    `id` is a hash of the document if the file has none, so that order and path do not matter.
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
    """Not an article: it is only counted."""

    @property
    def characters(self) -> int:
        """Of all its texts: what it takes in memory."""
        return len(self.id) + len(self.title) + len(self.url or "") + len(self.text)

    def packed(self) -> bytes:
        """The whole document as bytes, for hashing."""
        head = (self.id, self.title, self.url, self.revision, self.problem, self.wikitext)
        return f"{head!r} {self.other_namespace} {self.text}".encode()


def identity(title: str, text: str) -> str:
    """16 hex digits of BLAKE2b over title and text: equal documents always share a split."""
    return hashlib.blake2b(f"{title}\n{text}".encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Article:
    """An article after conversion. `problem` says why there is no text, `digest` is of the text.

    `list_only` means five list items or more, and at most one sentence on its own line.
    `japanese_share`, `categories` and `signature` (MinHash) are present if a filter needs
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
        """The document made from `text`, the article's whole text or a piece of it."""
        return Document(self.id, source, self.title, self.url, self.revision, text)


@dataclass(frozen=True, slots=True)
class Document:
    """One document; `url` and `revision` are None if unknown.

    `id` is the page's number, or for text files a hash of title and text. Documents share one if
    `first-lines` cut a page at the boundary of two splits, or if duplicates of a text were kept.
    """

    id: str
    source: str
    title: str
    url: str | None
    revision: int | None
    text: str


COLUMNS = tuple(field.name for field in fields(Document))
