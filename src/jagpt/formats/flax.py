"""`flax_model.msgpack`, written directly from the weights in the layout of `FlaxGPT2LMHeadModel`.

A tree of maps; an array is flax's msgpack extension 1: (shape, name of the type, bytes), or pieces
of it if it exceeds 1 GiB (`flax.serialization`). Matrices are (out, in).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.errors import JagptError
from jagpt.formats.source import ModelSource

if TYPE_CHECKING:
    from jagpt.formats.source import Array

WEIGHTS = "flax_model.msgpack"
NDARRAY = 1
CHUNK_BYTES = 2**30


def write(source: ModelSource, folder: Path) -> None:
    """The weights, and what `from_pretrained` reads besides them."""
    import msgpack

    tree: dict[str, Any] = {}
    for path, array in layout(source):
        branch = tree
        for key in path[:-1]:
            branch = branch.setdefault(key, {})
        branch[path[-1]] = _packed(array)
    (folder / WEIGHTS).write_bytes(msgpack.packb(tree, strict_types=True))
    source.copy_config(folder)
    source.copy_tokenizer(folder)


def check(source: ModelSource, folder: Path) -> None:
    """Every tensor read back must be bit for bit the model's; `JagptError` names the first."""
    import msgpack
    import numpy as np

    path = folder / WEIGHTS
    tree = msgpack.unpackb(path.read_bytes(), strict_map_key=False)
    found = dict(_leaves(tree, ()))
    wanted = dict(layout(source))
    if found.keys() != wanted.keys():
        raise JagptError(f"{path}: not the tensors of {source.directory}")
    for keys, array in wanted.items():
        if not np.array_equal(_unpacked(found[keys]), array):
            raise JagptError(f"{path}: {'/'.join(keys)} is not as in {source.directory}")


def layout(source: ModelSource) -> Iterator[tuple[tuple[str, ...], Array]]:
    """(keys from the root, array) of each weight."""
    for name, array in source.tensors.items():
        *path, kind = name.split(".")
        if kind == "weight":
            kind = _kind(path[-1])
        yield (*path, kind), array.T if kind == "kernel" else array


def _kind(owner: str) -> str:
    """What flax calls the weight of a module with this name."""
    if owner in ("wte", "wpe"):
        return "embedding"
    return "scale" if owner.startswith("ln_") else "kernel"


def _packed(array: Array, chunk_bytes: int = CHUNK_BYTES) -> Any:
    import msgpack
    import numpy as np

    array = np.ascontiguousarray(array)
    if array.nbytes <= chunk_bytes:
        content = (array.shape, array.dtype.name, array.tobytes())
        return msgpack.ExtType(NDARRAY, msgpack.packb(content, use_bin_type=True))
    flat, size = array.reshape(-1), max(1, chunk_bytes // array.itemsize)
    pieces = [flat[start : start + size] for start in range(0, flat.size, size)]
    return {
        "__msgpack_chunked_array__": True,
        "shape": {str(axis): length for axis, length in enumerate(array.shape)},
        "chunks": {str(number): _packed(piece) for number, piece in enumerate(pieces)},
    }


def _unpacked(value: Any) -> Array:
    import msgpack
    import numpy as np

    if isinstance(value, dict):
        shape = [value["shape"][str(axis)] for axis in range(len(value["shape"]))]
        chunks = [_unpacked(value["chunks"][str(n)]) for n in range(len(value["chunks"]))]
        whole: Array = np.concatenate(chunks)
        return whole.reshape(shape)
    shape, kind, data = msgpack.unpackb(value.data)
    array: Array = np.frombuffer(data, dtype=kind)
    if math.prod(shape) != array.size:
        raise JagptError(f"an array of {array.size} numbers with the shape {shape}")
    return array.reshape(shape)


def _leaves(tree: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and "__msgpack_chunked_array__" not in value:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value
