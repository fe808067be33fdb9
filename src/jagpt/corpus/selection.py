"""The articles that the recipe includes: by title, by a pattern of titles, or by category."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate

from jagpt.recipe import Include

NOT_INCLUDED = "not included"


class Selection:
    """Which articles `[corpus.include]` takes; names are compared after Unicode's NFC.

    `categories` are the included ones with their subcategories, which do not count without them.
    """

    def __init__(self, include: Include, categories: Iterable[str] | None = None) -> None:
        self._include = include
        self._titles = set(map(normal, include.titles))
        self._pattern = re.compile("|".join(map(translate, map(normal, include.title_patterns))))
        self._categories = frozenset(
            with_subcategories(include, {}) if categories is None else categories
        )
        self.met: set[str] = set()
        """Titles that an article had."""

    def takes(self, title: str, categories: Iterable[str]) -> bool:
        """Whether to take an article."""
        if self.takes_title(title):
            return True
        return any(category_name(name) in self._categories for name in categories)

    def takes_title(self, title: str) -> bool:
        """Whether an article is taken regardless of its categories."""
        if self._include.everything:
            return True
        name = normal(title)
        if name in self._titles:
            self.met.add(name)
            return True
        return bool(self._include.title_patterns) and self._pattern.match(name) is not None

    def unmatched(self) -> list[str]:
        """Titles as the recipe has them that no article had."""
        return [title for title in self._include.titles if normal(title) not in self.met]


def with_subcategories(include: Include, parents: Mapping[str, Sequence[str]]) -> set[str]:
    """The included categories and `depth` levels of subcategories.

    `parents` maps a category to the categories that its page is in.
    """
    below: dict[str, list[str]] = defaultdict(list)
    for child, names in parents.items():
        for name in names:
            below[category_name(name)].append(category_name(child))
    found = level = set(map(category_name, include.categories))
    for _ in range(include.depth):
        level = {child for name in level for child in below[name]} - found
        if not level:
            break
        found = found | level
    return found


def normal(name: str) -> str:
    """A name normalized for comparison."""
    return unicodedata.normalize("NFC", name)


def category_name(name: str) -> str:
    """A category's name as MediaWiki compares it, in which an underscore is a space."""
    name = " ".join(normal(name).replace("_", " ").split())
    return name[:1].upper() + name[1:]
