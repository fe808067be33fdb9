"""A rehearsal: what a run does with a class of network is tried on a small one.

transformers has about two hundred causal classes, and some cannot do all of it. Here that is found
out before the first stage, not after hours of other work.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedModel

from jagpt import models
from jagpt.errors import DataError
from jagpt.models import build
from jagpt.models.quiet import quiet
from jagpt.recipe import Model
from jagpt.text import first_line
from jagpt.training import cpu, weights
from jagpt.training.loss import model_nats

TOKENS = 8
DEPTHS = (2, 4, 8)
"""Layers to try, the fewest first: in some classes only every fourth or eighth attends, and a
single layer says nothing about a second kind."""


class _UnableError(build.NoShapeError):
    """The network exists but cannot do everything that a run needs."""


def rehearse(shape: Model, vocab_size: int) -> None:
    """Train, continue a text, save and reopen a network with some of the recipe's layers.

    `UsageError` in one line for what does not work. If no smaller network has the recipe's shape,
    the full one is only built, without memory.
    """
    failed: build.NoShapeError | None = None
    for n_layer in [*(n for n in DEPTHS if n < shape.n_layer), min(shape.n_layer, max(DEPTHS))]:
        try:
            _rehearse(shape.model_copy(update={"n_layer": n_layer}), vocab_size)
            return
        except build.NoShapeError as error:
            failed = failed if isinstance(failed, _UnableError) else error
    if failed and (shape.n_layer <= max(DEPTHS) or isinstance(failed, _UnableError)):
        raise failed
    build.on_meta(shape, vocab_size)


def _rehearse(shape: Model, vocab_size: int) -> None:
    network = build.network(shape, vocab_size, build.SPECIAL, seed=0)
    ids = torch.arange(2 * TOKENS).view(2, TOKENS) % vocab_size
    for what, act in (("be trained", _learn), ("continue a text", _go_on), ("be saved", _reopen)):
        try:
            with quiet(), torch.random.fork_rng(devices=[]):
                act(network, ids)
        except Exception as error:  # a class may raise anything
            raise _UnableError(
                f"model.type: {shape.type} cannot {what} here ({first_line(error)}): choose "
                "another type"
            ) from None


def _learn(network: PreTrainedModel, ids: torch.Tensor) -> None:
    if not torch.cuda.is_available():
        cpu.adapt(network, learns=True)
    nats = model_nats(network.train(), ids)
    nats.backward()
    network.zero_grad()
    if not nats.isfinite():
        raise ValueError(f"a new network's loss is {nats.item()}")


def _go_on(network: PreTrainedModel, ids: torch.Tensor) -> None:
    network.eval().generate(
        ids[:1, :2], attention_mask=torch.ones_like(ids[:1, :2]), max_new_tokens=2, pad_token_id=0
    )


@torch.inference_mode()
def _reopen(network: PreTrainedModel, ids: torch.Tensor) -> None:
    for parameter in network.parameters():
        parameter.add_(1e-2)  # a class may set on opening what it sets at the beginning (youtu)
    with tempfile.TemporaryDirectory(prefix="jagpt-") as place:
        weights.write_model(Path(place), network)
        try:
            again = models.open(place).network
        except DataError as error:
            raise ValueError(str(error).replace(f"{place}/", "")) from None
    if not torch.allclose(again(ids).logits, network(ids).logits, rtol=1e-3, atol=1e-4):
        raise ValueError("the saved network differs when it is reopened")
