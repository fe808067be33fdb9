"""What a format is made from: a GPT-2 folder, its weights by name, and its tokenizer's files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import models
from jagpt.errors import UsageError
from jagpt.models import ModelFolder
from jagpt.models.tokenizer import own_files

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from transformers import PreTrainedModel

    Array = npt.NDArray[np.float32]

WEIGHTS = "model.safetensors"
GENERATION = "generation_config.json"
CONFIG_FILES = ("config.json", GENERATION)

PLAIN: Mapping[str, tuple[Any, ...]] = {
    "scale_attn_weights": (True,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "add_cross_attention": (False,),
    "tie_word_embeddings": (True,),
    "activation_function": ("gelu_new",),
}
"""Keys of `config.json` → the values that every format can express; the first is the default."""


def check_plain(config: Mapping[str, Any], where: object, name: str) -> None:
    """`UsageError` if a configuration has something that the format `name` cannot express."""
    for key, allowed in PLAIN.items():
        found = config.get(key, allowed[0])
        if found not in allowed:
            raise UsageError(
                f"{name}: {where} sets {key} to {found!r}, which this format cannot express; "
                "huggingface and pytorch can"
            )


@dataclass(frozen=True)
class ModelSource:
    """A Hugging Face folder to export; only safetensors are read."""

    model: ModelFolder

    @classmethod
    def open(cls, place: Path) -> ModelSource:
        """The model of a place; raises as `models.open` does."""
        return cls(models.open(place))

    @property
    def directory(self) -> Path:
        return self.model.folder

    @property
    def config(self) -> dict[str, Any]:
        """`config.json`."""
        return self.model.config

    @cached_property
    def fingerprint(self) -> str:
        """What identifies the model that an export was made from."""
        return self.model.fingerprint()

    @property
    def model_type(self) -> str:
        return str(self.config.get("model_type"))

    @cached_property
    def network(self) -> PreTrainedModel:
        """The model in fp32 on the CPU: what each format is compared with."""
        from jagpt.models.build import prepared

        return prepared(self.model.network)

    @cached_property
    def tensors(self) -> dict[str, Array]:
        """Weights in fp32 by their names in `model.safetensors`, tied ones once; read-only."""
        found = {name: value.detach().numpy() for name, value in self.network.named_parameters()}
        for array in found.values():
            array.setflags(write=False)  # some converters quantize in place
        return found

    @property
    def n_layer(self) -> int:
        return int(self.model.configuration.num_hidden_layers)

    @property
    def n_head(self) -> int:
        return int(self.model.configuration.num_attention_heads)

    @property
    def n_embd(self) -> int:
        return int(self.model.configuration.hidden_size)

    @property
    def n_inner(self) -> int:
        return int(self.model.configuration.n_inner or 4 * self.n_embd)

    @property
    def n_positions(self) -> int:
        return int(self.model.configuration.max_position_embeddings)

    @property
    def vocab_size(self) -> int:
        return self.model.vocab_size

    @property
    def epsilon(self) -> float:
        """What layer norms add to the variance."""
        return float(self.model.configuration.layer_norm_epsilon)

    @cached_property
    def pieces(self) -> list[str]:
        """The tokenizer's piece of each id; rows of the model without one get their own names.

        Raises `DataError` if the folder has no tokenizer.
        """
        tokenizer = self.model.tokenizer
        known = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        spare = range(len(known), self.vocab_size)
        return [*(str(piece) for piece in known), *(f"<unused{number}>" for number in spare)]

    def special(self, name: str) -> int | None:
        """The id of the `bos`, `eos`, `pad` or `unk` token in the configuration; None without one.

        Many a small model still names GPT-2's own 50,256, which it has no row for.
        """
        value = self.config.get(f"{name}_token_id")
        found = next(iter(value), None) if isinstance(value, list) else value
        return None if found is None or int(found) not in range(self.vocab_size) else int(found)

    def check_plain(self, name: str) -> None:
        """`UsageError` if the model has something that the format `name` cannot express."""
        configuration = self.model.configuration
        config = {key: getattr(configuration, key) for key in PLAIN}
        check_plain(config, self.directory / "config.json", name)
        network: Any = self.network
        if network.get_output_embeddings().weight is not network.get_input_embeddings().weight:
            raise UsageError(
                f"{name}: the weights of {self.directory} have an output matrix of their own, "
                "which this format cannot express; huggingface and pytorch can"
            )

    @property
    def tokenizer_files(self) -> list[Path]:
        """All files that may belong to the tokenizer."""
        return own_files(self.model.tokenizer_folder)

    def copy_tokenizer(self, folder: Path) -> None:
        """The tokenizer's files as they are."""
        for path in self.tokenizer_files:
            shutil.copyfile(path, folder / path.name)

    def copy_config(self, folder: Path) -> None:
        """`config.json` and the generation defaults as they are."""
        for name in CONFIG_FILES:
            if (self.directory / name).is_file():
                shutil.copyfile(self.directory / name, folder / name)
