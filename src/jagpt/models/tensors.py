"""Tensors in safetensors files, one at a time: written as they come, read on demand.

One file `NAME.safetensors`, or, above a limit of bytes, `NAME-00001-of-00003.safetensors` and so on
with `NAME.safetensors.index.json`, as Hugging Face lays out models. safetensors' own `save_file`
needs all tensors in memory and copies them; the format (a header in JSON, then the bytes,
https://github.com/huggingface/safetensors#format) needs neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from jagpt import files
from jagpt.errors import DataError
from jagpt.models import guard
from jagpt.models.checkpoint_folder import AVERAGE

MAX_FILE_BYTES = 5 * 1000**3
"""Largest file of several; a single tensor may be larger."""

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class Named:
    """A tensor to be written; `get` returns it complete and on the CPU, maybe by asking other
    ranks.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    get: Callable[[], Tensor]

    @property
    def size(self) -> int:
        """Bytes."""
        return int(torch.Size(self.shape).numel() * self.dtype.itemsize)


def write(
    folder: Path | None, name: str, tensors: Sequence[Named], limit: int | None = None
) -> None:
    """Put `tensors` into `folder` under `name`; without a folder, they are only computed.

    Raises the system's `OSError` with the file's name.
    """
    parts = _parts(tensors, limit or MAX_FILE_BYTES)
    names = [f"{name}-{n:05}-of-{len(parts):05}.safetensors" for n in range(1, len(parts) + 1)]
    if len(parts) == 1:
        names = [f"{name}.safetensors"]
    for file, part in zip(names, parts, strict=True):
        if folder is None:
            for tensor in part:
                tensor.get()
        else:
            _write_file(folder / file, part)
    if folder is not None and len(parts) > 1:
        total = sum(tensor.size for tensor in tensors)
        places = {t.name: file for file, part in zip(names, parts, strict=True) for t in part}
        value = {"metadata": {"total_size": total}, "weight_map": places}
        text = json.dumps(value, indent=2, sort_keys=True) + "\n"
        (folder / f"{name}.safetensors.index.json").write_text(text, "utf-8")


def kept(network: nn.Module) -> dict[str, Tensor]:
    """The parts of a network that are stored: its weights, tied ones once, and persistent
    buffers.
    """
    whole = network.state_dict(keep_vars=True)
    buffers = {name: buffer for name, buffer in network.named_buffers() if name in whole}
    return {**dict(network.named_parameters()), **buffers}


def trained(checkpoint: Path) -> Stored:
    """A checkpoint's result: its averaged weights if it has any, else its weights."""
    averaged = any((checkpoint / f"{AVERAGE}{end}").exists() for end in ("", ".index.json"))
    return Stored(checkpoint, "average" if averaged else "model")


def _parts(tensors: Sequence[Named], limit: int) -> list[list[Named]]:
    """`tensors` in order, in parts of at most `limit` bytes or one tensor; at least one part."""
    parts: list[list[Named]] = [[]]
    size = 0
    for tensor in tensors:
        if parts[-1] and size + tensor.size > limit:
            parts.append([])
            size = 0
        parts[-1].append(tensor)
        size += tensor.size
    return parts


def _write_file(path: Path, tensors: Sequence[Named]) -> None:
    ordered = sorted(tensors, key=lambda tensor: -tensor.dtype.itemsize)  # keeps them aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in ordered:
        header[tensor.name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + tensor.size],
        }
        start += tensor.size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    try:
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in ordered:
                file.write(_bytes(tensor.get()))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def _bytes(tensor: Tensor) -> Any:
    """The tensor's bytes in a form that files write without a copy."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


class Stored:
    """The tensors stored under `name` in `folder`, read one at a time.

    `DataError` if a file is missing, is not a safetensors file, or is not the folder's own:
    an index may only name regular `*.safetensors` files next to it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}.safetensors"
        index = folder / f"{name}.safetensors.index.json"
        if index.exists() and not self.path.exists():
            self._places = _named_in(index)
        else:
            self._places = dict.fromkeys(_keys(self.path), self.path)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def names(self) -> list[str]:
        """All tensors, in the order of their names."""
        return sorted(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor; no bytes of it are read."""
        with _opened(self._places[name]) as file:
            return tuple(file.get_slice(name).get_shape())

    def get(self, name: str) -> Tensor:
        """One tensor, on the CPU.

        A clone, since a slice of the file has a different alignment, which may change how kernels
        round.
        """
        with _opened(self._places[name]) as file:
            found: Tensor = file.get_tensor(name)
            return found.clone()

    @contextmanager
    def opened(self) -> Iterator[dict[str, Any]]:
        """safetensors' slice of each tensor, which knows its shape without reading any data."""
        with ExitStack() as stack:
            opened = {
                path: stack.enter_context(_opened(path)) for path in set(self._places.values())
            }
            try:
                slices = {name: opened[path].get_slice(name) for name, path in self._places.items()}
            except SafetensorError as error:
                raise DataError(
                    f"{self.path}: the index belongs to other files ({error})"
                ) from None
            yield slices


def _named_in(index: Path) -> dict[str, Path]:
    """Tensor → file of an index."""
    places = files.read_json(index, "index of tensors").get("weight_map")
    if not isinstance(places, dict) or not places:
        raise DataError(f"{index}: this index of tensors is damaged")
    for name in set(map(str, places.values())):
        path = index.parent / name
        if Path(name).name != name or path.suffix != ".safetensors":
            raise DataError(
                f"{index}: it names {name!r}, but only *.safetensors files next to it are read"
            )
        guard.check_inside(path, index.parent)
    return {key: index.parent / str(value) for key, value in places.items()}


def _keys(path: Path) -> list[str]:
    with _opened(path) as file:
        return list(file.keys())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A regular file whose header safetensors has checked: lengths, types, shapes and offsets."""
    files.regular_file(path, "file of tensors")
    guard.check_inside(path, path.parent)
    try:
        with safe_open(path, "pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: not readable as safetensors ({error})") from None
