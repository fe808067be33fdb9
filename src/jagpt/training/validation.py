"""Nats of a text under a model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from transformers import PreTrainedModel

from jagpt import units
from jagpt.tokens.dataset import TokenSplit, validation_windows
from jagpt.training.bad_steps import Unbearable
from jagpt.training.parallel import Learner
from jagpt.training.plan import Plan
from jagpt.training.samples import Continuer
from jagpt.training.stopping import Interrupted

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Nats:
    """Total nats over `tokens` labels."""

    nats: float
    tokens: int

    @property
    def loss(self) -> float:
        """Mean nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        return units.perplexity(self.loss)


@dataclass(frozen=True)
class Validator:
    """Measures the valid split as the plan asks, and lets the network continue prompts."""

    plan: Plan
    learner: Learner
    split: TokenSplit
    sampler: Continuer

    def measure(self, step: int, batch_size: int, stopped: Callable[[], bool]) -> Nats:
        """Nats of the split after `step`, this many windows at a time.

        `Interrupted` if `stopped` says so in between, `Unbearable` if they are not finite.
        """
        train = self.plan.train
        windows = validation_windows(self.split, self.plan.block_size, train.validate_tokens)
        found = measure(
            self.learner,
            windows,
            batch_size=batch_size,
            precision=train.precision,
            stopped=stopped,
        )
        if found is None:
            raise Interrupted
        if not math.isfinite(found.loss):
            raise Unbearable(step, f"the validation loss is {found.loss}")
        return found

    def samples(self) -> list[tuple[str, str]]:
        """Each prompt and its continuation."""
        return self.sampler.samples(self.learner, self.plan.train.precision)


def measure(
    model: PreTrainedModel | Learner,
    windows: Iterable[Ints],
    *,
    batch_size: int,
    precision: str,
    stopped: Callable[[], bool] = lambda: False,
) -> Nats | None:
    """Nats of every window's labels, without dropout; windows are (T + 1,), the last one may be
    shorter.

    Summed over all tokens, in fp64 between batches. None if `stopped` says so in between. Ranks
    take turns at the batches, which are the same for any number of ranks.
    """
    learner = model if isinstance(model, Learner) else Learner(model)
    group = learner.group
    place = "cpu" if learner.device.type == "mps" else learner.device  # it has no fp64
    total = torch.zeros((), dtype=torch.float64, device=place)
    tokens = 0
    with learner.evaluating(precision):
        for batches in _turns(_batches(windows, batch_size), group.size):
            if stopped():
                return None
            # Even with nothing left to do, a rank takes part in gathering shards.
            mine = batches[min(group.rank, len(batches) - 1)]
            nats = learner.nats(torch.from_numpy(mine).to(learner.device))
            if group.rank < len(batches):
                total += nats.to(total)
            tokens += sum(batch[:, 1:].size for batch in batches)
    return Nats(group.sum(total).item(), tokens)


def _turns(batches: Iterable[Ints], size: int) -> Iterator[list[Ints]]:
    """`batches` in rounds of one per rank; the last round may have fewer."""
    rest = iter(batches)
    while several := list(itertools.islice(rest, size)):
        yield several


def _batches(windows: Iterable[Ints], batch_size: int) -> Iterator[Ints]:
    """Windows of one length stacked to (B, T + 1), B at most `batch_size`."""
    batch: list[Ints] = []
    for window in windows:
        if batch and (len(batch) == batch_size or len(window) != len(batch[0])):
            yield np.stack(batch)
            batch = []
        batch.append(window)
    if batch:
        yield np.stack(batch)
