"""What a recipe's `[search]` may name, and the recipe with other values put in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError

from jagpt.recipe.sections import SECTIONS, Range, Recipe, Section

SEARCHED = ("train", "model")
"""Sections whose numbers may be searched over; the others change the tokens, or have no effect on
the loss.
"""
FIXED = frozenset({"train.seed", "train.block_size", "train.validate_tokens", "model.n_positions"})
"""Numbers that define what the valid loss is measured on, or that are only random seeds."""


def search_kind(key: str) -> type[int] | type[float] | None:
    """The type of the values for `key` (SECTION.KEY) in a search, int or float; None if it cannot
    be searched over.
    """
    section, _, name = key.partition(".")
    if section not in SEARCHED or key in FIXED:
        return None
    field = SECTIONS[section].model_fields.get(name)
    kinds = set() if field is None else set(_kinds(field.annotation))
    return int if kinds == {int} else float if kinds == {float} else None


def _kinds(kind: Any) -> Iterator[Any]:
    """The types that a value may have, except None."""
    origin = get_origin(kind)
    if origin is Annotated:
        yield from _kinds(get_args(kind)[0])
    elif origin in (Union, UnionType):
        for part in get_args(kind):
            yield from _kinds(part)
    elif kind is not type(None):
        yield kind


def problems(
    keys: Mapping[str, Range], sections: Mapping[str, Section]
) -> Iterator[tuple[str, str, str]]:
    """Key, what was found and what is allowed, for each key that cannot be searched over."""
    for key, given in keys.items():
        kind = search_kind(key)
        section = sections.get(key.partition(".")[0])
        if kind is None:
            yield (
                key,
                "a key that is not a number, changes the tokens, or defines what losses are "
                "compared on",
                "allowed are numbers of [train] and [model]",
            )
            continue
        values = given.values(kind)
        if values is None:
            yield (
                key,
                "not a range or a choice",
                "{ low = …, high = … } with 0 < low < high, or { choice = [ … ] }",
            )
            continue
        if section is None:  # its own mistakes are reported
            continue
        whole, name = section.model_dump(by_alias=True), key.partition(".")[2]
        for value in values:
            try:
                type(section).model_validate({**whole, name: value})
            except ValidationError as error:
                yield key, f"{value:g}", error.errors()[0]["msg"]


def with_values(recipe: Recipe, settings: Mapping[str, float | int]) -> dict[str, Any]:
    """The recipe as TOML's values, with `settings` (SECTION.KEY → number), without `[search]`."""
    value: dict[str, Any] = recipe.model_dump(mode="json", by_alias=True, exclude_none=True)
    value.pop("search")
    for key, number in settings.items():
        section, _, name = key.partition(".")
        value[section][name] = number
    return value
