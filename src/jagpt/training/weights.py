"""Tensors of model and optimizer to a checkpoint and back, under Hugging Face's names.

Every rank calls these functions; only rank 0 touches files. Shards are gathered and distributed one
tensor at a time, so that a checkpoint is the same for any number of ranks, and no rank needs
memory for more than one full tensor.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import PreTrainedModel

from jagpt.errors import DataError
from jagpt.models import tensors
from jagpt.models.tensors import Named, Stored
from jagpt.training.distributed import Group, laid_out_as, whole
from jagpt.training.optimizers import kept_slots

MODEL, OPTIMIZER, AVERAGE = "model", "optimizer", "average"


def write(
    folder: Path | None,
    model: PreTrainedModel,
    optimizer: Optimizer,
    average: Mapping[str, Tensor],
) -> None:
    """Put weights, configuration, optimizer state and averaged weights, if any, into `folder`.

    Only the first rank has a folder.

    `from_pretrained` loads it: tied weights are there once, under the name that it ties to.
    """
    write_model(folder, model)
    slots = [
        _named(f"{name}.{slot}", value)
        for name, parameter in model.named_parameters()
        for slot, value in sorted(optimizer.state[parameter].items())
    ]
    tensors.write(folder, OPTIMIZER, slots)
    if average:
        mean = {**tensors.kept(model), **average}
        tensors.write(folder, AVERAGE, [_named(name, tensor) for name, tensor in mean.items()])


def write_model(folder: Path | None, model: PreTrainedModel) -> None:
    """Put weights and configuration into `folder`, if there is one."""
    everything = tensors.kept(model)
    tensors.write(folder, MODEL, [_named(name, tensor) for name, tensor in everything.items()])
    if folder is None:
        return
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    config.pop("transformers_version", None)  # a checkpoint's weights name no library version
    text = json.dumps(config, indent=2, sort_keys=True, default=str)
    (folder / "config.json").write_text(text + "\n", "utf-8")


def _named(name: str, tensor: Tensor) -> Named:
    return Named(name, tuple(tensor.shape), tensor.dtype, partial(whole, tensor.detach()))


def read(
    folder: Path, model: PreTrainedModel, optimizer: Optimizer, group: Group | None = None
) -> None:
    """Fill model and optimizer from `folder`; `DataError` if the tensors belong to another model.

    Only rank 0 needs to see the folder.
    """
    group = group or Group()
    parameters = dict(model.named_parameters())
    _read_model(folder, parameters, group)
    _read_optimizer(folder, parameters, optimizer, group)


def read_average(
    folder: Path, model: PreTrainedModel, group: Group | None = None
) -> dict[str, Tensor]:
    """A checkpoint's averaged weights, laid out like the model's; `DataError` for another
    model's.
    """
    return dict(_like(folder, AVERAGE, dict(model.named_parameters()), group or Group()))


def _read_model(folder: Path, parameters: dict[str, Parameter], group: Group) -> None:
    for name, tensor in _like(folder, MODEL, parameters, group):
        with torch.no_grad():
            parameters[name].copy_(tensor)


def _like(
    folder: Path, kind: str, parameters: dict[str, Parameter], group: Group
) -> Iterator[tuple[str, Tensor]]:
    """The stored tensors of all weights, one after another, each on its weight's device and with
    its sharding.
    """
    stored = Stored(folder, kind) if group.main else None
    if stored is not None:
        _compare(stored, parameters)
    for name, parameter in parameters.items():
        given = stored.get(name).to(parameter.dtype) if stored is not None else None
        tensor = group.share_tensor(given, parameter.shape, parameter.dtype)
        yield name, laid_out_as(tensor, parameter)


def _read_optimizer(
    folder: Path, parameters: dict[str, Parameter], optimizer: Optimizer, group: Group
) -> None:
    stored = Stored(folder, OPTIMIZER) if group.main else None
    slots = group.share(_slots(stored, parameters, optimizer) if stored is not None else None)
    for name, parameter in parameters.items():
        state: dict[str, Any] = {}
        for slot, kind, shape in slots.get(
            name, ()
        ):  # none for a weight that has had no gradient yet
            given = stored.get(f"{name}.{slot}") if stored is not None else None
            tensor = group.share_tensor(given, shape, getattr(torch, kind))
            state[slot] = laid_out_as(tensor, parameter)
        optimizer.state[parameter] = state


def _slots(
    stored: Stored, parameters: dict[str, Parameter], optimizer: Optimizer
) -> dict[str, list[tuple[str, str, list[int]]]]:
    """The slots of each weight that has been updated: name, type and shape.

    `DataError` if they are not those that the optimizer makes.
    """
    found: dict[str, list[tuple[str, str, list[int]]]] = defaultdict(list)
    for key in stored.names():
        name, _, slot = key.rpartition(".")
        tensor = stored.get(key)
        found[name].append((slot, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)))
    if odd := sorted(set(found) - set(parameters)):
        raise DataError(f"{stored.path}: this optimizer state belongs to another model ({odd[0]})")
    for name, slots in found.items():
        wanted = _listed(kept_slots(optimizer, parameters[name]))
        given = _listed({slot: (tuple(shape), kind) for slot, kind, shape in slots})
        if given != wanted:
            raise DataError(
                f"{stored.path}: this optimizer state is damaged: {name} has {given}; the "
                f"optimizer keeps {wanted}"
            )
    return found


def _listed(slots: Mapping[str, tuple[tuple[int, ...], Any]]) -> str:
    return ", ".join(
        f"{slot} {shape} {str(kind).removeprefix('torch.')}"
        for slot, (shape, kind) in sorted(slots.items())
    )


def _compare(stored: Stored, parameters: dict[str, Parameter]) -> None:
    for name, parameter in parameters.items():
        if name not in stored:
            raise DataError(f"{stored.path}: these are another model's weights: {name} is missing")
        if stored.shape(name) != tuple(parameter.shape):
            raise DataError(
                f"{stored.path}: these are another model's weights: {name} has the shape "
                f"{stored.shape(name)}, expected {tuple(parameter.shape)}"
            )
