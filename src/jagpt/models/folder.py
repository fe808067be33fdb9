"""An existing model, opened: the only way from a place to a network and its tokenizer.

Only safetensors are read, and no code in the folder is run: transformers is given the checked
configuration and the tensors, and never the folder itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import files
from jagpt.errors import DataError
from jagpt.models import guard, place
from jagpt.models import tokenizer as tokenizers
from jagpt.models.quiet import quiet
from jagpt.text import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

GENERATION = "generation_config.json"


@dataclass(frozen=True)
class ModelFolder:
    """A model as the user named it, and where its files and its tokenizer's are.

    `changes` are keys of its configuration that the caller sets. Weights and tokenizer are read
    when they are needed; `DataError` if they are missing, damaged, or do not fit.
    """

    name: str
    folder: Path
    tokenizer_folder: Path
    changes: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.json`, checked."""
        return guard.config(self.folder)

    @cached_property
    def configuration(self) -> PreTrainedConfig:
        """`config.json` and the changes as transformers understands them."""
        from transformers import AutoConfig

        _ = self.config
        try:
            with quiet():
                found: PreTrainedConfig = AutoConfig.from_pretrained(
                    self.folder,
                    local_files_only=True,
                    trust_remote_code=False,
                    **self.changes,
                )
        except Exception as error:  # libraries may raise anything for an invalid file
            reason = first_line(error)
            raise DataError(f"{self.folder}: config.json is invalid ({reason})") from None
        return found

    @cached_property
    def network(self) -> PreTrainedModel:
        """The model in evaluation mode, in fp32 on the CPU; with its averaged weights, if any."""
        from jagpt.models import network

        return network.read(self.folder, self.configuration)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer; `DataError` if it is not this model's."""
        found = tokenizers.load_tokenizer(self.tokenizer_folder)
        tokenizers.check_match(self.name, len(found), self.vocab_size)
        if (last := max(found.get_vocab().values(), default=0)) >= self.vocab_size:
            raise DataError(
                f"{self.name}: the tokenizer has ids up to {last:,}, but the model "
                f"{self.vocab_size:,} rows: they do not belong together"
            )
        return found

    def read(self) -> ModelFolder:
        """The same, once tokenizer and weights are in memory, so that errors in them are
        reported.
        """
        _ = self.tokenizer, self.network
        return self

    @cached_property
    def generation(self) -> dict[str, Any]:
        """`generation_config.json`; without one, what old folders say in `config.json`."""
        path = self.folder / GENERATION
        return files.read_json(path, "generation settings") if path.exists() else self.config

    @property
    def says_how_to_generate(self) -> bool:
        """Whether the folder has its own generation settings."""
        return (self.folder / GENERATION).exists()

    @property
    def vocab_size(self) -> int:
        return int(self.configuration.get_text_config().vocab_size)

    @property
    def context(self) -> int | None:
        """Most tokens that the model reads; None if it has no limit."""
        config = self.configuration.get_text_config()
        for key in ("max_position_embeddings", "n_positions"):
            if value := getattr(config, key, None):
                return int(value)
        return None

    @property
    def end_id(self) -> int | None:
        """The token that separates documents; None if the tokenizer has none."""
        found = self.tokenizer.eos_token_id
        return None if found is None else int(found)

    def start_id(self) -> int | None:
        """The token before a text: the tokenizer's own beginning, else the end of another text."""
        own = list(self.tokenizer("")["input_ids"])
        bos = self.tokenizer.bos_token_id
        if bos is not None and own[:1] == [bos]:
            return int(bos)
        return bos if self.end_id is None else self.end_id

    def fingerprint(self) -> str:
        """Hex SHA-256 over the contents of weights, configuration and tokenizer."""
        places = {*place.weight_files(self.folder), *tokenizers.own_files(self.tokenizer_folder)}
        places |= set(self.folder.glob("*.safetensors.index.json"))
        return files.fingerprint_of(sorted([path.name, files.sha256(path)] for path in places))


def open(  # noqa: A001 - `models.open` is how it is called
    name: str | Path,
    *,
    tokenizer: str | Path | None = None,
    where: str = "",
    revision: str | None = None,
) -> ModelFolder:
    """The model that `name` means: a run, a checkpoint, a folder, a hub id.

    Its tokenizer lies beside it, in its run, or where `tokenizer` says. The folder is looked at,
    and nothing large is read yet. Raises as `place.find` does, and `DataError` for a folder that
    has no weights or contains what a stranger's must not.
    """
    folder = place.find(str(name), where, revision)
    guard.check_folder(folder)
    _check_weights(folder)
    words = _words(folder)
    if tokenizer is not None:
        words = place.find_tokenizer(str(tokenizer), "--tokenizer")
    opened = ModelFolder(str(name), folder, words)
    _ = opened.config
    return opened


def _words(folder: Path) -> Path:
    """Where the folder's tokenizer is: in it, or next to the checkpoints that it is one of."""
    of_run = folder.parent.parent / "tokenizer"
    is_checkpoint = folder.parent.name == "checkpoints"
    beside = is_checkpoint and not tokenizers.has_one(folder) and tokenizers.has_one(of_run)
    return of_run if beside else folder


def _check_weights(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    if pickles := sorted(path.name for path in folder.glob("*.bin")):
        raise DataError(
            f"{folder}: its weights are pickled, and reading a pickle runs whatever code is in it: "
            f"a pickled {pickles[0]} is not read. If you trust it, convert it to safetensors "
            "first, with AutoModelForCausalLM.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )
    raise DataError(f"{folder}: no model.safetensors here; other formats of weights are not read")
