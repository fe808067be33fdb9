"""Weights to start from: another run, a checkpoint, a folder, or a repository on the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedModel

from jagpt import hub, models, recipe
from jagpt.errors import DataError, UsageError
from jagpt.models import ModelFolder, build, guard, load_tokenizer, place
from jagpt.models.tokenizer import has_one, other_ids

FROM = "[model] from"


def start(shape: recipe.Model, vocab_size: int, tokenizer_folder: Path) -> PreTrainedModel:
    """The network that `[model] from` names, with the recipe's dropout and `[model.config]`.

    `DataError` if its shape or vocabulary is not the run's, if it has no safetensors, or if
    its own tokenizer gives different ids; `StorageError` if the hub does not answer.
    """
    found = preflight(shape, vocab_size, tokenizer_folder)
    factory = type(found.configuration)
    build.check_keys(shape, factory)
    dropouts = build.dropout_values(shape, factory().to_dict())
    found = replace(found, changes={**dropouts, **shape.config})
    network = build.prepared(found.network)
    build.check_dropout(network, shape)
    return build.checked(network).train()


def preflight(shape: recipe.Model, vocab_size: int, tokenizer_folder: Path) -> ModelFolder:
    """Where the weights are; refuses the impossible before anything is moved, as `start` does."""
    found = opened(shape)
    _check_shape(shape, found, vocab_size)
    _check_pieces(shape, found, tokenizer_folder)
    return found


def opened(shape: recipe.Model) -> ModelFolder:
    """The model that `from` names; a hub id is downloaded, and needs a revision."""
    origin = shape.from_ or ""
    if shape.revision is None and hub.is_hub_id(origin) and not Path(origin).exists():
        raise UsageError(
            f"[model] revision: nothing given for the hub id {origin}; a commit or tag is "
            "required: "
            "without it the same recipe can start from different weights tomorrow"
        )
    return models.open(origin, where=FROM, revision=shape.revision)


def input_files(shape: recipe.Model) -> list[Path]:
    """The files whose content decides what `from` means; none for a hub id."""
    folder = place.local(shape.from_ or "")
    if folder is None:
        if not hub.is_hub_id((shape.from_ or "").partition("@")[0]):
            opened(shape)
        return []
    return weight_files(folder)


def weight_files(folder: Path) -> list[Path]:
    """Those of a model's folder, once it is known to contain nothing that it must not."""
    guard.check_folder(folder)
    return place.weight_files(folder)


def _check_shape(shape: recipe.Model, found: ModelFolder, vocab_size: int) -> None:
    config = found.configuration
    theirs = {
        "type": config.model_type,
        "n_layer": getattr(config, "num_hidden_layers", None),
        "n_head": getattr(config, "num_attention_heads", None),
        "n_embd": getattr(config, "hidden_size", None),
        "n_positions": getattr(config, "max_position_embeddings", None),
    }
    settings = [f"--set model.{key}={value}" for key, value in theirs.items()
                if value != getattr(shape, key)]  # fmt: skip
    if settings:
        raise DataError(
            f"{found.folder}: the recipe's [model] has a different shape than these weights; "
            f"use {' '.join(settings)}"
        )
    if found.vocab_size != vocab_size:
        raise DataError(
            f"{found.folder}: these weights have a vocabulary of {found.vocab_size:,}, but the "
            f"run's tokenizer has {vocab_size:,}: their embeddings mean different pieces. Use the "
            f"weights' own tokenizer: --set tokenizer.from={shape.from_}"
        )


def _check_pieces(shape: recipe.Model, found: ModelFolder, folder: Path) -> None:
    """Refuse a tokenizer of the same size whose ids mean different pieces; accepts weights without
    a tokenizer.
    """
    if not has_one(found.tokenizer_folder):
        return
    if odd := other_ids(load_tokenizer(folder), found.tokenizer):
        raise DataError(
            f"{found.folder}: {odd:,} pieces of these weights' tokenizer have a different id in "
            "the run's tokenizer: their embeddings would mean different pieces. Use their own "
            "tokenizer: "
            f"--set tokenizer.from={shape.from_}"
        )
