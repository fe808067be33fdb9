"""Where a model is: a folder, a run directory, a checkpoint, or a repository on the hub."""

from __future__ import annotations

from pathlib import Path

from jagpt import hub
from jagpt.errors import DataError, UsageError
from jagpt.models import checkpoint_folder, tokenizer
from jagpt.rundir import is_run

HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
"""What is downloaded: no code, no pickle."""
CONFIG = "config.json"


def find(name: str, where: str = "", revision: str | None = None) -> Path:
    """The local folder that `name` refers to; a hub id (ORG/NAME, ORG/NAME@REV) is downloaded.

    A run directory means its exported model, or, before there is one, its best checkpoint. `where`
    is the option or key that names it. `UsageError` for a name that means nothing, `DataError`
    if there is something else, `StorageError` if the hub does not answer.
    """
    said = f"{where}: " if where else ""
    if not name:
        raise UsageError(f"{said}expected a folder, a run or a hub id (ORG/NAME), found no name")
    found = local(name)
    if found is not None:
        return found
    if Path(name).is_dir():
        raise DataError(
            f"{said}{name}: no model here: neither a model folder (it has no {CONFIG}) nor a run "
            "with a model or a checkpoint; `jagpt run RECIPE` makes one"
        )
    if Path(name).exists():
        raise DataError(f"{said}{name}: this is a file; expected the folder that holds the model")
    repository, at, named = name.partition("@")
    if not hub.is_hub_id(repository) or bool(at) != bool(named):
        raise UsageError(
            f"{said}{name!r}: no such folder, and no hub id (ORG/NAME or ORG/NAME@REVISION)"
        )
    revision = named or revision
    if revision is None and Path(repository).parent.is_dir():
        raise UsageError(
            f"{said}{name}: no such folder in {Path(repository).parent}; for a repository on the "
            f"hub, add its revision ({name}@main)"
        )
    return hub.fetch(repository, revision, HUB_FILES, where or name)


def weight_files(folder: Path) -> list[Path]:
    """The files of a model's folder that decide what it computes."""
    names = sorted(
        path for path in folder.glob("*.safetensors") if not path.name.startswith("optimizer")
    )
    return [folder / CONFIG, *names]


def find_tokenizer(name: str, where: str) -> Path:
    """The folder of the tokenizer that `name` refers to: its own, or that of a model."""
    for folder in (Path(name), Path(name) / "model", Path(name) / "tokenizer"):
        if name and tokenizer.has_one(folder):
            return folder
    return find(name, where)


def local(name: str) -> Path | None:
    """The folder of weights if `name` is a place on this machine that has some."""
    path = Path(name)
    for folder in (path, *path.absolute().parents[:2]):
        is_run(folder)  # nothing in the run that contains a model leads out of it
    for folder in (path, path / "model"):
        if (folder / CONFIG).exists():
            return folder
    if (path / "checkpoints" / checkpoint_folder.INDEX).is_file():
        return checkpoint_folder.resolve(path / "checkpoints", "best")
    return None
