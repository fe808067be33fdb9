"""From a path, a run directory or a name to a recipe; `--set` overrides."""

from __future__ import annotations

import glob
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import RecipeError, UsageError, did_you_mean
from jagpt.recipe.checks import validated
from jagpt.recipe.searching import with_values
from jagpt.recipe.sections import SAMPLE, Recipe
from jagpt.rundir import MAX_RECIPE_BYTES, RECIPE, is_run
from jagpt.text import is_text

_ORIGINS = (
    ["corpus", "from"], ["tokenizer", "from"], ["tokens", "from"], ["model", "from"],
    ["train", "teacher"],
)  # fmt: skip
"""Keys that can name another run."""
DEEPEST = 32
"""Levels of keys; a recipe has four. Reading TOML takes time quadratic in them."""
_DEEP_KEY = re.compile(rf"""(?:(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{DEEPEST}}}""")


def load(reference: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe at a path, in a run directory, or shipped under that name, with `--set` overrides.

    Raises `UsageError` if there is none, `RecipeError` listing all mistakes.
    """
    path = find(reference)
    text = files.read_bytes(path, "recipe", MAX_RECIPE_BYTES)
    return parse(text, origin=str(reference), folder=path.parent, overrides=overrides)


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
    if is_run(path):
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
) -> Recipe:
    """A recipe from TOML text; paths in it are relative to `folder`, in overrides to here."""
    try:
        decoded = text if isinstance(text, str) else text.decode("utf-8")
        value = _toml(decoded)
    except UnicodeDecodeError as error:
        raise RecipeError(origin, [f"not UTF-8 text (byte {error.start})"]) from None
    except ValueError as error:
        raise RecipeError(origin, [f"not TOML: {error}"]) from None
    if folder is not None:
        _anchor_paths(value, folder)
    problems = [problem for override in overrides if (problem := _override(value, override))]
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


def _anchor_paths(value: dict[str, Any], folder: Path) -> None:
    """Make the places that a recipe file names independent of the current folder."""
    corpus = value.get("corpus")
    sources = corpus.get("source") if isinstance(corpus, dict) else None
    for source in sources if isinstance(sources, list) else []:
        if isinstance(source, dict) and isinstance(path := source.get("path"), str):
            source["path"] = anchored(path, folder)
    if isinstance(corpus, dict) and isinstance(profile := corpus.get("hojichar"), str):
        corpus["hojichar"] = anchored(profile, folder)
    for name, key in _ORIGINS:
        section = value.get(name)
        if isinstance(section, dict) and key in section:
            section[key] = _anchored_origin(section[key], folder)


def _anchored_origin(path: Any, folder: Path) -> Any:
    """Paths below `folder`, made absolute; a hub id stays as it is."""
    if isinstance(path, list):
        return [_anchored_origin(one, folder) for one in path]
    if not isinstance(path, str):
        return path
    candidate = folder / path
    return str(candidate.resolve()) if _exists(candidate) else path


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
    if not equals or not all(keys):
        return f"--set {override}: expected SECTION.KEY=VALUE, such as train.learning_rate=3e-4"
    if not is_text(raw):
        return f"--set {override}: not UTF-8; select such a file with a pattern, such as *.txt"
    parsed = _toml_value(raw.strip())
    target: Any = value
    for depth, key in enumerate(keys[:-1]):
        target = _step_into(target, key)
        if target is None:
            return f"--set {override}: there is no table {'.'.join(keys[: depth + 1])}"
    if isinstance(target, list) and len(target) == 1:
        target = target[0]
    if not isinstance(target, dict):
        return f"--set {override}: {'.'.join(keys[:-1])} is not a table"
    named = keys[:2] == ["corpus", "source"] and keys[-1] == "path"
    if (named or keys == ["corpus", "hojichar"]) and isinstance(parsed, str):
        parsed = anchored(parsed, Path.cwd())
    if keys in _ORIGINS:
        parsed = _anchored_origin(parsed, Path.cwd())
    target[keys[-1]] = parsed
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
    try:
        return _toml(f"value = {raw}")["value"]
    except ValueError:
        return raw
