"""`tf_model.h5`, written directly from the weights in the layout of `TFGPT2LMHeadModel`.

A Keras weight file of one layer: the group `transformer` lists its weights' names in an attribute,
and holds each under its name. Matrices are as in PyTorch's Conv1D (in, out), biases (1, out).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.errors import JagptError
from jagpt.formats.source import ModelSource

if TYPE_CHECKING:
    from jagpt.formats.source import Array

WEIGHTS = "tf_model.h5"
LAYER = "transformer"
SCOPE = "tfgpt2lm_head_model/transformer"
KERAS_VERSION = "2.21.0"
ATTRIBUTE_BYTES = 64_512
"""HDF5's largest attribute; Keras spreads a longer list over several."""


def write(source: ModelSource, folder: Path) -> None:
    """The weights, and what `from_pretrained` reads besides them."""
    import h5py

    weights = dict(layout(source))
    with h5py.File(folder / WEIGHTS, "w", track_order=False) as file:
        group = file.create_group(LAYER)
        for name, array in weights.items():
            group.create_dataset(name, data=array)
        _write_names(group, "weight_names", list(weights))
        _write_names(file, "layer_names", [LAYER])
        for owner in (file, group):
            owner.attrs["backend"] = b"tensorflow"
            owner.attrs["keras_version"] = KERAS_VERSION.encode()
    source.copy_config(folder)
    source.copy_tokenizer(folder)


def check(source: ModelSource, folder: Path) -> None:
    """Every tensor read back must be bit for bit the model's; `JagptError` names the first."""
    import h5py
    import numpy as np

    path = folder / WEIGHTS
    with h5py.File(path, "r") as file:
        listed = _read_names(file[LAYER], "weight_names")
        wanted = dict(layout(source))
        if _read_names(file, "layer_names") != [LAYER] or listed != list(wanted):
            raise JagptError(f"{path}: not the tensors of {source.directory}")
        for name, array in wanted.items():
            if not np.array_equal(np.asarray(file[LAYER][name]), array):
                raise JagptError(f"{path}: {name} is not as in {source.directory}")


def layout(source: ModelSource) -> Iterator[tuple[str, Array]]:
    """(name in the file, array) of each weight."""
    for name, array in source.tensors.items():
        *path, kind = name.removeprefix("transformer.").split(".")
        yield f"{SCOPE}/{_scope(path)}/{_kind(path, kind)}:0", _shaped(path, kind, array)


def _scope(path: list[str]) -> str:
    """`h.0.attn` is written `h_._0/attn`."""
    if path[0] == "h":
        path = [f"h_._{path[1]}", *path[2:]]
    return "/".join(path)


def _kind(path: list[str], kind: str) -> str:
    if path[-1] in ("wte", "wpe"):
        return "embeddings"
    if path[-1].startswith("ln_"):
        return {"weight": "gamma", "bias": "beta"}[kind]
    return kind


def _shaped(path: list[str], kind: str, array: Array) -> Array:
    return array[None, :] if kind == "bias" and not path[-1].startswith("ln_") else array


def _write_names(owner: Any, key: str, names: list[str]) -> None:
    """A list of names as Keras's `save_attributes_to_hdf5_group` writes it."""
    encoded = [name.encode() for name in names]
    for parts in range(1, len(encoded) + 1):
        size = -(-len(encoded) // parts)
        chunks = [encoded[start : start + size] for start in range(0, len(encoded), size)]
        if all(max(map(len, chunk)) * len(chunk) < ATTRIBUTE_BYTES for chunk in chunks):
            break
    for number, chunk in enumerate(chunks):
        owner.attrs[key if len(chunks) == 1 else f"{key}{number}"] = chunk


def _read_names(owner: Any, key: str) -> list[str]:
    parts = [key] if key in owner.attrs else [f"{key}{n}" for n in range(len(owner.attrs))]
    return [_text(name) for part in parts if part in owner.attrs for name in owner.attrs[part]]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
