"""What a recipe leaves to the machine, settled when training begins (no torch unless it is asked).

A run keeps what was settled: it stands in the manifest of its train stage, so that the run goes on
in the same arithmetic wherever it is moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jagpt.recipe import Recipe


def settle(recipe: Recipe, began: Mapping[str, Any] | None) -> tuple[Recipe, str | None]:
    """The recipe with a precision in place of `auto`, and a sentence about it for people.

    `began` is the section under which the run's training began, if it did. `UsageError` where this
    machine lacks the recipe's device.
    """
    if recipe.train.precision != "auto":
        return recipe, None
    known = ((began or {}).get("train") or {}).get("precision")
    if known in ("fp32", "bf16", "fp16"):
        return recipe.with_precision(known), f"train.precision: {known}, in which this run began"
    from jagpt import devices

    precision, reason = devices.best_precision(devices.choose(recipe.execution.device))
    return recipe.with_precision(precision), f"train.precision: {precision} ({reason})"
