"""A GPU's memory in training, by part, and which knob makes a run fit."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import asdict, dataclass

from jagpt.machines import GIB
from jagpt.models.size import parameters_of
from jagpt.recipe import Recipe
from jagpt.training.plan import PLAIN_TOKENS, Plan, micro_batches

ACTIVATION_BYTES = 34
"""Bytes that a block keeps for the backward pass, per token and unit of width, in half precision
and without the attention matrix, which fused attention never holds (Korthikanti et al. 2022,
arXiv:2205.05198, equation 2, with its 5as/h taken out)."""
LOGIT_ROWS = 2048
"""Positions whose logits exist at a time on a GPU (`training/loss.py`)."""
RESERVED = GIB
"""What the driver and the libraries take."""
USABLE = 0.92
"""Share of the memory that can be filled before fragmentation prevents it."""


@dataclass(frozen=True)
class Memory:
    """Bytes of one GPU's memory by content."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    logits: int
    teachers: int = 0
    reserved: int = RESERVED

    @property
    def total(self) -> int:
        return sum(asdict(self).values())


def memory_of(recipe: Recipe, batch_size: int | None = None) -> Memory:
    """The memory of a GPU that trains the recipe with `batch_size` sequences per forward pass.

    Weights, gradients, Adam's two moments (Muon has one for the blocks' matrices) and the average
    are fp32; in half precision there is a second copy of the weights for the products.
    """
    parameters, width = parameters_of(recipe), recipe.model.n_embd
    vocabulary, matrices = recipe.tokenizer.vocab_size, 12 * width**2 * recipe.model.n_layer
    half = recipe.train.precision != "fp32"
    batch_size = batch_size or with_batch_size(recipe, None).train.batch_size
    positions = batch_size * recipe.block_size
    kept = ACTIVATION_BYTES * (1 if half else 2) * width * recipe.model.n_layer * positions
    rows = min(LOGIT_ROWS, positions)
    taught_by = recipe.train.own_teachers + len(recipe.train.teacher)
    return Memory(
        weights=parameters * (6 if half else 4),
        gradients=parameters * 4,
        optimizer=parameters * 8 - (4 * matrices if recipe.train.optimizer == "muon" else 0),
        average=0 if recipe.train.average == "none" else 4 * parameters,
        activations=kept,
        logits=rows * vocabulary * (4 + 4 + 2) + 4 * width * (vocabulary + positions),
        teachers=taught_by * 4 * parameters + (rows * vocabulary * 3 * 4 if taught_by else 0),
    )


def with_batch_size(recipe: Recipe, available: int | None) -> Recipe:
    """The recipe with the micro-batch that fits a GPU with this much memory, if it gives none.

    Without a GPU, the one for a CPU.
    """
    train, block_size = recipe.train, recipe.block_size
    if not train.batch_is_open:
        return recipe
    sizes = micro_batches(Plan(train, block_size, total_steps=1), ranks=1)
    if available is None:
        fitting = [size for size in sizes if size * block_size <= PLAIN_TOKENS]
    else:
        room = round(available * USABLE)
        fitting = [size for size in sizes if memory_of(recipe, size).total <= room]
    size = (fitting or sizes[-1:])[0]
    return recipe.model_copy(update={"train": train.in_batches_of(size)})


def knob(recipe: Recipe, available: int) -> str | None:
    """What to change so that the run fits into this many bytes; None if it fits as it is."""
    recipe, room = with_batch_size(recipe, available), round(available * USABLE)
    if memory_of(recipe).total <= room:
        return None
    size, passes = recipe.train.batch_size, recipe.train.grad_accum_steps
    fitting = bisect_right(range(1, size), room, key=lambda one: memory_of(recipe, one).total)
    for smaller in range(fitting, 0, -1):
        if size * passes % smaller == 0:
            return (
                f"--set train.batch_size={smaller} "
                f"--set train.grad_accum_steps={size * passes // smaller} (the same total batch)"
            )
    least = memory_of(recipe, 1)
    if least.total - least.activations - least.logits <= room:
        return "a shorter block (--set train.block_size) or fewer layers (--set model.n_layer)"
    return (
        "a smaller model (--set model.n_embd or model.n_layer), a GPU with more memory, or weights "
        "sharded over several GPUs"
    )
