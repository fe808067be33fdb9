"""Recomputation: GPT-2's blocks keep less for the backward pass where recomputing is cheap.

Autograd keeps, for each product, its input and a bf16 copy of its weight. Of GPT-2's inputs, two
are a layer norm's result and one a GELU's: here both are recomputed in the backward pass, from what
is kept anyway, and weights are rounded to bf16 again.

Shapes: N positions, I inputs, O outputs; `Conv1D` stores its weight as (I, O).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import GPT2LMHeadModel, PreTrainedModel

from jagpt.training.cpu.gelu import gelu, gelu_backward


def recompute(model: PreTrainedModel) -> None:
    """Let a GPT-2's blocks keep less for the backward pass; other classes stay as they are.

    Modules, their classes and weights stay: some of them delegate their work to the next.
    """
    if type(model) is not GPT2LMHeadModel:
        return
    blocks: Any = model.transformer.h
    module: Any
    for block in blocks:
        if not isinstance(block.mlp.act, nn.GELU) or block.mlp.act.approximate != "tanh":
            continue
        for module in (block.ln_1, block.ln_2, block.mlp.act):
            module.forward = _as_it_is
        block.attn.c_attn.forward = partial(_after_norm, block.ln_1, block.attn.c_attn)
        block.attn.c_proj.forward = partial(_alone, block.attn.c_proj)
        block.mlp.c_fc.forward = partial(_after_norm, block.ln_2, block.mlp.c_fc)
        block.mlp.c_proj.forward = partial(_after_gelu, block.mlp.c_proj)


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _after_norm(norm: nn.LayerNorm, layer: Any, hidden: Tensor) -> Tensor:
    found: Tensor = _AfterNorm.apply(  # type: ignore[no-untyped-call]
        hidden, norm.weight, norm.bias, norm.eps, layer.weight, layer.bias, _dtype(hidden)
    )
    return found


def _after_gelu(layer: Any, values: Tensor) -> Tensor:
    found: Tensor = _Product.apply(values, layer.weight, layer.bias, True, _dtype(values))  # type: ignore[no-untyped-call]
    return found


def _alone(layer: Any, values: Tensor) -> Tensor:
    found: Tensor = _Product.apply(values, layer.weight, layer.bias, False, _dtype(values))  # type: ignore[no-untyped-call]
    return found


def _dtype(values: Tensor) -> torch.dtype:
    device = values.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else values.dtype


class _AfterNorm(torch.autograd.Function):
    """layer_norm(hidden) · weight + bias; only `hidden` and its statistics are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        eps: float,
        weight: Tensor,
        bias: Tensor,
        dtype: torch.dtype,
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            shape = hidden.shape[-1:]
            normed, mean, deviation = torch.native_layer_norm(
                hidden.float(), shape, norm_weight, norm_bias, eps
            )
            ctx.save_for_backward(hidden, norm_weight, norm_bias, mean, deviation, weight)
            ctx.eps, ctx.dtype = eps, dtype
            return _product(normed.to(dtype), weight, bias, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, norm_weight, norm_bias, mean, deviation, weight = ctx.saved_tensors
        given, shape = gradients[0], hidden.shape[-1:]
        with torch.autocast(given.device.type, enabled=False):
            single = hidden.float()
            normed = F.layer_norm(single, shape, norm_weight, norm_bias, ctx.eps).to(ctx.dtype)
            slope = _input_slope(given, weight, normed.shape)
            weight_slope, bias_slope = _weight_slopes(given, normed, weight)
            slope, norm_slope, shift_slope = torch.ops.aten.native_layer_norm_backward(
                slope.float(), single, shape, mean, deviation, norm_weight, norm_bias,
                [True, True, True],
            )  # fmt: skip
        return slope.to(hidden.dtype), norm_slope, shift_slope, None, weight_slope, bias_slope, None


class _Product(torch.autograd.Function):
    """values · weight + bias, of GELU(values) if `activated`; only `values` are kept."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor, bias: Tensor, activated: bool, dtype: torch.dtype
    ) -> Tensor:
        with torch.autocast(values.device.type, enabled=False):
            ctx.save_for_backward(values, weight)
            ctx.activated, ctx.dtype = activated, dtype
            inputs = gelu(values, dtype) if activated else values.to(dtype)
            return _product(inputs, weight, bias, dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        values, weight = ctx.saved_tensors
        given = gradients[0]
        with torch.autocast(given.device.type, enabled=False):
            slope = _input_slope(given, weight, values.shape)
            if ctx.activated:
                inputs, slope = gelu_backward(values, slope, ctx.dtype)
            else:
                inputs, slope = values.to(ctx.dtype), slope.to(values.dtype)
            weight_slope, bias_slope = _weight_slopes(given, inputs, weight)
        return slope, weight_slope, bias_slope, None, None


# --- products -------------------------------------------------------------------------------------


def _product(inputs: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
    """(…, I) to (…, O)."""
    rows = inputs.reshape(-1, inputs.shape[-1])
    out = torch.addmm(bias.to(dtype), rows, weight.to(dtype))
    return out.view(*inputs.shape[:-1], weight.shape[1])


def _input_slope(given: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
    """The gradient to inputs of `shape` (…, I) from that of the product (…, O)."""
    rows = given.reshape(-1, given.shape[-1])  # (N, O)
    return (rows @ weight.to(rows.dtype).T).view(shape)


def _weight_slopes(given: Tensor, inputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients to weight and bias, in the weights' type."""
    rows = given.reshape(-1, given.shape[-1])
    weight_slope = inputs.reshape(-1, inputs.shape[-1]).T @ rows
    return weight_slope.to(weight.dtype), rows.sum(0).to(weight.dtype)
