"""Weights to start from: another run, a folder, or a repository on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from jagpt import hub, recipe
from jagpt.errors import DataError, UsageError
from jagpt.models import build, checkpoint_folder

HUB_FILES = [
    "config.json", "*.safetensors", "*.safetensors.index.json",
    "tokenizer.json", "tokenizer_config.json", "spiece.model",
]  # fmt: skip


def start(shape: recipe.Model, vocab_size: int, tokenizer: Path) -> PreTrainedModel:
    """The network that `[model] from` means, with the recipe's dropout.

    `DataError` where its shape or vocabulary is not the run's, where it has no safetensors, or
    where its own tokenizer gives other ids; `StorageError` where the hub does not answer.
    """
    folder = folder_of(shape)
    _check(shape, folder, vocab_size, tokenizer)
    factory = type(AutoConfig.from_pretrained(folder, local_files_only=True))
    dropouts = build.dropout_values(shape, factory().to_dict())
    return build.checked(build.load(folder, dropouts)).train()


def preflight(shape: recipe.Model, vocab_size: int, tokenizer: Path) -> None:
    """Refuse what cannot be before anything is moved; raises as `start` does."""
    _check(shape, folder_of(shape), vocab_size, tokenizer)


def input_files(shape: recipe.Model) -> list[Path]:
    """The files whose content decides what `from` means; none for a hub id."""
    folder = local_folder(shape)
    if folder is None:
        return []
    names = sorted(
        path for path in folder.glob("*.safetensors") if not path.name.startswith("optimizer")
    )
    return [folder / "config.json", *names]


def folder_of(shape: recipe.Model) -> Path:
    """The folder on this machine with the weights; a hub id is fetched."""
    return local_folder(shape) or hub.fetch(
        shape.from_ or "", shape.revision, HUB_FILES, "[model] from"
    )


def local_folder(shape: recipe.Model) -> Path | None:
    """The folder of weights if `from` names a place on this machine; None for a hub id."""
    origin = shape.from_ or ""
    path = Path(origin)
    for folder in (path, path / "model"):
        if (folder / "config.json").is_file():
            return folder
    if (path / "checkpoints" / checkpoint_folder.INDEX).is_file():
        return checkpoint_folder.resolve(path / "checkpoints", "best")
    if path.exists() or not hub.is_hub_id(origin):
        raise UsageError(
            f"[model] from: {origin!r} is no run with a model or checkpoints, no folder with "
            "config.json and model.safetensors, and no hub id (ORG/NAME)"
        )
    if shape.revision is None:
        raise UsageError(
            f"[model] revision: nothing given for the hub id {origin}; a commit or tag is wanted, "
            "as without it the same recipe can start from other weights tomorrow"
        )
    return None


def _check(shape: recipe.Model, folder: Path, vocab_size: int, tokenizer: Path) -> None:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder}: config.json cannot be read: {error}") from None
    if not any(folder.glob("*.safetensors")):
        raise DataError(
            f"{folder}: no safetensors here (a pickled pytorch_model.bin is not read): convert the "
            "weights with transformers' save_pretrained first"
        )
    found: dict[str, Any] = {
        "type": config.model_type,
        "n_layer": config.num_hidden_layers,
        "n_head": config.num_attention_heads,
        "n_embd": config.hidden_size,
        "n_positions": config.max_position_embeddings,
    }
    settings = [f"--set model.{key}={value}" for key, value in found.items()
                if value != getattr(shape, key)]  # fmt: skip
    if settings:
        raise DataError(
            f"{folder}: the recipe's [model] has another shape than these weights; use "
            f"{' '.join(settings)}"
        )
    if config.vocab_size != vocab_size:
        raise DataError(
            f"{folder}: these weights have a vocabulary of {config.vocab_size:,}, and the run's "
            f"tokenizer one of {vocab_size:,}: their embeddings mean other pieces. Take the "
            f"weights' own tokenizer: --set tokenizer.from={shape.from_}"
        )
    _check_pieces(shape, folder, tokenizer)


def _check_pieces(shape: recipe.Model, folder: Path, tokenizer: Path) -> None:
    """Refuse a tokenizer of the same size whose ids mean other pieces; silent where it has none."""
    if not (folder / "tokenizer_config.json").is_file():
        return
    try:
        theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True).get_vocab()
        ours = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True).get_vocab()
    except (OSError, ValueError, KeyError):
        return
    odd = sum(ours.get(piece) != number for piece, number in theirs.items())
    if odd:
        raise DataError(
            f"{folder}: {odd:,} pieces of these weights' tokenizer have another id in the run's "
            f"tokenizer: their embeddings would mean other pieces. Take their own: "
            f"--set tokenizer.from={shape.from_}"
        )
