"""Hours and disk of a run on this machine, roughly, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jagpt import units
from jagpt.models.size import flops_per_token, parameters_of
from jagpt.plan.size import Size, size_of
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.tokens.index import dtype_for
from jagpt.training.plan import make_plan

EFFICIENCY = 0.6
"""Share of the measured matrix product that training reaches."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take; `tokens` are those trained on, over all epochs."""

    parameters: int
    tokens: int
    steps: int
    hours: float
    disk: int

    def sentence(self) -> str:
        """The estimate for people."""
        return (
            f"about {units.rough_duration(self.hours * 3600)} of training "
            f"({units.amount(self.parameters)} parameters, {units.amount(self.tokens)} tokens, "
            f"{self.steps:,} steps) "
            f"and {units.size(self.disk)} of disk"
        )


def estimate(recipe: Recipe, run: RunDirectory) -> Estimate:
    """Measure a matrix product on the device and do the sums of the recipe.

    `UsageError` where this machine lacks the device or the precision.
    """
    size = size_of(recipe, run)
    steps = steps_of(recipe, size.epoch)
    parameters = parameters_of(recipe)
    tokens = steps * recipe.tokens_per_step
    hours = tokens * flops_of_token(recipe) / speed_here(recipe) / 3600
    disk = sum(disk_of(recipe, size).values())
    return Estimate(parameters, tokens, steps, hours, disk)


def flops_of_token(recipe: Recipe) -> int:
    """Floating-point operations to train on one token."""
    shape = recipe.model
    return flops_per_token(parameters_of(recipe), shape.n_layer, shape.n_embd, recipe.block_size)


def speed_here(recipe: Recipe) -> float:
    """FLOP/s that training reaches on this machine."""
    return _measured_speed(recipe) * EFFICIENCY


def disk_of(recipe: Recipe, size: Size) -> dict[str, int]:
    """Bytes on disk by what they hold, once the run is done."""
    weights = 4 * parameters_of(recipe)
    return {
        "dumps": size.dump,
        "corpus": round(size.tokens * 6),
        "tokens": size.tokens * np.dtype(dtype_for(recipe.tokenizer.vocab_size)).itemsize,
        "checkpoints": (recipe.train.keep_checkpoints + 2) * 3 * weights,
        "model and release": 2 * weights,
    }


def steps_of(recipe: Recipe, train_tokens: int) -> int:
    """Optimizer steps of the whole run."""
    return make_plan(recipe.model, recipe.train, train_tokens).total_steps


def _measured_speed(recipe: Recipe) -> float:
    """FLOP/s of a square product on the recipe's device in its precision."""
    from jagpt import devices

    precision = recipe.train.precision
    return devices.product_speed(devices.choose(recipe.execution.device, precision), precision)
