"""Hours and disk of a run on this machine, roughly, before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jagpt import units
from jagpt.models.size import flops_per_token, parameters_of
from jagpt.plan.size import Size, size_of, with_vocabulary
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.tokens.index import dtype_for
from jagpt.training.plan import make_plan

FORWARD_SHARE = 1 / 3
"""The forward pass's share of the operations of training."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take; `tokens` are those trained on, over all epochs."""

    parameters: int
    tokens: int
    steps: int
    hours: float
    disk: int

    def sentence(self) -> str:
        """The estimate in words."""
        return (
            f"about {units.rough_duration(self.hours * 3600)} of training "
            f"({units.amount(self.parameters)} parameters, {units.amount(self.tokens)} tokens, "
            f"{units.counted(self.steps, 'step')}) "
            f"and {units.size(self.disk)} of disk"
        )


def estimate(recipe: Recipe, run: RunDirectory) -> Estimate:
    """Measure matrix products on the device and estimate the recipe.

    `UsageError` if this machine lacks the device or the precision.
    """
    recipe, size = with_vocabulary(recipe, run), size_of(recipe, run)
    steps = steps_of(recipe, size.epoch)
    parameters = parameters_of(recipe)
    tokens = steps * recipe.tokens_per_step
    hours = seconds_here(recipe, steps) / 3600
    disk = sum(disk_of(recipe, size).values())
    return Estimate(parameters, tokens, steps, hours, disk)


def flops_of_token(recipe: Recipe) -> int:
    """Floating-point operations to train on one token, including its teachers."""
    shape, parameters = recipe.model, parameters_of(recipe)
    alone = flops_per_token(parameters, shape.n_layer, shape.n_embd, recipe.block_size)
    return round(alone * teaching_factor(recipe))


def teaching_factor(recipe: Recipe) -> float:
    """Operations of a run as a multiple of those without teachers.

    Teachers are assumed to have its size: its own are trained as long as it is, and each teacher
    has a forward pass in every step.
    """
    own = recipe.train.own_teachers
    return 1 + own + (own + len(recipe.train.teacher)) * FORWARD_SHARE


def seconds_here(recipe: Recipe, steps: int) -> float:
    """Seconds of training on this machine; in small batches Muon's own products matter."""
    from jagpt.plan import measured

    own = 1 + recipe.train.own_teachers
    flops = recipe.tokens_per_step * flops_of_token(recipe) + own * _muon_flops(recipe)
    return steps * flops / measured.speed(recipe)


def _muon_flops(recipe: Recipe) -> int:
    """Muon's operations per step: 4a²b + 2a³ in each of five iterations for a block's matrix a × b,
    a ≤ b.
    """
    if recipe.train.optimizer != "muon":
        return 0
    square, wide = 6, 18  # of width³: four matrices (Q, K, V and the output's), and the MLP's two
    return 5 * (4 * square + 2 * wide) * recipe.model.n_embd**3 * recipe.model.n_layer


def disk_of(recipe: Recipe, size: Size) -> dict[str, int]:
    """Bytes on disk by content, once the run is done."""
    weights, own = 4 * parameters_of(recipe), recipe.train.own_teachers
    teachers = {"teachers": own * 2 * 3 * weights} if own else {}
    return {
        "dumps": size.dump,
        "corpus": round(size.tokens * 6),
        "tokens": size.tokens * np.dtype(dtype_for(recipe.tokenizer.vocab_size)).itemsize,
        "checkpoints": (recipe.train.keep_checkpoints + 2) * 3 * weights,
        **teachers,
        "model and release": 2 * weights,
    }


def steps_of(recipe: Recipe, train_tokens: int) -> int:
    """Optimizer steps of the whole run."""
    return make_plan(recipe.model, recipe.train, train_tokens).total_steps
