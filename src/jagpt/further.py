"""A recipe that trains an existing model further: its tokenizer, its weights, a lower learning
rate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from jagpt import models
from jagpt import recipe as recipes
from jagpt.errors import DataError, RecipeError, UsageError
from jagpt.models import ModelFolder
from jagpt.recipe import Recipe, Tokenizer, Train
from jagpt.rundir import is_run
from jagpt.text import is_text
from jagpt.tokenizer import imported
from jagpt.tokenizer import model as pieces

WHERE = "--from"
GENTLER = 10
"""Trained weights get this fraction of the learning rate that they were trained with."""
WARMUP_STEPS = 50
SEQUENCES = 16
"""Per step: few enough for one's own texts, which are often no larger than a megabyte."""
EPOCHS = 3.0

_RATES = ("learning_rate", "muon_learning_rate")
_KEPT = ("optimizer", "beta2", "weight_decay", "muon_weight_decay", "document_mask")
"""What a run's own recipe knows better than the defaults."""
_DROPOUTS = ("embd_pdrop", "attn_pdrop", "resid_pdrop", "embed_dropout", "resid_dropout",
             "attention_dropout", "hidden_dropout")  # fmt: skip

_HEAD = """\
# Trains a model further: its own tokenizer and weights, a tenth of the learning rate, a warm-up.
# Made by `jagpt init continue`; docs/continue.md says what to change for which purpose.
"""
_CORPUS = """\
# The texts to train on. For a newer dump instead:
#     kind = "dump"
#     wiki = "jawiki"
#     date = "20261101"
[[corpus.source]]
name = "texts"
kind = "text"
path = "texts/*.txt"
layout = "file"
licence = "unknown"
"""


@dataclass(frozen=True)
class _Origin:
    """How the recipe names the model and its tokenizer, and what a run knows of its training."""

    model: dict[str, str]
    tokenizer: dict[str, str]
    made_by: Recipe | None


def recipe_text(place: str, name: str, folder: Path) -> str:
    """The TOML of a recipe in `folder` that continues from the model at `place`.

    `place` is what `models.open` takes; of a repository of the hub its present commit is written
    down. Raises as that does, `UsageError` for a name that is not text, and `DataError` for a model
    or tokenizer that a recipe refuses.
    """
    found = models.open(place, where=WHERE)
    origin = _origin(place, found)
    shape = _shape(found)
    _check_tokenizer(found)
    text = "\n".join(
        [
            _HEAD,
            tomli_w.dumps({"name": name, "description": f"{place}, trained further."}),
            _CORPUS,
            _tables(origin, shape),
        ]
    )
    if not is_text(text):
        raise UsageError(
            f"{WHERE} {place}: a recipe cannot hold this place, whose name is not valid UTF-8; "
            "rename it"
        )
    try:
        recipes.parse(text, origin=place, folder=folder)
    except RecipeError as error:
        raise DataError(f"{WHERE}: no recipe can continue from this model: {error}") from None
    return text


def _tables(origin: _Origin, shape: dict[str, Any]) -> str:
    tables: dict[str, Any] = {"tokenizer": origin.tokenizer}
    if origin.made_by is not None and (tokens := _changed(origin.made_by.tokens)):
        tables["tokens"] = tokens
    tables["model"] = {**origin.model, **shape}
    tables["train"] = _train(origin.made_by.train if origin.made_by else None)
    return tomli_w.dumps(tables)


def _train(made_by: Train | None) -> dict[str, Any]:
    """A tenth of the rate with which the model was made, or of a new one's where that is unknown.

    The rate is one key for AdamW and two for Muon.
    """
    known = made_by or Train(max_steps=1)
    rates = _RATES if known.optimizer == "muon" else _RATES[:1]
    kept = {key: getattr(known, key) for key in _KEPT if key in _changed(known)}
    return {
        "batch_size": "auto",
        "sequences_per_step": SEQUENCES,
        "max_epochs": EPOCHS,
        **kept,
        **{key: float(f"{getattr(known, key) / GENTLER:.3g}") for key in rates},
        "warmup_steps": WARMUP_STEPS,
        "clip_norm": 1.0,
    }


def _changed(section: recipes.Section) -> dict[str, Any]:
    dumped = section.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return {key: value for key, value in dumped.items() if key != "from"}


def _origin(place: str, found: ModelFolder) -> _Origin:
    path = Path(place)
    if not path.exists():
        repository = place.partition("@")[0]
        named = {"from": repository, "revision": found.folder.name}
        return _Origin(named, named, None)
    made_by = recipes.load(path) if is_run(path) else None
    return _Origin(
        {"from": str(path.absolute())}, {"from": str(found.tokenizer_folder.absolute())}, made_by
    )


def _shape(found: ModelFolder) -> dict[str, Any]:
    """The keys of `[model]` as the weights have them; `DataError` if one is unknown."""
    config = found.configuration
    shape: dict[str, Any] = {
        "type": config.model_type,
        "n_layer": getattr(config, "num_hidden_layers", None),
        "n_head": getattr(config, "num_attention_heads", None),
        "n_embd": getattr(config, "hidden_size", None),
        "n_positions": getattr(config, "max_position_embeddings", None),
    }
    if missing := [key for key, value in shape.items() if value is None]:
        raise DataError(
            f"{WHERE}: {found.name}: its config.json does not give {', '.join(missing)}; a recipe "
            "needs the whole shape"
        )
    rates = [getattr(config, key, None) for key in _DROPOUTS]
    return {**shape, "dropout": float(max((rate for rate in rates if rate), default=0.0))}


def _check_tokenizer(found: ModelFolder) -> None:
    """`DataError` for a tokenizer that `[tokenizer] from` refuses, or that is not the weights'."""
    settings = Tokenizer.model_validate({"from": str(found.tokenizer_folder)})
    path = imported.model_file(settings, WHERE)
    model = pieces.parse(pieces.read(path), path)
    pieces.check(model, path)
    if len(model.pieces) != found.vocab_size:
        raise DataError(
            f"{WHERE}: {found.name}: {path.name} has {len(model.pieces):,} pieces, and the weights "
            f"have rows for {found.vocab_size:,}: they do not belong together"
        )


def run_name(output: Path, otherwise: str) -> str:
    """The name of a run whose recipe is this file; `otherwise` if the file's name is not valid as
    one.
    """
    fits = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", output.stem)
    return output.stem if fits else otherwise
