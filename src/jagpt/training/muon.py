"""Muon: the momentum of a matrix, orthogonalized, is its update.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the iteration, its coefficients and
the scale of an update are those of https://github.com/KellerJordan/Muon, which `torch.optim.Muon`
follows too. Ours differs in what a matrix is: `Conv1D` stores (in, out), and a fused `c_attn` holds
three, Q, K and V, each of which is orthogonalized for itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_NORM = 1e-7


@dataclass(frozen=True)
class Matrix:
    """A parameter that holds `parts` matrices side by side, stored (in, out) or (out, in)."""

    parameter: Parameter
    inputs_first: bool
    parts: int = 1

    def split(self, tensor: Tensor) -> list[Tensor]:
        """The matrices in a tensor of the parameter's shape, as views (in, out) or (out, in)."""
        return list(tensor.chunk(self.parts, dim=1 if self.inputs_first else 0))

    @property
    def scale(self) -> float:
        """√max(1, out / in): with it, one rate serves all widths and shapes."""
        rows, columns = self.parameter.shape
        inputs, outputs = (rows, columns) if self.inputs_first else (columns, rows)
        return math.sqrt(max(1.0, outputs / self.parts / inputs))


class Muon(Optimizer):
    """Muon for matrices, and a given `AdamW` for all other weights, as one optimizer.

    State: `momentum` of a matrix, AdamW's own slots elsewhere, all under the parameter. `dtype` is
    that of the iteration's products. Weight decay is decoupled: w ← (1 − lr · weight_decay) · w.
    """

    def __init__(
        self,
        matrices: Iterable[Matrix],
        rest: AdamW,
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        dtype: torch.dtype,
    ) -> None:
        self.matrices = list(matrices)
        self.rest = rest
        self.dtype = dtype
        group = {"params": [matrix.parameter for matrix in self.matrices]}
        options = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum}
        super().__init__([group], options)
        self.param_groups += rest.param_groups
        rest.state = self.state  # one mapping, so that a checkpoint needs to know one optimizer

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient; `closure` is not supported."""
        if closure is not None:
            raise ValueError("a closure is not supported")
        group = self.param_groups[0]
        for matrix in self.matrices:
            if matrix.parameter.grad is not None:
                self._update(matrix, matrix.parameter.grad, group)
        self.rest.step()

    def _update(self, matrix: Matrix, gradient: Tensor, group: dict[str, Any]) -> None:
        parameter, state = matrix.parameter, self.state[matrix.parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        momentum.lerp_(gradient, 1 - group["momentum"])
        nesterov = full_matrix(gradient.lerp(momentum, group["momentum"]))
        update = torch.empty_like(nesterov)
        for part, out in zip(matrix.split(nesterov), matrix.split(update), strict=True):
            out.copy_(orthogonalized(part, self.dtype))
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(own_part(update, parameter), alpha=-group["lr"] * matrix.scale)


def orthogonalized(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The matrix with its singular values near 1 (about 0.7 to 1.2), by Newton-Schulz."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = (x / x.norm().clamp(min=SMALLEST_NORM)).to(dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def full_matrix(tensor: Tensor) -> Tensor:
    """The whole of a tensor that may be sharded over ranks (a `DTensor`, as under FSDP2).

    Muon needs all of a matrix; every rank gathers it and computes the same update, of which it then
    keeps `own_part`. Whoever shards a model has nothing else to do for it.
    """
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def own_part(whole: Tensor, like: Tensor) -> Tensor:
    """What of `whole` lies on this rank, sharded as `like` is; `whole` itself where it is not."""
    if getattr(like, "full_tensor", None) is None:
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        raise TypeError(f"a sharded tensor of an unknown kind: {type(like).__name__}")
    return distribute_tensor(whole, like.device_mesh, like.placements)
