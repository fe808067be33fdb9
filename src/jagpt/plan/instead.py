"""Which GPU would do in a day what takes weeks on a processor."""

from __future__ import annotations

from collections.abc import Iterator

from jagpt import units
from jagpt.machines import GPUS, Gpu
from jagpt.plan import growth
from jagpt.plan.memory import knob
from jagpt.recipe import Recipe

FAMILIES = ("volta", "turing", "ampere", "ada", "hopper", "blackwell")
"""GPUs whose speed is based on published runs."""
DAY, WEEK = 24.0, 168.0


def gpu_instead(recipe: Recipe, steps: int, hours: float, network: float) -> str | None:
    """Advice for training that takes this many hours on a CPU; None up to a week.

    Names the slowest GPU that does it in a day, else the fewest of the fastest.
    """
    if hours <= WEEK:
        return None
    paces = sorted(_paces(recipe, steps, 1, network), key=lambda pace: -pace[0])
    within = [pace for pace in paces if pace[0] <= DAY]
    if within:
        found, gpu = within[0]
        return _sentence(f"one {gpu.name}", found)
    for count in growth.GPU_COUNTS[1:]:
        paces = list(_paces(recipe, steps, count, network))
        if paces and (quickest := min(paces, key=lambda pace: pace[0]))[0] <= DAY:
            return _sentence(f"{count} × {quickest[1].name}", quickest[0])
    return (
        "a GPU is needed, but not even 64 of any known one do it in a day: see `jagpt plan --gpu`"
    )


def _paces(recipe: Recipe, steps: int, count: int, network: float) -> Iterator[tuple[float, Gpu]]:
    """Hours on this many of each GPU whose memory fits the recipe as it is."""
    for gpu in GPUS.values():
        if gpu.family in FAMILIES:
            there = recipe.with_precision(gpu.precision)
            if knob(there, gpu.memory) is None:
                yield growth.step_on(there, gpu, count, network).seconds * steps / 3600, gpu


def _sentence(gpus: str, hours: float) -> str:
    return (
        f"a GPU is needed: {gpus} would take about {units.rough_duration(hours * 3600)} "
        "(others: `jagpt plan RECIPE --gpu NAME`)"
    )
