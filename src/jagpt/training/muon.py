"""Muon: the momentum of a matrix, orthogonalized, is its update.

Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/; the iteration, its coefficients and
the scale of an update are those of https://github.com/KellerJordan/Muon, which `torch.optim.Muon`
follows too. Ours differs in what a matrix is (`matrices`): Q, K and V of a fused `c_attn`, and each
expert's, are orthogonalized separately.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import AdamW, Optimizer

from jagpt.training.matrices import Matrix

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_NORM = 1e-7


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

    def orthogonalizes(self, parameter: Parameter) -> bool:
        """Whether a weight is one of the matrices."""
        return any(matrix.parameter is parameter for matrix in self.matrices)

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
        scale, parts = matrix.scales[0], []
        for part, own_scale in zip(matrix.split(nesterov), matrix.scales, strict=True):
            orthogonal = orthogonalized(part, self.dtype).to(nesterov.dtype)
            parts.append(orthogonal if own_scale == scale else orthogonal * (own_scale / scale))
        update = own_part(matrix.join(parts), parameter)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update, alpha=-group["lr"] * scale)


def orthogonalized(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """A matrix, or each of a stack, with its singular values near 1 (0.7 to 1.2): Newton-Schulz."""
    a, b, c = COEFFICIENTS
    stacked = matrix.dim() > 2
    product = torch.baddbmm if stacked else torch.addmm
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = matrix.mT if tall else matrix
    norm = torch.linalg.matrix_norm(x, keepdim=True) if stacked else x.norm()
    x = (x / norm.clamp(min=SMALLEST_NORM)).to(dtype)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = product(x, product(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def full_matrix(tensor: Tensor) -> Tensor:
    """The full tensor of one that may be sharded over ranks (a `DTensor`, as under FSDP2).

    Muon needs the full matrix; every rank gathers it and computes the same update, of which it then
    keeps `own_part`. Sharding a model needs nothing else.
    """
    gather = getattr(tensor, "full_tensor", None)
    return tensor if gather is None else gather()


def own_part(whole: Tensor, like: Tensor) -> Tensor:
    """The part of `whole` on this rank, sharded like `like`; `whole` itself if that is not
    sharded.
    """
    if getattr(like, "full_tensor", None) is None:
        return whole
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(like, DTensor):
        raise TypeError(f"a sharded tensor of an unknown kind: {type(like).__name__}")
    return distribute_tensor(whole, like.device_mesh, like.placements)
