"""What a stranger's model folder may contain and say; checked before any library reads it.

transformers takes code from a folder in many ways: by keys of its JSON files (`auto_map`, the name
of a kernel as the attention, a quantizer, an adapter's base model), by Python files beside them,
and by weights that are pickles. So a key may only have a value that its class is known to take,
and an unknown key may only be a number; files must be regular ones in the folder itself, and not
too large.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.errors import DataError
from jagpt.models.quiet import quiet

MAX_CONFIG_BYTES = 4 * 1024**2
MAX_LAYERS = 1000
"""More layers than any network has; lists of this length are built before a network is."""
TOKENIZER_FILE = re.compile(
    r"(tokenizer|vocab|merges|added_tokens|special_tokens|chat_template|emoji).*|.*\.model"
)
"""These are read as a whole, so their size is limited; others have limits where they are read."""

CODE = frozenset({
    "auto_map", "custom_generate", "custom_pipeline", "custom_pipelines", "trust_remote_code",
    "code_revision", "auto_class", "_auto_class",
    "_attn_implementation_internal", "_experts_implementation_internal",
    "use_kernels", "kernel_config", "fusion_config", "distributed_config",
    "quantization_config", "compression_config",
    "base_model_name_or_path", "peft_config", "peft_type", "adapter_config", "adapter_kwargs",
    "transformers_weights", "configuration_files", "gguf_file",
    "backbone", "backbone_config", "backbone_kwargs", "use_timm_backbone",
    "use_pretrained_backbone", "pretrained_cfg",
    "fast_tokenizer_files", "init_inputs",
})  # fmt: skip
"""Keys that lead transformers to code, to another file or to another repository."""
IMPLEMENTATIONS = frozenset({"eager", "sdpa", "grouped_mm", "batched_mm"})
"""What a config.json may name for attention and experts: no kernels from the hub."""
MAY_BE_TEXT = frozenset({
    "_name_or_path", "name_or_path", "model_type", "transformers_version", "architectures",
    "torch_dtype", "dtype", "tokenizer_class", "processor_class", "problem_type", "id2label",
    "label2id", "task_specific_params", "finetuning_task", "prefix", "language", "pruned_heads",
    "rope_scaling", "rope_parameters", "layer_types", "eos_token_id", "bad_words_ids",
    "suppress_tokens", "begin_suppress_tokens", "forced_eos_token_id", "force_words_ids",
    # what some classes take beyond the names in their signature
    "compress_ratios", "hybrid_override_pattern", "index_topk_pattern", "linear_attn_config",
    "mamba_dt_limit", "moe_layer_freq", "mtp_config", "mtp_hybrid_override_pattern",
    "pyramid_num_routed", "sparse_attention_config", "whisper_config",
})  # fmt: skip
"""Keys that a class need not know and that may be more than a number."""
OTHERS = ("generation_config.json", "processor_config.json", "preprocessor_config.json")


def check_folder(folder: Path) -> None:
    """`DataError` if a file is not a regular one, is outside the folder, or contains code.

    The hub's cache keeps its files next to the snapshots that link to them: that counts as inside.
    """
    for path in sorted([*folder.iterdir(), *folder.glob("additional_chat_templates/*")]):
        if path.name == "custom_generate":
            raise DataError(f"{path}: code for generation, but no code in a folder is run")
        if path.name == "adapter_config.json":
            raise DataError(f"{path}: an adapter for another model; merge the two first")
        if path.name.startswith(".") or (path.is_dir() and path.name != "config.json"):
            continue
        limit = files.MAX_JSON_BYTES if TOKENIZER_FILE.fullmatch(path.name) else None
        files.regular_file(path, limit=limit)
        check_inside(path, folder)
        if path.name in OTHERS:
            check_code(files.read_json(path, "configuration", MAX_CONFIG_BYTES), path)


def check_inside(path: Path, folder: Path) -> None:
    """`DataError` if a file of the folder is a link that leads out of it."""
    inside, real = folder.resolve(), path.resolve()
    if not real.is_relative_to(inside) and not _is_blob(real, inside):
        raise DataError(f"{path}: a link that leads out of its folder, to {real}")


def _is_blob(real: Path, inside: Path) -> bool:
    """Whether a file is where the hub's cache keeps a snapshot's content: in its repository's
    `blobs` (models--ORG--NAME/{snapshots,blobs}) or in those that all of this machine share."""
    if inside.parent.name != "snapshots":
        return False
    repository = inside.parent.parent
    if real.is_relative_to(repository / "blobs"):
        return True
    from huggingface_hub.constants import HF_HUB_CACHE

    cache = Path(HF_HUB_CACHE).resolve()
    return repository.parent == cache and real.is_relative_to(cache / "blobs")


def config(folder: Path) -> dict[str, Any]:
    """The folder's `config.json`, once it is known to contain nothing but a network's shape.

    `DataError` with the key if it names code, other files, a class that transformers does not have
    or an impossible network.
    """
    path = folder / "config.json"
    values = files.read_json(path, "model configuration", MAX_CONFIG_BYTES)
    kind = values.get("model_type")
    if not isinstance(kind, str):
        raise DataError(f"{path}: not a model's configuration (no model_type)")
    check_code(values, path)
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING

    if kind not in CONFIG_MAPPING or CONFIG_MAPPING[kind] not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise DataError(f"{path}: transformers has no causal language model {kind!r}")
    _check_known(values, CONFIG_MAPPING[kind], path)
    _check_counts(values, path)
    _check_tokenizer_class(values, path)
    return values


def check_tokenizer(folder: Path) -> None:
    """`DataError` if the tokenizer's configuration names code, other files or no tokenizer."""
    for name in ("config.json", "tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if not path.exists():
            continue
        values = files.read_json(path, "tokenizer configuration", files.MAX_JSON_BYTES)
        check_code(values, path)
        _check_tokenizer_class(values, path)
        for key, value in values.items():
            if isinstance(value, str) and _leads_elsewhere(key, value, folder):
                raise DataError(
                    f"{path}: {key!r} names {value!r}, which is not a file in this folder"
                )
        longest = values.get("model_max_length")
        if longest is not None and not isinstance(longest, (int, float)):
            raise DataError(f"{path}: model_max_length: expected a number, found {longest!r}")


def _leads_elsewhere(key: str, value: str, folder: Path) -> bool:
    if not key.endswith("_file") or key == "special_tokens_map_file":  # old folders name a cache's
        return False
    return Path(value).name != value or not (folder / value).is_file()


def _check_tokenizer_class(values: dict[str, Any], path: Path) -> None:
    """transformers accepts any of its own objects as the class, even a model's class."""
    name = values.get("tokenizer_class")
    if name is None:
        return
    import transformers
    from transformers import PreTrainedTokenizerBase
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    known = {str(each).removesuffix("Fast") for each in TOKENIZER_MAPPING_NAMES.values()}
    if isinstance(name, str) and name.removesuffix("Fast") not in known | {"BloomTokenizer"}:
        found = getattr(transformers, name, None) if name.isidentifier() else None
        if not (isinstance(found, type) and issubclass(found, PreTrainedTokenizerBase)):
            raise DataError(f"{path}: tokenizer_class: transformers has no tokenizer {name!r}")
    if not isinstance(name, str):
        raise DataError(f"{path}: tokenizer_class: expected a name, found {name!r}")


def check_code(values: dict[str, Any], path: Path) -> None:
    """Refuse every key of `CODE`, at any depth, and kernels and types by name."""
    for key, found in _entries(values):
        if key in CODE and found:
            raise DataError(
                f"{path}: {key} leads to code or files elsewhere, which are never read; if "
                "transformers' own class reads the model, delete the key from a copy of this file"
            )
        if key.endswith("_implementation") and not IMPLEMENTATIONS.issuperset(_texts(found)):
            raise DataError(
                f"{path}: {key!r} names {found!r}; expected one of "
                f"{', '.join(sorted(IMPLEMENTATIONS))}"
            )
        if key.endswith("dtype") and not all(map(_is_dtype, _texts(found))):
            raise DataError(f"{path}: {key!r}: PyTorch has no type {found!r}")


def _texts(value: Any) -> list[str]:
    """The string, or all strings in a list or table."""
    return [each for _, each in [("", value), *_entries(value)] if isinstance(each, str)]


def _is_dtype(name: str) -> bool:
    import torch

    return isinstance(getattr(torch, name.removeprefix("torch."), None), torch.dtype)


def _check_known(values: dict[str, Any], kind: Any, path: Path) -> None:
    """Refuse strings, lists and tables under a key that the class does not know.

    transformers would make an attribute of it, which some method might use.
    """
    known = {*_keys_of(kind), *kind.attribute_map, *MAY_BE_TEXT}
    for key, value in values.items():
        is_plain = isinstance(value, (int, float, type(None))) or key.endswith("_implementation")
        if key not in known and not is_plain:
            raise DataError(
                f"{path}: {kind.__name__} has no key {key!r}, and an unknown key may only hold a "
                "number; delete it from a copy of this file"
            )
        part = kind.sub_configs.get(key)
        if isinstance(value, dict) and part is not None:
            _check_known(value, _class_of(value, part, path), path)


@cache
def _keys_of(kind: Any) -> frozenset[str]:
    """What a class takes, and what it writes back."""
    given = frozenset(inspect.signature(kind).parameters)
    with quiet(), suppress(Exception):  # the defaults of some classes contradict each other
        return given | frozenset(kind().to_dict())
    return given


def _class_of(values: dict[str, Any], kind: Any, path: Path) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    if kind is not AutoConfig:
        return kind
    name = values.get("model_type")
    if name not in CONFIG_MAPPING:
        raise DataError(f"{path}: transformers has no model {name!r}")
    return CONFIG_MAPPING[name]


def _check_counts(values: dict[str, Any], path: Path) -> None:
    """Refuse impossible numbers of layers and labels, from which lists are built, and of heads,
    with which some networks are built and then fail to compute."""
    for key, value in _entries(values):
        is_count = re.search(r"layers?$|^num_labels$|_replace$|_idx$", key) and "_per_" not in key
        if is_count and isinstance(value, int) and value > MAX_LAYERS:
            raise DataError(f"{path}: {key!r} is {value:,}, but at most {MAX_LAYERS:,} is possible")
        if re.search(r"^n_head$|(num|decoder)(_attention)?_heads$", key) and (
            isinstance(value, int) and value < 1
        ):
            raise DataError(f"{path}: {key!r} is {value:,}, but at least 1 is needed")
    written = values.get("attention_types")  # GPT-Neo's: [[["global", "local"], 12]]
    if written is not None and _spelled_out(written) > MAX_LAYERS:
        raise DataError(f"{path}: attention_types gives more than {MAX_LAYERS:,} layers")


def _spelled_out(groups: Any) -> int:
    try:
        return sum(len(kinds) * int(times) for kinds, times in groups)
    except (TypeError, ValueError, OverflowError):
        return 0  # the class refuses it


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key with its value, at every depth; list items have the key ""."""
    left = [value]
    while left:
        inner = left.pop()
        entries = list(inner.items()) if isinstance(inner, dict) else []
        if isinstance(inner, list):
            entries = [("", each) for each in inner]
        yield from entries
        left += [each for _, each in entries]
