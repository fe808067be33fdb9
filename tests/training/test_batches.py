from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jagpt.tokens.dataset import TokenSplit, TrainingOrder
from jagpt.training.batches import Batches

CPU = torch.device("cpu")


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_are_the_orders_sequences(inputs: dict[str, Path], ahead: bool) -> None:
    split = TokenSplit.open(inputs["tokens"], "train")
    order = TrainingOrder(split, block_size=16, order="documents", seed=1, shuffle_buffer=1)
    with Batches(order, CPU, ahead=ahead) as batches:
        for first, following in ((0, 8), (8, 16), (40, 48), (48, None)):
            found = batches.get(first, 4, following)
            assert torch.equal(found, torch.from_numpy(order.sequences(first, 4)))
