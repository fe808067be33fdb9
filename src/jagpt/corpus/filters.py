"""Why an article does not become a document of the corpus: each filter gives its reason.

The order is fixed, and the first reason counts:

1. excluded by title, id or category; not included
2. a problem of the page (malformed, too large, …), or no text
3. short; disambiguation; list; few Japanese letters
4. duplicate; near duplicate (of an earlier document that stays)
5. no lines (`first-lines` left none)
6. overlaps test, overlaps valid (only train documents, see `jagpt.corpus.overlap`)
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jagpt.corpus.documents import Article
from jagpt.corpus.selection import NOT_INCLUDED, Selection, normal
from jagpt.recipe import Corpus, Exclude

EMPTY = "empty"
SHORT = "short"
DISAMBIGUATION = "disambiguation"
LIST = "list"
FOREIGN = "few Japanese letters"
DUPLICATE = "duplicate"
NEAR_DUPLICATE = "near duplicate"
NO_LINES = "no lines"
OVERLAPS = "overlaps"

_MOST_SENTENCES = 1
_NOT_A_LETTER = re.compile(r"[\W\d_]+")
_NOT_JAPANESE = re.compile(
    "[^\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\uff66-\uff9f"  # half-width kana
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+"  # kanji
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why an article is left out: `kind` is what the statistics count by."""

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()


class Filters:
    """Reasons 1 to 4 for the articles of a corpus, which come once each, in order, where none is
    compared with another but for equal texts."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._exclusions = Exclusions(corpus.exclude)
        self._selection = Selection(corpus.include)
        self._duplicates = Duplicates()

    def reason(self, source: str, article: Article) -> Reason | None:
        """The first reason against the article; None if it may stay."""
        reason = own_reason(self._exclusions, self._selection, self._corpus, source, article)
        if reason is None and self._corpus.drop_duplicates:
            return Reason(DUPLICATE) if self._duplicates.seen(article.digest) else None
        return reason


def own_reason(
    exclusions: Exclusions, selection: Selection, corpus: Corpus, source: str, article: Article
) -> Reason | None:
    """The first reason against an article whatever the others are: reasons 1 to 3."""
    excluded = exclusions.reason(source, article)
    if excluded is not None:
        return excluded
    if not selection.takes(article.title, article.categories):
        return Reason(NOT_INCLUDED)
    reason = reason_to_drop(article, corpus)
    return None if reason is None else Reason(reason)


def reason_to_drop(article: Article, corpus: Corpus) -> str | None:
    """The first reason against the article on its own; None if it stays."""
    if article.problem is not None:
        return article.problem
    if not article.text:
        return EMPTY
    if len(article.text) < corpus.min_characters:
        return SHORT
    if corpus.drop_disambiguation and article.disambiguation:
        return DISAMBIGUATION
    if corpus.drop_list_pages and article.list_only:
        return LIST
    if corpus.min_japanese_share > 0 and (article.japanese_share or 0) < corpus.min_japanese_share:
        return FOREIGN
    return None


def document_name(source: str, document_id: str) -> str:
    """How a reason names another document."""
    return f"{source} {document_id}"


class Exclusions:
    """Articles that the recipe excludes; entries are compared after Unicode's NFC.

    An id counts in every source, or with `SOURCE:` before it in that one.
    """

    def __init__(self, exclude: Exclude) -> None:
        self._wanted = {
            "id": _by_normal_form(exclude.ids),
            "title": _by_normal_form(exclude.titles),
            "category": _by_normal_form(exclude.categories),
        }
        self._matched: dict[str, set[str]] = {kind: set() for kind in self._wanted}

    def reason(self, source: str, article: Article) -> Reason | None:
        """Why the article is excluded; all entries that name it count as matched."""
        ids = self._match("id", (article.id, f"{source}:{article.id}"))
        titles = self._match("title", (article.title,))
        categories = self._match("category", article.categories)
        if titles:
            return Reason("excluded by title")
        if ids:
            return Reason("excluded by id")
        if categories:
            return Reason("excluded by category", categories[0])
        return None

    def matched(self) -> dict[str, frozenset[str]]:
        """Entries that an article matched, by kind."""
        return {kind: frozenset(names) for kind, names in self._matched.items()}

    def meet(self, matched: Mapping[str, Iterable[str]]) -> None:
        """Take over what others matched."""
        for kind, names in matched.items():
            self._matched[kind].update(names)

    def unmatched(self) -> dict[str, list[str]]:
        """Entries of the recipe that no article matched, by the recipe's keys."""
        keys = {"id": "ids", "title": "titles", "category": "categories"}
        return {
            keys[kind]: [wanted[name] for name in wanted if name not in self._matched[kind]]
            for kind, wanted in self._wanted.items()
        }

    def _match(self, kind: str, names: Sequence[str]) -> list[str]:
        wanted = self._wanted[kind]
        if not wanted:
            return []
        found = [name for name in map(normal, names) if name in wanted]
        self._matched[kind].update(found)
        return found


def _by_normal_form(entries: Sequence[str]) -> dict[str, str]:
    return {normal(entry): entry for entry in entries}


class Duplicates:
    """Texts seen so far, by digest: 16 bytes per text, about 100 in memory."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def seen(self, digest: bytes) -> bool:
        """Whether a text with this digest was seen before; it is recorded now."""
        known = digest in self._seen
        self._seen.add(digest)
        return known


def is_bare_list(text: str) -> bool:
    """Whether at most one line is a sentence: some articles are written as list items."""
    lines = (line.rstrip("）)」』") for line in text.split("\n"))
    return sum(line.endswith("。") for line in lines) <= _MOST_SENTENCES


def text_digest(text: str) -> bytes:
    """BLAKE2b-128 of a text."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()


def japanese_share(text: str) -> float:
    """The share of kana and kanji among a text's letters; 0 where it has no letter."""
    letters = _NOT_A_LETTER.sub("", text)
    if not letters:
        return 0.0
    return len(_NOT_JAPANESE.sub("", letters)) / len(letters)
