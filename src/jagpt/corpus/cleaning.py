"""HojiChar's filters (https://github.com/HojiChar/HojiChar), chosen by a profile.

HojiChar's own profiles are Python files, which a stranger's recipe must not run. Ours is JSON:

    {"filters": [{"filter": "DiscardAds", "max_allowed_num": 14}, {"filter": "AcceptJapanese"}]}

It can only name filters of `hojichar.document_filters`, and set their own arguments to numbers,
true or false: a string could be the path of a file to read. Chance (`p`) is left out, since a page
must come out the same in every worker.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError, MissingExtraError, did_you_mean

KIND = "profile for HojiChar"
_NOT_HERE = frozenset(
    ("ApplyDiscard", "DiscardAll", "ExampleHojiChar", "JSONDumper", "JSONLoader", "Sleep")
)
"""Filters for HojiChar's own command, or examples."""
_FIXED = frozenset(("max_parse_chars",))
"""According to HojiChar, a larger one may crash MeCab."""


@dataclass(frozen=True)
class Call:
    """A filter and its arguments."""

    name: str
    arguments: tuple[tuple[str, bool | int | float], ...]


Profile = tuple[Call, ...]


def profile_at(path: str | None) -> Profile:
    """The filters that a profile names, in order; none without a profile.

    Raises `MissingExtraError` if HojiChar is not installed, `DataError` if the profile names
    anything but its filters.
    """
    if path is None:
        return ()
    if find_spec("hojichar") is None:
        raise MissingExtraError("corpus.hojichar", "hojichar")
    rows = files.read_json(Path(path), KIND).get("filters")
    if not isinstance(rows, list) or not rows:
        raise DataError(f'{path}: expected {{"filters": [{{"filter": "NAME"}}, …]}}')
    profile = tuple(_call(row, f"{path}: filter {n}") for n, row in enumerate(rows, 1))
    for number, call in enumerate(profile, 1):
        _made(call, f"{path}: filter {number}")
    return profile


def cleaned(text: str, profile: Profile) -> tuple[str, str | None]:
    """The text after the filters, or the filter that discards it."""
    from hojichar import Document

    document = Document(text)
    for call, filter_ in zip(profile, _filters(profile), strict=True):
        try:
            document = filter_.apply(document)
        except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
            return "", f"hojichar {call.name} failed ({type(error).__name__})"
        if document.is_rejected:
            return "", f"hojichar {call.name}"
    return document.text.strip(), None


@lru_cache(maxsize=1)
def _filters(profile: Profile) -> list[Any]:
    return [_made(call, call.name) for call in profile]


def _call(row: object, place: str) -> Call:
    if not isinstance(row, dict) or not isinstance(name := row.get("filter"), str):
        raise DataError(f'{place}: expected {{"filter": "NAME"}} with its arguments')
    known = _known()
    if name not in known:
        raise DataError(
            f"{place}: {name!r} is not a filter of hojichar.document_filters that can be used here"
            f"{did_you_mean(name, list(known))}"
        )
    given = {key: value for key, value in row.items() if key != "filter"}
    _check_arguments(given, _parameters(known[name]), f"{place} ({name})")
    return Call(name, tuple(given.items()))


def _check_arguments(given: Mapping[str, object], allowed: Sequence[str], place: str) -> None:
    for key, value in given.items():
        if key not in allowed:
            raise DataError(
                f"{place}: {key!r} cannot be set; allowed are {', '.join(allowed) or 'none'}"
            )
        if not isinstance(value, int | float):
            raise DataError(f"{place}: {key} is {value!r}; expected a number, true or false")


def _made(call: Call, place: str) -> Any:
    try:
        return _known()[call.name](**dict(call.arguments))
    except (AssertionError, ImportError, OverflowError, TypeError, ValueError) as error:
        raise DataError(f"{place} ({call.name}) cannot be created: {error}") from None


@lru_cache(maxsize=1)
def _known() -> dict[str, type]:
    """The filters that a profile may name."""
    from hojichar import Filter, document_filters

    return {
        name: found
        for name, found in vars(document_filters).items()
        if inspect.isclass(found)
        and issubclass(found, Filter)
        and found.__module__ == document_filters.__name__
        and name not in _NOT_HERE
    }


def _parameters(filter_: type) -> list[str]:
    """The filter's own arguments that are not strings, without those of the base class."""
    named = inspect.signature(filter_).parameters.values()
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [
        one.name
        for one in named
        if one.kind not in kinds and one.name not in _FIXED and "str" not in str(one.annotation)
    ]
