"""The recipe as a card shows it: TOML, without what cannot change the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

from jagpt import units
from jagpt.recipe import SECTIONS, Recipe


def recipe_text(recipe: Recipe) -> str:
    """The whole recipe without paths, `[search]`, `[baseline]` and `[execution]`."""
    names = [name for name in SECTIONS if name not in ("search", "baseline", "execution")]
    sections = {name: getattr(recipe, name).semantic() for name in names}
    for row in sections["corpus"]["source"]:
        if (weight := recipe.corpus.weights.get(row["name"])) is not None:
            row["weight"] = weight  # of training, not of the corpus
    return sections_text(recipe.name, sections)


def sections_text(name: str, sections: Mapping[str, Any]) -> str:
    """Sections of a recipe as TOML.

    Excluded articles are only counted: naming them would defeat the purpose of their removal.
    """
    value = _without_none({"name": name, **sections})
    hidden = _take_exclusions(value)
    note = (
        f"# [corpus.exclude]: {units.counted(hidden, 'entry', 'entries')}, not shown\n"
        if hidden
        else ""
    )
    return note + tomli_w.dumps(value)


def _take_exclusions(value: dict[str, Any]) -> int:
    corpus = value.get("corpus")
    if not isinstance(corpus, dict):
        return 0
    exclude = corpus.pop("exclude", None)
    lists = exclude.values() if isinstance(exclude, dict) else ()
    return sum(len(entries) for entries in lists if isinstance(entries, list))


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_without_none(item) for item in value]
    return value
