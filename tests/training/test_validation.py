from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from transformers import GPT2LMHeadModel

from jagpt import recipe
from jagpt.models import build
from jagpt.tokens.dataset import TokenSplit, validation_windows
from jagpt.training.validation import Nats, measure


@pytest.fixture
def network() -> GPT2LMHeadModel:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=16, n_positions=16, dropout=0.5)
    return build.network(shape, 64, build.SpecialIds(2, 3, 0), 0).train()


@pytest.mark.parametrize("batch_size", [1, 3, 50])
def test_nats_are_summed_over_every_label(
    network: GPT2LMHeadModel, inputs: dict[str, Path], batch_size: int
) -> None:
    split = TokenSplit.open(inputs["tokens"], "valid")
    windows = list(validation_windows(split, 16))
    found = measure(network, windows, batch_size=batch_size, precision="fp32")
    assert found is not None
    assert network.training
    network.eval()
    expected = sum(
        F.cross_entropy(
            network(torch.from_numpy(w[None, :-1])).logits[0],
            torch.from_numpy(w[1:]),
            reduction="sum",
        ).item()
        for w in windows
    )
    assert found.tokens == split.n_tokens - 1
    assert found.nats == pytest.approx(expected, rel=1e-5)


def test_loss_is_the_mean_over_tokens_and_perplexity_its_exp() -> None:
    assert Nats(6.0, 3).loss == 2.0
    assert Nats(6.0, 3).perplexity == math.exp(2.0)
    assert Nats(3000.0, 3).perplexity == math.inf


def test_a_request_to_stop_ends_it_without_a_result(network: GPT2LMHeadModel) -> None:
    windows = [np.zeros(17, dtype=np.int64)] * 3
    answers = iter([False, True])
    found = measure(network, windows, batch_size=1, precision="fp32", stopped=lambda: next(answers))
    assert found is None
    assert network.training
