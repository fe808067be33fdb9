"""`pytorch_model.bin`, for readers older than safetensors: the one pickle that jagpt writes."""

from __future__ import annotations

import zipfile
from pathlib import Path

from jagpt.errors import JagptError
from jagpt.formats.source import ModelSource

WEIGHTS = "pytorch_model.bin"


def write(source: ModelSource, folder: Path) -> None:
    """The weights under transformers' own names; the tied output matrix shares its storage."""
    import torch

    torch.save(source.network.state_dict(), folder / WEIGHTS)
    source.copy_config(folder)
    source.copy_tokenizer(folder)


def check(source: ModelSource, folder: Path) -> None:
    """Check that the tensors are bit for bit the same; `JagptError` names the first that is not.

    The pickle is not read: the archive holds each storage as raw bytes, in the order of the names.
    """
    path = folder / WEIGHTS
    wanted = _storages(source)
    with zipfile.ZipFile(path) as archive:
        names = {name.rpartition("/data/")[2]: name for name in archive.namelist()}
        for number, (tensor, content) in enumerate(wanted.items()):
            if str(number) not in names or archive.read(names[str(number)]) != content:
                raise JagptError(f"{path}: {tensor} is not as in {source.directory}")


def _storages(source: ModelSource) -> dict[str, bytes]:
    """The bytes of each storage under the name of the first tensor in it."""
    seen: dict[int, str] = {}
    for name, tensor in source.network.state_dict().items():
        seen.setdefault(tensor.data_ptr(), name)
    tensors = source.network.state_dict()
    return {name: tensors[name].contiguous().numpy().tobytes() for name in seen.values()}
