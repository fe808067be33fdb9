"""Settings that are valid but may waste a day; reported before the first step (no torch)."""

from __future__ import annotations

from collections.abc import Iterator

from jagpt.errors import JagptError
from jagpt.recipe import Recipe, Train, load, shipped_recipes
from jagpt.training.data import Data
from jagpt.training.plan import Plan
from jagpt.training.schedules import decay_end

OTHER_BATCH = 4
"""A batch this many times larger or smaller needs another learning rate."""


def doubts(recipe: Recipe, plan: Plan, data: Data) -> Iterator[str]:
    """One sentence for each."""
    train, total = plan.train, plan.total_steps
    end = decay_end(train, total)
    if end is not None and end < total and not train.min_learning_rate_share:
        yield (
            f"train.decay_steps is {end:,}: from step {end + 1:,} to the last, {total:,}, the "
            "learning rate is 0 and nothing is learnt; leave it out, or set "
            "train.min_learning_rate_share"
        )
    if data.valid.n_documents == 1:
        yield (
            f"the valid split is a single document of {data.valid.n_tokens:,} tokens, so its loss "
            "says little about others; raise corpus.valid_share"
        )
    if (other := _rate_of_another_batch(recipe)) is not None:
        yield other


def _rate_of_another_batch(recipe: Recipe) -> str | None:
    """The warning for rates that were chosen for another step size."""
    origin, theirs, tokens = _origin(recipe)
    names = ["learning_rate"]
    if recipe.train.optimizer == "muon":
        names.append("muon_learning_rate")
    factor = recipe.tokens_per_step / tokens
    if 1 / OTHER_BATCH < factor < OTHER_BATCH or any(
        getattr(recipe.train, name) != getattr(theirs, name) for name in ["optimizer", *names]
    ):
        return None
    rates = " and ".join(f"train.{name}" for name in names)
    wanted = "larger steps need higher" if factor > 1 else "smaller steps need lower"
    return (
        f"{rates}: as in {origin}, where a step has {tokens:,} tokens; here it has "
        f"{recipe.tokens_per_step:,}, and {wanted} rates (docs/experiments.md)"
    )


def _origin(recipe: Recipe) -> tuple[str, Train, int]:
    """Where the rates come from if a recipe does not change them: the shipped recipe, or the
    defaults.
    """
    if recipe.name in shipped_recipes():
        try:
            shipped = load(recipe.name)
        except JagptError:
            pass
        else:
            return f"the shipped {recipe.name}", shipped.train, shipped.tokens_per_step
    plain = Train(max_steps=1, optimizer=recipe.train.optimizer, weight_decay=0.0)
    return "the defaults", plain, plain.batch_size * plain.grad_accum_steps * 1024
