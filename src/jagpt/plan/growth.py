"""More GPUs and more text: how long, and where communication becomes the bottleneck.

Data parallel: each GPU reads its share of a step's sequences, then the gradients are summed over
all. A ring moves 2 (k − 1) / k of their bytes through each GPU (Patarasuk & Yuan 2009), over the
links of a machine of 8 GPUs, or over the network between machines. The sum hides behind the
backward pass, two thirds of a step: communication is the bottleneck if it takes longer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from jagpt.machines import Gpu
from jagpt.models.size import parameters_of
from jagpt.plan.local import flops_of_token
from jagpt.plan.published import efficiency
from jagpt.recipe import Recipe

GPUS_A_MACHINE = 8
GRADIENT_BYTES = 4
BACKWARD_SHARE = 2 / 3
GPU_COUNTS = (1, 2, 4, 8, 16, 32, 64)
CORPUS_FACTORS = (1, 10, 100)


@dataclass(frozen=True)
class StepTime:
    """One optimizer step on `gpus` GPUs: seconds for computing, for summing gradients, and for both
    overlapped."""

    gpus: int
    computing: float
    communicating: float
    seconds: float

    @property
    def binds(self) -> bool:
        """Whether the GPUs wait for each other."""
        return self.seconds > self.computing * (1 + 1e-9)


@dataclass(frozen=True)
class Grown:
    """A run on `gpus` GPUs over a corpus `factor` times as large."""

    gpus: int
    factor: int
    hours: float
    speedup: float
    binds: bool


def step_on(recipe: Recipe, gpu: Gpu, gpus: int, network: float) -> StepTime:
    """A step of the recipe's batch; `network` is bytes per second and direction for each GPU.

    A sequence is never split: GPUs beyond the sequences of a step have nothing to do.
    """
    sequences = recipe.train.sequences
    share = math.ceil(sequences / gpus) * recipe.block_size
    speed = gpu.peak(recipe.train.precision) * efficiency(gpu.family).middle
    computing = share * flops_of_token(recipe) / speed
    bandwidth = gpu.link if gpus <= GPUS_A_MACHINE else min(gpu.link, network)
    gradients = GRADIENT_BYTES * parameters_of(recipe)
    communicating = 2 * (gpus - 1) / gpus * gradients / bandwidth
    hidden = computing * BACKWARD_SHARE
    seconds = computing + max(0.0, communicating - hidden)
    return StepTime(gpus, computing, communicating, seconds)


def grow(recipe: Recipe, gpu: Gpu, steps: int, network: float) -> list[Grown]:
    """The run on 1 to 64 GPUs, over its corpus and ones 10 and 100 times as large."""
    alone = step_on(recipe, gpu, 1, network).seconds
    found = []
    for factor in CORPUS_FACTORS:
        for gpus in GPU_COUNTS:
            step = step_on(recipe, gpu, gpus, network)
            hours = step.seconds * steps * factor / 3600
            found.append(Grown(gpus, factor, hours, alone / step.seconds, step.binds))
    return found
