"""What training reaches on this machine: a GPU's square product, or a processor's own products.

On a processor the products of the recipe's network are taken in turns, forward and backward, until
two windows in a row agree: one square product told nothing of small networks, and a tenth of a
second was over before a laptop had found its frequency.
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
"""Two windows that differ by less tell enough; several processes then agree within 15 %."""
WINDOW_SECONDS = 0.25
LONGEST = 4.0
"""Seconds after which what was found has to do."""
ALONE = 0.75
"""Share of its cores that this process has had where nothing else ran."""
SCALING = 0.9
"""What a further thread adds to the first one's speed."""
ROWS, FEW_ROWS = 256, 4
"""Tokens in a product: enough for the speed of a micro-batch, or where arithmetic is emulated."""


def speed(recipe: Recipe) -> float:
    """FLOP/s of training on the recipe's device; `UsageError` where this machine lacks it."""
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
    """FLOP/s of the products on so many threads, as if nothing else ran.

    Where other processes take the cores, threads wait for each other, and a product may take a
    hundred times as long: then one thread's own time tells.
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
    """Seconds of the quickest round up to two windows that agree."""
    started, before = time.perf_counter(), float("inf")
    while True:
        best = _window(wanted, rows, dtype, clock)
        if abs(best / before - 1) < AGREEMENT or time.perf_counter() - started > LONGEST:
            return min(best, before)
        before = min(best, before)


def _window(wanted: Counted, rows: int, dtype: torch.dtype, clock: Clock) -> float:
    """Seconds of the quickest round, one at least, in a window of time."""
    started, best = time.perf_counter(), _round(wanted, rows, dtype, clock)
    while time.perf_counter() - started < WINDOW_SECONDS:
        best = min(best, _round(wanted, rows, dtype, clock))
    return best


def _round(wanted: Counted, rows: int, dtype: torch.dtype, clock: Clock) -> float:
    """Seconds of every product, forward and backward, for so many rows."""
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
