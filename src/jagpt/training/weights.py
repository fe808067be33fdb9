"""Tensors of model and optimizer to safetensors and back, under Hugging Face's names."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer
from transformers import PreTrainedModel

from jagpt.errors import DataError, StorageError
from jagpt.model import AVERAGE
from jagpt.training.checkpoints import MODEL, OPTIMIZER


def write(
    folder: Path, model: PreTrainedModel, optimizer: Optimizer, average: Mapping[str, Tensor]
) -> None:
    """Put weights, configuration, optimizer state and averaged weights, if any, into `folder`.

    `from_pretrained` loads the folder: tied weights are there once, under the name that it ties to.
    """
    _save(folder / MODEL, {name: weight.detach() for name, weight in model.named_parameters()})
    _save(folder / OPTIMIZER, _optimizer_tensors(model, optimizer))
    if average:
        _save(folder / AVERAGE, dict(average))
    config = model.config.to_dict()
    config["architectures"] = [type(model).__name__]
    config.pop("transformers_version", None)  # a checkpoint's bytes name no library version
    text = json.dumps(config, indent=2, sort_keys=True, default=str)
    (folder / "config.json").write_text(text + "\n", "utf-8")


def read(folder: Path, model: PreTrainedModel, optimizer: Optimizer) -> None:
    """Fill model and optimizer from `folder`; `DataError` where the tensors are another model's."""
    weights = _load(folder / MODEL)
    parameters = dict(model.named_parameters())
    _compare(folder / MODEL, weights, {name: p.shape for name, p in parameters.items()})
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    _read_optimizer(folder / OPTIMIZER, parameters, optimizer)


def read_average(folder: Path, model: PreTrainedModel) -> dict[str, Tensor]:
    """The averaged weights of a checkpoint; `DataError` where they are another model's."""
    tensors = _load(folder / AVERAGE)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    _compare(folder / AVERAGE, tensors, shapes)
    return tensors


def _optimizer_tensors(model: PreTrainedModel, optimizer: Optimizer) -> dict[str, Tensor]:
    return {
        f"{name}.{slot}": value
        for name, parameter in model.named_parameters()
        for slot, value in optimizer.state[parameter].items()
    }


def _read_optimizer(path: Path, parameters: dict[str, Parameter], optimizer: Optimizer) -> None:
    slots: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for key, tensor in _load(path).items():
        name, _, slot = key.rpartition(".")
        slots[name][slot] = tensor
    if set(slots) != set(parameters):
        odd = sorted(set(slots) ^ set(parameters))
        raise DataError(f"{path}: this optimizer state belongs to another model ({odd[0]})")
    for name, parameter in parameters.items():
        for slot, tensor in slots[name].items():
            if tensor.dim() and tensor.shape != parameter.shape:
                raise DataError(f"{path}: {name}.{slot} has the shape {tuple(tensor.shape)}")
        # A clone, as a slice of the file is aligned otherwise, which kernels may round otherwise.
        optimizer.state[parameter] = {
            slot: tensor.clone().to(parameter.device) for slot, tensor in slots[name].items()
        }


def _compare(path: Path, found: dict[str, Tensor], wanted: dict[str, torch.Size]) -> None:
    for name, shape in wanted.items():
        if name not in found:
            raise DataError(f"{path}: these are another model's weights: {name} is missing")
        if found[name].shape != shape:
            raise DataError(
                f"{path}: these are another model's weights: {name} has the shape "
                f"{tuple(found[name].shape)}, and {tuple(shape)} was wanted"
            )


def _save(path: Path, tensors: dict[str, Tensor]) -> None:
    try:
        # One metadata key only: safetensors writes several in random order.
        save_file({key: t.contiguous() for key, t in tensors.items()}, path, {"format": "pt"})
    except SafetensorError as error:  # it hides the system's own error
        raise StorageError(
            f"{path}: this file could not be written ({error}); free some space, then run the same "
            "command again: the checkpoint before it is kept"
        ) from None


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not readable as safetensors ({error})") from None
