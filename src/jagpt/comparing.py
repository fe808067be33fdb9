"""Runs side by side: where their recipes differ, the command that makes each again, the figure that
a recipe names beside the run's, and the text on which another model is compared with a run's.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.errors import RecipeError, UsageError
from jagpt.recipe import Recipe, load, shipped_recipes

if TYPE_CHECKING:
    from jagpt.evaluation.texts import Text

_BARE = re.compile(r"(?!(true|false|inf|nan)$)[A-Za-z_/][\w./:@-]*")
"""Texts that `--set` reads as text without quotes."""


def held_out(place: str) -> Text:
    """The test split of the run at `place`; `UsageError` if there is no run with one."""
    from jagpt import pipeline
    from jagpt.evaluation.versus import split_text
    from jagpt.rundir import is_run

    root = Path(place)
    if is_run(place):
        found = split_text(pipeline.open_run(load(root), root).corpus, "test")
        if found is not None:
            return found
    raise UsageError(
        f"compare: no text to compare on: {place or repr(place)} is not a run with a test split; "
        "add --text FILE"
    )


def differences(recipes: Sequence[Recipe | None]) -> list[tuple[str, list[str]]]:
    """The keys whose values differ between recipes, with the values; none if a recipe is
    unknown.
    """
    known = [recipe for recipe in recipes if recipe is not None]
    if len(recipes) < 2 or len(known) < len(recipes):
        return []
    flat = [_flat_recipe(recipe) for recipe in known]
    keys = list(dict.fromkeys(key for values in flat for key in values))
    rows = [(key, [_shown(values.get(key)) for values in flat]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


@dataclass(frozen=True)
class Verdict:
    """A figure of a run beside the one that its recipe names: both, or why they are not comparable.

    `measure` is `test perplexity` or `valid loss`; `reasons` are (key, value here, value there).
    """

    name: str
    measure: str
    theirs: float
    ours: float | None
    reasons: tuple[tuple[str, str, str], ...]


def verdict(recipe: Recipe, perplexity: float | None, valid_loss: float | None) -> Verdict | None:
    """The run's figures beside the recipe's `[baseline]`; None if it names none."""
    baseline = recipe.baseline
    if baseline.test_perplexity is not None:
        measure, theirs, ours = "test perplexity", baseline.test_perplexity, perplexity
    elif baseline.valid_loss is not None:
        measure, theirs, ours = "valid loss", baseline.valid_loss, valid_loss
    else:
        return None
    values = _flat_recipe(recipe)
    reasons = [
        (key, _shown(values.get(key)), _shown(wanted))
        for key, wanted in baseline.holds.items()
        if values.get(key) != wanted
    ]
    return Verdict(baseline.name, measure, theirs, ours, tuple(reasons))


def command(recipe: Recipe | None, root: Path) -> str | None:
    """What to type, in the current folder, to make a run like the one at `root`:

    a shipped recipe and its overrides if that is enough; otherwise the recipe that the run holds,
    in a directory beside the run's. None if this jagpt does not know the run's recipe.
    """
    if recipe is None:
        return None
    overrides = _overrides(recipe)
    root = Path(os.path.abspath(root))  # noqa: PTH100 - a link keeps its name
    if overrides is None:
        again = root.with_name(f"{root.name}-again")
        words = [_typed(root / "recipe.toml"), "--run-dir", _typed(again)]
    else:
        words = [recipe.name, *(word for override in overrides for word in ("--set", override))]
        if root != Path("runs", recipe.name).absolute():
            words += ["--run-dir", _typed(root)]
    return shlex.join(["jagpt", "run", *words])


def _typed(path: Path) -> str:
    """A path as one types it here: relative if it is below this folder, never like an option."""
    text = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
    return f"./{text}" if text.startswith("-") else text


def _overrides(recipe: Recipe) -> list[str] | None:
    """What `--set` makes of the shipped recipe of that name; None if it cannot make this one."""
    if recipe.name not in shipped_recipes():
        return None
    base, wanted = _flat_recipe(load(recipe.name)), _flat_recipe(recipe)
    found = [
        f"{key}={_value(value)}"
        for key, value in wanted.items()
        if value is not None and (key not in base or base[key] != value)
    ]
    try:
        made = _flat_recipe(load(recipe.name, found))
    except RecipeError:
        return None
    return found if made == wanted else None


def _value(value: Any) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _flat_recipe(recipe: Recipe) -> dict[str, Any]:
    """SECTION.KEY → value, of all that decides the result."""
    beside = {"execution", "baseline"}
    dumped = recipe.model_dump(mode="json", by_alias=True, exclude=beside)
    return dict(_flat(dumped, ""))


def _flat(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _flat(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        for index, item in enumerate(value):
            yield from _flat(item, f"{place}.{index}")
    else:
        yield place, value


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)
