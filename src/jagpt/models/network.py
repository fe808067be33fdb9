"""A network from a checked configuration and its folder's tensors, and no larger than these."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from jagpt.errors import DataError
from jagpt.models import tensors
from jagpt.models.quiet import quiet
from jagpt.models.size import parameter_count
from jagpt.text import first_line

_MASK = re.compile(r"\.attn\.masked_bias$")
"""A constant in GPT-2 files of old versions of transformers."""
MAX_BUFFER_BYTES = 1 << 30
"""Most memory for what a network computes from its configuration alone (masks, angles)."""


def read(folder: Path, config: PreTrainedConfig) -> PreTrainedModel:
    """The network in evaluation mode, in fp32 on the CPU.

    For a checkpoint with averaged weights, those. `DataError` if the tensors are missing or
    damaged, or do not match the configuration.
    """
    for each in (config, config.get_text_config()):  # what a call returns is for us to say
        each.output_hidden_states = each.output_attentions = False
        each.return_dict = True
    try:
        with quiet(), tensors.trained(folder).opened() as held:
            slices = {name: each for name, each in held.items() if not _MASK.search(name)}
            network, report = _filled(_empty(config, slices, folder), slices)
            whole = {name for name, each in slices.items() if "F" not in each.get_dtype()}
    except DataError:
        raise
    except Exception as error:  # libraries may raise anything for an invalid folder
        raise DataError(f"{folder}: its model cannot be loaded ({first_line(error)})") from None
    for problem in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if names := sorted(str(name) for name in report[problem]):
            raise DataError(
                f"{folder}: these are not {type(network).__name__} weights of the shape in "
                f"its configuration ({problem.replace('_', ' ')}: {_some(names)})"
            )
    weights = {name for name, _ in network.named_parameters()}
    weights |= {name.removeprefix(f"{network.base_model_prefix}.") for name in weights}
    if odd := sorted(weights & whole):
        raise DataError(
            f"{folder}: these weights are whole numbers ({_some(odd)}), as of a quantized model, "
            "and would be wrong as they stand: use the model before it was quantized"
        )
    return network.eval()


def _empty(config: PreTrainedConfig, slices: Mapping[str, Any], folder: Path) -> PreTrainedModel:
    """The network without memory; `DataError` if it has more weights than the files hold.

    transformers would invent every weight that no file has.
    """
    auto: Any = AutoModelForCausalLM
    held = sum(math.prod(each.get_shape()) for each in slices.values())
    with _bounded(held, len(slices), folder), torch.device("meta"):
        network: PreTrainedModel = auto.from_config(config, trust_remote_code=False)
    if (wanted := parameter_count(network)) > held:
        absent = sorted({name for name, _ in network.named_parameters()} - set(slices))
        raise DataError(
            f"{folder}: config.json needs {wanted:,} weights, but the tensor files hold {held:,}: "
            f"they do not belong together (missing keys: {_some(absent)})"
        )
    return network


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + "…" * (len(names) > 3)


def _filled(empty: PreTrainedModel, slices: Mapping[str, Any]) -> tuple[PreTrainedModel, Any]:
    """The class's network with these tensors, and what did not fit."""
    kind: Any = type(empty)
    network, report = kind.from_pretrained(
        None,  # a folder would be searched for adapters, generators, an index that leads elsewhere
        config=empty.config,
        state_dict=dict(slices),
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are in the report
    )
    network.config.name_or_path = ""
    return network, report


@contextmanager
def _bounded(held: int, tensors: int, folder: Path) -> Iterator[None]:
    """Stop building a network as soon as it is far larger than its files.

    Modules take memory even without weights. Tied weights count twice until they are tied, and a
    fused tensor may become several weights.
    """
    weights, buffers = _Tally(), _Tally()

    def count_weight(module: nn.Module, name: str, weight: Tensor | None) -> None:
        weights.add(module, name, 0 if weight is None else weight.numel())
        if weights.total > 2 * held or weights.count > 64 + 4 * tensors:
            raise DataError(
                f"{folder}: config.json needs more than the {held:,} weights in {tensors:,} "
                "tensors that are there: they do not belong together"
            )

    def count_buffer(module: nn.Module, name: str, buffer: Tensor | None) -> None:
        buffers.add(module, name, 0 if buffer is None else buffer.numel() * buffer.element_size())
        if buffers.total > max(MAX_BUFFER_BYTES, 4 * held):
            raise DataError(
                f"{folder}: config.json needs masks of more than {MAX_BUFFER_BYTES:,} bytes: its "
                "context is too large for its weights"
            )

    with ExitStack() as stack:
        stack.callback(register_module_parameter_registration_hook(count_weight).remove)
        stack.callback(register_module_buffer_registration_hook(count_buffer).remove)
        yield


class _Tally:
    """The number and the sum of what was registered, each once under its name."""

    def __init__(self) -> None:
        self.total = 0
        self._sizes: dict[tuple[int, str], int] = {}

    @property
    def count(self) -> int:
        return len(self._sizes)

    def add(self, module: nn.Module, name: str, size: int) -> None:
        self.total += size - self._sizes.get((id(module), name), 0)
        self._sizes[id(module), name] = size
