"""Parameter groups and their optimizer.

Three kinds of weights (`matrices`): the blocks' matrices, embeddings (the output head with them),
and vectors, which never decay. Each group has its share of the schedule's rate under
`share`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Adam, AdamW, Optimizer

from jagpt.recipe import Train
from jagpt.training.matrices import weights_by_kind
from jagpt.training.muon import Muon


def make_optimizer(train: Train, model: nn.Module) -> Optimizer:
    """The recipe's optimizer over the model's weights."""
    options: dict[str, Any] = {
        "lr": train.learning_rate,
        "betas": (train.beta1, train.beta2),
        "eps": train.epsilon,
        # On MPS the fused ones of some versions take steps that fp16's scaler skips.
        "fused": train.precision != "fp16" or next(model.parameters()).device.type != "mps",
    }
    kinds = weights_by_kind(model)
    matrices = [matrix.parameter for matrix in kinds.matrices]
    if train.optimizer == "adam":
        return _with_shares(Adam([_group("all", [*model.parameters()], 0.0)], **options), train)
    decay = train.weight_decay
    rest = [
        _group("embeddings", kinds.embeddings, decay),
        _group("vectors", kinds.vectors, 0.0),
    ]
    if train.optimizer == "adamw":
        groups = [_group("matrices", matrices, decay), *rest]
        return _with_shares(AdamW([group for group in groups if group["params"]], **options), train)
    muon = Muon(
        kinds.matrices,
        AdamW([group for group in rest if group["params"]], **options),
        lr=train.muon_learning_rate,
        weight_decay=train.muon_weight_decay,
        momentum=train.muon_momentum,
        dtype=torch.bfloat16 if train.precision == "bf16" else torch.float32,
    )
    muon.param_groups[0]["name"] = "matrices"
    return _with_shares(muon, train)


def kept_slots(
    optimizer: Optimizer, parameter: Parameter
) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and type of each tensor that the optimizer keeps for a weight, once it is updated."""
    own = tuple(parameter.shape), parameter.dtype
    if isinstance(optimizer, Muon) and optimizer.orthogonalizes(parameter):
        return {"momentum": own}
    return {"exp_avg": own, "exp_avg_sq": own, "step": ((), torch.float32)}


def set_learning_rate(optimizer: Optimizer, learning_rate: float) -> None:
    """Use the schedule's `learning_rate` from the next step on, each group its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("share", 1.0)


def learning_rates(optimizer: Optimizer) -> dict[str, float]:
    """The rate of each group of weights, by the group's name."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}


def gradient_norm(model: nn.Module, clip_norm: float | None) -> torch.Tensor:
    """The norm of all gradients as one vector, before they are clipped to `clip_norm`."""
    parameters = [p for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    if clip_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, clip_norm, norm)
    return norm


def _group(name: str, parameters: list[Parameter], weight_decay: float) -> dict[str, Any]:
    return {"name": name, "params": parameters, "weight_decay": weight_decay}


def _with_shares(optimizer: Optimizer, train: Train) -> Optimizer:
    for group in optimizer.param_groups:
        group["share"] = group["lr"] / train.learning_rate
    return optimizer
