"""The gradient of an optimizer step, micro-batch by micro-batch.

Randomness is drawn anew for each micro-batch from (seed, step, micro-batch): it is the same on any
rank of any number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from jagpt.recipe import Train
from jagpt.training.parallel import Learner


def accumulate(
    learner: Learner,
    train: Train,
    step: int,
    first: int,
    sequences: Tensor,
    scale: Tensor,
    before_each: Callable[[], None],
) -> Tensor:
    """Put the gradient of `sequences` (S, T + 1) into the weights; their nats times `scale`.

    They are the step's micro-batches from number `first` on, of `train.batch_size` sequences each.
    """
    batches = torch.split(sequences, train.batch_size)
    nats = torch.zeros((), device=learner.device)
    # One autocast block a step: it keeps the weights' bf16 copies over all micro-batches.
    with learner.autocast(train.precision):
        for number, batch in enumerate(batches):
            before_each()
            torch.manual_seed(derived_seed(train.seed, step, first + number))
            with learner.micro_batch(last=number == len(batches) - 1):
                share = learner.nats(batch, scale)
                with torch.autocast(learner.device.type, enabled=False):
                    share.backward()
            nats += share.detach()
    return nats


def derived_seed(*parts: int) -> int:
    """63 bits that depend on `parts` alone, in their order."""
    digest = hashlib.sha256(",".join(map(str, parts)).encode("ascii")).digest()
    return int.from_bytes(digest[:8], "little") >> 1
