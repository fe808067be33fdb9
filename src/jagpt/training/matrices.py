"""A network's weights by kind: matrices, embeddings, and vectors, which never decay.

Matrices are the weights of experts and of linear layers except the output head. Some parameters
hold several: GPT-2's Q, K and V side by side, a stack of experts, gates between the rows of
another.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

STATE_SPACE = "A_log"
"""Mamba's decay rates: one number per channel and state, not a matrix."""


@dataclass(frozen=True)
class Matrix:
    """A parameter that holds matrices, each stored (in, out) or (out, in); experts are stacked.

    `sizes` are the outputs of matrices side by side, empty for a single one; `order` are the
    positions of all outputs, matrix by matrix, if they are not stored in this order.
    """

    parameter: Parameter
    inputs_first: bool
    sizes: tuple[int, ...] = ()
    order: Tensor | None = None

    @property
    def _dim(self) -> int:
        return -1 if self.inputs_first else -2

    def split(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """The matrices in a tensor of the parameter's shape, (…, in, out) or (…, out, in)."""
        if self.order is not None:
            tensor = tensor.index_select(self._dim, self.order.to(tensor.device))
        if not self.sizes:
            return (tensor,)
        parts: tuple[Tensor, ...] = tensor.split([*self.sizes], self._dim)
        return parts

    def join(self, parts: list[Tensor]) -> Tensor:
        """The tensor that `split` takes apart."""
        whole = torch.cat(parts, self._dim)
        if self.order is None:
            return whole
        return torch.empty_like(whole).index_copy_(self._dim, self.order.to(whole.device), whole)

    @property
    def scales(self) -> list[float]:
        """√max(1, out / in) of each: with it, one rate suits all widths and shapes."""
        inputs, outputs = self.parameter.shape[-2:]
        if not self.inputs_first:
            inputs, outputs = outputs, inputs
        return [math.sqrt(max(1.0, size / inputs)) for size in self.sizes or (outputs,)]


class Kinds(NamedTuple):
    """A model's weights by their kind, each in the model's order; tied ones once."""

    matrices: list[Matrix]
    embeddings: list[Parameter]
    vectors: list[Parameter]


def weights_by_kind(model: nn.Module) -> Kinds:
    """Every weight that learns, by kind; anything else than a matrix or vector is an embedding."""
    kinds = Kinds([], [], [])
    head = model.get_output_embeddings() if isinstance(model, PreTrainedModel) else None
    matrices: dict[int, Matrix] = {}
    for name, module in model.named_modules():
        found = [] if module is head else _matrices(name.rpartition("."), module, model)
        matrices |= {id(matrix.parameter): matrix for matrix in found}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in matrices:
            kinds.matrices.append(matrices[id(parameter)])
        else:
            vector = _is_vector(name.rpartition(".")[2], parameter)
            (kinds.vectors if vector else kinds.embeddings).append(parameter)
    return kinds


def _is_vector(name: str, parameter: Parameter) -> bool:
    """Whether a weight is a vector, including a bias of several experts and a vector with axes of
    1.
    """
    flat = parameter.dim() < 2 or max(parameter.shape) == parameter.numel()
    return flat or name.endswith("bias") or name == STATE_SPACE


def _matrices(path: tuple[str, str, str], module: nn.Module, model: nn.Module) -> list[Matrix]:
    """A module's own matrices."""
    weight: Any = getattr(module, "weight", None)
    if isinstance(module, Conv1D):
        inputs, outputs = weight.shape
        fused = path[2] == "c_attn" and outputs % inputs == 0
        return [Matrix(weight, True, (inputs,) * (outputs // inputs) if fused else ())]
    if isinstance(module, nn.Linear):
        attention: Any = model.get_submodule(path[0])
        grouped = path[2] == "c_attn" and not getattr(attention, "is_cross_attention", True)
        return [_grouped(weight, attention) if grouped else Matrix(weight, False)]
    if type(module).__name__.endswith("Experts"):
        return [_experts(name, each, module) for name, each in module.named_parameters()
                if each.dim() == 3]  # fmt: skip
    return []


def _grouped(weight: Parameter, attention: Any) -> Matrix:
    """gpt_bigcode's Q, K and V: one K and one V for all heads, or the three head by head."""
    width, of_all = attention.embed_dim, attention.kv_dim
    if attention.multi_query:
        return Matrix(weight, False, (width, of_all, of_all))
    places = torch.arange(3 * width).view(attention.num_heads, 3, attention.head_dim)
    return Matrix(weight, False, (width,) * 3, places.transpose(0, 1).flatten())


def _experts(name: str, weight: Parameter, experts: Any) -> Matrix:
    """A stack of matrices (E, in, out) or (E, out, in), gates separate from what they gate."""
    inputs_first = getattr(experts, "is_transposed", type(experts).__name__.startswith("Llama4"))
    outputs = weight.shape[-1 if inputs_first else -2]
    if not name.startswith("gate_up"):
        return Matrix(weight, inputs_first)
    halves = (outputs // 2,) * 2
    if getattr(experts, "is_concatenated", True):
        return Matrix(weight, inputs_first, halves)
    return Matrix(weight, inputs_first, halves, torch.arange(outputs).view(-1, 2).T.flatten())
