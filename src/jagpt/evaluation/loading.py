"""Any causal language model: a folder, a run, a checkpoint, or an id of the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jagpt import files, hub
from jagpt.errors import DataError, UsageError
from jagpt.generation import quiet
from jagpt.generation.folder import TOKENIZER_FILES, check_match, load_model, load_tokenizer
from jagpt.rundir import is_run

HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
WEIGHTS = ("*.safetensors", "config.json")
WORDS = ("tokenizer.json", "*.model", "vocab.*", "merges.txt")
"""Files that decide what a model says of a text."""


@dataclass(frozen=True)
class Subject:
    """A model to be measured: as the user named it, where its files lie, and what they hash to."""

    name: str
    folder: Path
    tokenizer_folder: Path
    model: Any
    tokenizer: Any
    context: int | None

    @property
    def vocab_size(self) -> int:
        return int(self.model.config.vocab_size)

    @property
    def end_id(self) -> int | None:
        """The token that stands between documents; None where the tokenizer has none."""
        found = self.tokenizer.eos_token_id
        return None if found is None else int(found)

    def start_id(self) -> int | None:
        """What a text begins after: the tokenizer's own beginning, else the end of another text."""
        own = list(self.tokenizer("")["input_ids"])
        bos = self.tokenizer.bos_token_id
        if bos is not None and own[:1] == [bos]:
            return int(bos)
        return bos if self.end_id is None else self.end_id

    def fingerprint(self) -> str:
        """Hex SHA-256 over the contents of weights, configuration and tokenizer."""
        places = {path for pattern in WEIGHTS for path in self.folder.glob(pattern)}
        places |= {path for pattern in WORDS for path in self.tokenizer_folder.glob(pattern)}
        return files.fingerprint_of(sorted([path.name, files.sha256(path)] for path in places))


def load(name: str, tokenizer: str | None = None) -> Subject:
    """The model called `name`, in fp32 on the CPU, with the tokenizer beside it or in `tokenizer`.

    Safetensors only, and no code from the folder. Raises `DataError` for a folder that is no
    model or whose parts do not match, `UsageError` for a name that means nothing, `StorageError`
    where the hub does not answer.
    """
    folder = resolve(name, "--model")
    words = folder if tokenizer is None else resolve(tokenizer, "--tokenizer")
    _check_folder(folder)
    _check_tokenizer(words)
    with quiet():
        pieces = load_tokenizer(words)
        model = load_model(folder)
    subject = Subject(name, folder, words, model, pieces, _context(model.config))
    check_match(name, len(pieces), subject.vocab_size)
    return subject


def resolve(name: str, where: str) -> Path:
    """What the name at `where` means: a folder, a run's exported model, a repository of the hub."""
    path = Path(name)
    if is_run(path):
        return path / "model"
    if path.is_dir():
        return path
    if path.exists():
        raise DataError(f"{name}: a file; the folder that holds the model is wanted")
    repository, at, revision = name.partition("@")
    if hub.is_hub_id(repository) and bool(at) == bool(revision):
        return hub.fetch(repository, revision or None, HUB_FILES, where)
    raise UsageError(f"{name}: no such folder, and no hub id (ORG/NAME or ORG/NAME@REVISION)")


def _check_folder(folder: Path) -> None:
    config = files.read_json(folder / "config.json", "model configuration")
    if not isinstance(config.get("model_type"), str):
        raise DataError(f"{folder / 'config.json'}: no model's configuration (no model_type)")
    if any(folder.glob("*.safetensors")):
        return
    if pickles := sorted(path.name for path in folder.glob("pytorch_model*.bin")):
        raise DataError(
            f"{folder}: its weights are pickled ({pickles[0]}), and reading a pickle runs whatever "
            "code is in it: it is not read. Where you trust it, make safetensors of it first, with "
            "AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    raise DataError(f"{folder}: no weights here; safetensors are wanted")


def _check_tokenizer(folder: Path) -> None:
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise DataError(
            f"{folder}: no tokenizer here ({', '.join(TOKENIZER_FILES)}); where it lies elsewhere, "
            "as for a checkpoint, name its folder with --tokenizer"
        )


def _context(config: Any) -> int | None:
    """Most tokens that the model reads; None where it has no limit."""
    for key in ("max_position_embeddings", "n_positions"):
        if value := getattr(config, key, None):
            return int(value)
    return None
