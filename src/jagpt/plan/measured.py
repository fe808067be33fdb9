"""The speed that training reaches on this machine: by a GPU's square product, or a CPU's own
products.

On a CPU the products of the recipe's network are run in turn, forward and backward, until
two consecutive windows agree: one square product said nothing about small networks, and a tenth
of a second was over before a laptop had settled on its frequency.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable

import torch

from jagpt import devices
from jagpt.recipe import Recipe

Clock = Callable[[], float]
Counted = tuple[tuple[tuple[int, int], int], ...]
EFFICIENCY = 0.6
"""Share of the measured products that training reaches."""
AGREEMENT = 0.05
"""Two windows that differ by less are good enough; several processes then agree within 15 %."""
WINDOW_SECONDS = 0.25
LONGEST = 4.0
"""Seconds after which the result so far is used."""
ALONE = 0.75
"""Share of its cores that this process gets if nothing else runs."""
SCALING = 0.9
"""What another thread adds to the first one's speed."""
ROWS, FEW_ROWS = 256, 4
"""Tokens in a product: enough for the speed of a micro-batch, or if arithmetic is emulated."""


def speed(recipe: Recipe) -> float:
    """FLOP/s of training on the recipe's device; `UsageError` if this machine lacks it."""
    precision = recipe.train.precision
    device = devices.choose(recipe.execution.device, precision)
    if device.type != "cpu":
        return EFFICIENCY * devices.product_speed(device, precision)
    with devices.threads(recipe.execution.threads):
        wanted = tuple(shapes(recipe).items())
        emulated = precision != "fp32" and not devices.multiplies_bf16(device)
        rows, threads = FEW_ROWS if emulated else ROWS, torch.get_num_threads()
        return EFFICIENCY * _speed_of(wanted, rows, devices.DTYPES[precision], threads)


def shapes(recipe: Recipe) -> Counter[tuple[int, int]]:
    """Inputs and outputs of the network's matrices, and how many there are of each."""
    model = recipe.model
    if model.type != "gpt2" or model.config:
        from transformers.pytorch_utils import Conv1D

        from jagpt.models import build

        network = build.on_meta(model, recipe.tokenizer.vocab_size)
        found = [
            tuple(module.weight.shape)
            for module in network.modules()
            if isinstance(module, torch.nn.Linear | Conv1D)
        ]
        return Counter((rows, columns) for rows, columns in found)
    width = model.n_embd
    block = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    return Counter([*block * model.n_layer, (width, recipe.tokenizer.vocab_size)])


@functools.lru_cache
def _speed_of(wanted: Counted, rows: int, dtype: torch.dtype, threads: int) -> float:
    """FLOP/s of the products on this many threads, as if nothing else ran.

    If other processes take the cores, threads wait for each other, and a product may take a
    hundred times as long: then one thread's own CPU time is used.
    """
    flops = 6 * rows * sum(count * i * o for (i, o), count in wanted)
    started, used = time.perf_counter(), time.process_time()
    found = flops / _agreed(wanted, rows, dtype, time.perf_counter)
    given = (time.process_time() - used) / max(time.perf_counter() - started, 1e-9)
    if given > ALONE * threads:
        return found
    with devices.threads(1):
        one = flops / _agreed(wanted, rows, dtype, time.thread_time)
    return max(found, one * (1 + SCALING * (threads - 1)))


def _agreed(wanted: Counted, rows: int, dtype: torch.dtype, clock: Clock) -> float:
    """Seconds of the fastest round, until two windows agree."""
    started, before = time.perf_counter(), float("inf")
    while True:
        best = _window(wanted, rows, dtype, clock)
        if abs(best / before - 1) < AGREEMENT or time.perf_counter() - started > LONGEST:
            return min(best, before)
        before = min(best, before)


def _window(wanted: Counted, rows: int, dtype: torch.dtype, clock: Clock) -> float:
    """Seconds of the fastest round, at least one, in a window of time."""
    started, best = time.perf_counter(), _round(wanted, rows, dtype, clock)
    while time.perf_counter() - started < WINDOW_SECONDS:
        best = min(best, _round(wanted, rows, dtype, clock))
    return best


def _round(wanted: Counted, rows: int, dtype: torch.dtype, clock: Clock) -> float:
    """Seconds of every product, forward and backward, for this many rows."""
    total = 0.0
    for (inputs, outputs), count in wanted:
        given = torch.ones(rows, inputs, dtype=dtype)
        weight = torch.ones(inputs, outputs, dtype=dtype)
        started = clock()
        made = given @ weight
        made @ weight.T
        given.T @ made
        total += count * (clock() - started)
    return max(total, 1e-9)
