"""The network that a run trains: built or loaded, on its device, as its recipe asks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from jagpt.errors import DataError, UsageError
from jagpt.models import build, pretrained
from jagpt.recipe import Recipe
from jagpt.training import cpu


def make(
    recipe: Recipe,
    vocab_size: int,
    special: build.SpecialIds,
    tokenizer: Path,
    device: torch.device,
    *,
    moved: bool = True,
) -> PreTrainedModel:
    """The network before its first step, on `device`, to be compiled if the recipe says so.

    One that will be sharded need not be moved there as a whole. Raises as `preflight` does.
    """
    shape = recipe.model
    if shape.from_ is None:
        network = build.network(shape, vocab_size, special, recipe.train.seed)
    else:
        network = pretrained.start(shape, vocab_size, tokenizer)
    if moved:
        network.to(device)
    if device.type == "cpu" and not recipe.train.compile:  # compiled code does both itself
        cpu.adapt(network, learns=True)
    if recipe.execution.activation_checkpointing:
        _checkpoint_blocks(network)
    return network


def _checkpoint_blocks(network: PreTrainedModel) -> None:
    try:
        if hasattr(network, "activation_checkpointing_enable"):  # its name in newer versions
            network.activation_checkpointing_enable()
        else:
            network.gradient_checkpointing_enable({"use_reentrant": False})
    except ValueError as error:
        raise UsageError(f"execution.activation_checkpointing: {error}") from None


def preflight(recipe: Recipe, vocab_size: int, tokenizer: Path, device: torch.device) -> None:
    """Refuse an impossible network: an unknown type, a shape unlike the weights', no compiler."""
    shape = recipe.model
    build.configuration(shape, vocab_size, build.SpecialIds(None, None, None))
    if shape.from_ is not None:
        pretrained.start(shape, vocab_size, tokenizer)  # damaged weights are detected here too
    if recipe.train.compile and device.type == "cpu" and not _has_compiler():
        raise UsageError(
            "train.compile: found true, but there is no C++ compiler here (g++, clang++ or what "
            "CXX names): install one, or set train.compile=false"
        )


def _has_compiler() -> bool:
    named = os.environ.get("CXX")
    return any(shutil.which(name) for name in ([named] if named else ["g++", "clang++"]))


def special_ids(tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> build.SpecialIds:
    """Begin, end and padding ids of a tokenizer; `DataError` if they do not fit."""
    ids = build.SpecialIds(tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    for name, value in vars(ids).items():
        if value is not None and value >= vocab_size:
            raise DataError(
                f"{tokenizer.name_or_path}: the {name} token has id {value}, but the tokens were "
                f"made with a vocabulary of {vocab_size:,}; run the tokens stage again"
            )
    return ids
