"""From a path, a run directory or a name to a recipe; `--set` overrides."""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import resources
from numbers import Integral, Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jagpt import files
from jagpt.errors import RecipeError, UsageError, did_you_mean
from jagpt.recipe.checks import validated
from jagpt.recipe.searching import with_values
from jagpt.recipe.sections import SAMPLE, Recipe
from jagpt.rundir import MAX_RECIPE_BYTES, RECIPE, is_run
from jagpt.text import is_text

DEEPEST = 32
"""Levels of keys; a recipe has four. Reading TOML takes time quadratic in them."""
_DEEP_KEY = re.compile(rf"""(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}""")


def load(
    reference: str | Path,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] | None = None,
) -> Recipe:
    """The recipe at a path, in a run directory, or shipped under that name, with `--set` overrides
    and `values` (as for `parse`).

    Raises `UsageError` if there is none, `RecipeError` listing all mistakes.
    """
    path = find(reference)
    text = files.read_bytes(path, "recipe", MAX_RECIPE_BYTES)
    return parse(
        text, origin=str(reference), folder=path.parent, overrides=overrides, values=values or {}
    )


def changed(recipe: Recipe, settings: Mapping[str, float | int]) -> Recipe:
    """The recipe with other numbers (SECTION.KEY → value) and without `[search]`.

    `RecipeError` if they do not fit together.
    """
    return validated(with_values(recipe, settings), recipe.name)


def find(reference: str | Path) -> Path:
    """The file that a recipe reference points to."""
    path = Path(reference)
    if path.is_file():
        return path
    if is_run(reference):
        return path / RECIPE
    shipped = shipped_recipes()
    if str(reference) in shipped:
        return shipped[str(reference)]
    names = ", ".join(shipped)
    near = did_you_mean(str(reference), shipped)
    raise UsageError(
        f"no recipe {str(reference)!r}: it is not a file, a run directory or a shipped "
        f"recipe{near} (shipped: {names})"
    )


def shipped_recipes() -> dict[str, Path]:
    """Name → file of the recipes that come with jagpt."""
    folder = Path(str(resources.files("jagpt") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def parse(
    text: bytes | str,
    *,
    origin: str = "recipe",
    folder: Path | None = None,
    overrides: Sequence[str] = (),
    values: Mapping[str, Any] = MappingProxyType({}),
) -> Recipe:
    """A recipe from TOML text; paths in it are relative to `folder`, in overrides to here.

    `values` are Python's, by key or in tables, which merge with the recipe's; None takes a key out.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        value = _toml(decoded)
    except UnicodeDecodeError as error:
        raise RecipeError(origin, [f"not UTF-8 text (byte {error.start})"]) from None
    except ValueError as error:
        raise RecipeError(origin, [f"not TOML: {error}"]) from None
    if folder is not None:
        value = _with_places(value, folder)
    problems = [problem for override in overrides if (problem := _override(value, override))]
    problems += [
        f"{'.'.join(filter(None, keys))}: {problem}"
        for keys, item in _leaves(values)
        if (problem := _given(value, keys, item))
    ]
    return validated(value, origin, problems)


def _toml(text: str) -> dict[str, Any]:
    """The tables of TOML text; `ValueError` if it is not TOML, or too deeply nested."""
    if deep := _DEEP_KEY.search(text):
        line = text.count("\n", 0, deep.start()) + 1
        raise ValueError(f"a key of more than {DEEPEST} levels (line {line})")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("lists or tables are nested too deeply") from None


def _with_places(value: Any, folder: Path, at: tuple[str, ...] = ()) -> Any:
    """A recipe's value at a key with all places in it independent of the current folder.

    Lists add nothing to the key: each source's path is at `corpus.source.path`.
    """
    if not any(key[: len(at)] == at for key in _PLACES):
        return value
    if isinstance(value, dict):
        return {key: _with_places(item, folder, (*at, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_places(item, folder, at) for item in value]
    placed = _PLACES.get(at)
    return placed(value, folder) if placed and isinstance(value, str) and value else value


def _hub_or_place(name: str, folder: Path) -> str:
    """A place made absolute against `folder`; a hub id, which no place there has, stays."""
    return _place(name, folder) if name[0] in "./" or _exists(folder / name) else name


def _data_set(name: str, folder: Path) -> str:
    """A folder of a data set made absolute; the id of one on the hub stays."""
    return str((folder / name).absolute()) if name[0] in "./" else name


def _place(path: str, folder: Path) -> str:
    """A run or model made absolute; links are followed where it exists."""
    place = folder / path
    return str(place.resolve() if _exists(place) else place.absolute())


def anchored(path: str, folder: Path) -> str:
    """`path` made absolute against `folder`; the bundled sample's name stays.

    The folder's own name is never taken as a pattern, whatever characters it contains.
    """
    if path == SAMPLE:
        return path
    place = (folder / path).absolute()
    if Path(path).is_absolute() or not glob.has_magic(path) or _exists(place):
        return str(place)
    return str(Path(glob.escape(str(folder.absolute()))) / path)


_PLACES = {
    ("corpus", "source", "path"): anchored,
    ("corpus", "source", "dataset"): _data_set,
    ("corpus", "hojichar"): anchored,
    ("corpus", "from"): _place,
    ("tokens", "from"): _place,
    ("tokenizer", "from"): _hub_or_place,
    ("model", "from"): _hub_or_place,
    ("train", "teacher"): _hub_or_place,
}
"""Keys that name places, and what makes such a name absolute."""


def _exists(place: Path) -> bool:
    """Whether there is such a file or folder; the checks tell what is wrong with a name."""
    try:
        return place.exists()
    except OSError:
        return False


def _override(value: dict[str, Any], override: str) -> str | None:
    """Apply one SECTION.KEY=VALUE; returns the problem as text if it cannot be read."""
    name, equals, raw = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys) or len(keys) > DEEPEST:
        return f"--set {override}: expected SECTION.KEY=VALUE, such as train.learning_rate=3e-4"
    if not is_text(raw):
        return f"--set {override}: not UTF-8; select such a file with a pattern, such as *.txt"
    problem = _set(value, keys, _toml_value(raw.strip()))
    return f"--set {override}: {problem}" if problem else None


def _leaves(
    values: Mapping[str, Any], at: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The keys of Python's values, those in tables too, each with what it is set to."""
    for key, item in values.items():
        # in a section, "source.path" means what it means in --set
        keys = (*at, *str(key).split(".")) if len(at) == 1 else (*at, str(key))
        if not isinstance(item, Mapping):
            yield keys, item
        elif item:
            yield from _leaves(item, keys)
        else:
            yield (*keys, ""), None  # the table is made, so that its name is checked


def _given(value: dict[str, Any], keys: tuple[str, ...], item: Any) -> str | None:
    """Apply one of Python's values; returns the problem as text if TOML has no such value."""
    try:
        return _set(value, keys, None if item is None else _plain(item))
    except TypeError as error:
        return f"{error}; expected a number, true or false, text, a path, a list or a table"


def _plain(item: Any) -> Any:
    """A Python value, also NumPy's, as TOML's; `TypeError` if it has none."""
    if isinstance(item, str | bool):
        return item
    if isinstance(item, os.PathLike):
        return os.fsdecode(item)
    if isinstance(item, Integral):
        return int(item)
    if isinstance(item, Real):
        return float(item)
    if isinstance(item, Mapping):
        return {str(key): _plain(one) for key, one in item.items() if one is not None}
    if isinstance(item, list | tuple):
        return [_plain(one) for one in item]
    raise TypeError(f"found {type(item).__name__}")


def _set(value: dict[str, Any], keys: Sequence[str], item: Any) -> str | None:
    """Put `item`, whose places are relative to here, at a key, or take the key out if it is None.

    Returns the problem as text if there is no such table.
    """
    target: Any = value
    at: tuple[str, ...] = ()
    for depth, key in enumerate(keys[:-1]):
        at = (*at, key) if isinstance(target, dict) else at
        target = _step_into(target, key)
        if target is None:
            return f"there is no table {'.'.join(keys[: depth + 1])}"
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    if not isinstance(target, dict):
        return f"{'.'.join(keys[:-1])} is not a table"
    if item is None:
        target.pop(keys[-1], None)
    else:
        target[keys[-1]] = _with_places(item, Path.cwd(), (*at, keys[-1]))
    return None


def _step_into(target: Any, key: str) -> Any:
    """The table or list under `key`; a list's entry by number, by its `name`, or the only one."""
    if isinstance(target, dict):
        return target.setdefault(key, {})
    if isinstance(target, list):
        if key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(target):
            return target[int(key)]
        return next((t for t in target if isinstance(t, dict) and t.get("name") == key), None)
    return None


def _toml_value(raw: str) -> Any:
    """A TOML value, or the bare text if it is not one (so that strings need no quotes)."""
    with suppress(ValueError):
        found = _toml(f"value = {raw}")
        _toml(f"value = [{raw}]")  # which a comment behind the value would leave open
        if found.keys() == {"value"}:
            return found["value"]
    return raw
