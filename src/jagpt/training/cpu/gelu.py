"""GELU on a CPU: its tanh form as a sigmoid, one part at a time.

GELU is x · sigmoid(inner · (x + cubic · x³)); PyTorch's tanh is slow on a CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_INNER, _CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715
_CACHED = 1 << 18
"""Values of a part, which stays in a core's cache over all passes."""


class CachedGelu(nn.Module):
    """`nn.GELU(approximate="tanh")` on a CPU, without a backward pass."""

    def forward(self, values: Tensor) -> Tensor:
        return gelu(values, values.dtype)


def gelu(values: Tensor, dtype: torch.dtype) -> Tensor:
    """GELU(values) as `dtype`, formed in fp32."""
    out = torch.empty(values.shape, dtype=dtype)
    for some, place in zip(_parts(values), _parts(out), strict=True):
        single = some.float()
        place.copy_(_gate(single, single * single).mul_(single))
    return out


def gelu_backward(values: Tensor, given: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """GELU(values) as `dtype`, and its slope times `given`, as `values`."""
    out, slope = torch.empty(values.shape, dtype=dtype), torch.empty_like(values)
    parts = zip(_parts(values), _parts(given), _parts(out), _parts(slope), strict=True)
    for some, above, place, below in parts:
        single = some.float()
        square = single * single
        gate = _gate(single, square)
        place.copy_(single * gate)
        inner = square.mul_(3 * _INNER * _CUBIC).add_(_INNER).mul_(single)
        whole = torch.ops.aten.sigmoid_backward(inner, gate).add_(gate)
        below.copy_(whole.mul_(above))
    return out, slope


def _gate(single: Tensor, square: Tensor) -> Tensor:
    return torch.addcmul(single, single, square, value=_CUBIC).mul_(_INNER).sigmoid_()


def _parts(tensor: Tensor) -> tuple[Tensor, ...]:
    rows = tensor.view(-1, tensor.shape[-1])
    parts: tuple[Tensor, ...] = rows.split(max(1, _CACHED // tensor.shape[-1]))
    return parts
