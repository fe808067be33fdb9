"""Dropout that a CPU can afford.

PyTorch draws a number of 32 or more bits for each element, one after another. Here an element costs
16 bits, and the backward pass draws the same bits again from the stored seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

_LEVELS = 1 << 15
_LOW_15_BITS = 0x7FFF7FFF7FFF7FFF


class CheapDropout(nn.Dropout):
    """`nn.Dropout` with 16 random bits per element."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if not self.training or self.p == 0.0:
            return input
        return _Dropout.apply(input, Drop.of(self.p))  # type: ignore[no-any-return,no-untyped-call]


@dataclass(frozen=True)
class Drop:
    """A reproducible draw: `keep` of 2¹⁵ levels are kept, on bits that follow `seed`."""

    keep: int
    seed: int

    @classmethod
    def of(cls, share: float) -> Drop:
        """A draw that drops `share`, seeded by PyTorch's own generator."""
        return cls(round((1 - share) * _LEVELS), int(torch.empty((), dtype=torch.int64).random_()))

    @property
    def scale(self) -> float:
        """The factor on the kept elements, so that the mean stays the same."""
        return _LEVELS / self.keep

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)

    def mask(self, count: int, generator: torch.Generator) -> Tensor:
        """`count` int16: all bits set with the probability to keep, else none."""
        words = torch.empty(-(-count // 4), dtype=torch.int64)
        bits = words.random_(generator=generator).bitwise_and_(_LOW_15_BITS).view(torch.int16)
        return bits.sub_(self.keep).bitwise_right_shift_(15)[:count]


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, drop: Drop) -> Tensor:
        ctx.drop = drop
        return _dropped(values, drop)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return _dropped(gradients[0], ctx.drop), None


def _dropped(values: Tensor, drop: Drop) -> Tensor:
    result = values * drop.scale
    apply_mask(result, drop.mask(result.numel(), drop.generator()).view(result.shape))
    return result


def apply_mask(values: Tensor, mask: Tensor | None) -> None:
    """Zero `values` where the mask has no bits; bf16 bitwise, in one fast pass."""
    if mask is None:
        return
    if values.dtype.itemsize == 2:
        values.view(torch.int16).bitwise_and_(mask)
    else:
        values.view(torch.int32).bitwise_and_(mask.int())
