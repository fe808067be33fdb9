"""The average of the weights of a run's last steps.

`tail` is their mean (Izmailov et al. 2018, arXiv:1803.05407, within one run); `ema` an exponential
moving average. Both are updated in place after each step from the plan's `average_start` on, in
fp32, so that (average, step) is all that a run needs to continue.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from jagpt.training.plan import Plan


class Average:
    """The average of a model's weights under their names; there is none before it begins."""

    def __init__(self, plan: Plan, model: nn.Module) -> None:
        self._start, self._train = plan.average_start, plan.train
        self._parameters = dict(model.named_parameters())
        self.tensors: dict[str, Tensor] = {}

    def begun(self, step: int) -> bool:
        """Whether the weights after `step` enter the average."""
        return self._start is not None and step >= self._start

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Include the weights after optimizer step `step`; call this after each."""
        if self._start is None or step < self._start:
            return
        weights = [parameter.detach() for parameter in self._parameters.values()]
        if step == self._start:
            clones = (weight.clone() for weight in weights)
            self.tensors = dict(zip(self._parameters, clones, strict=True))
            return
        share = 1 - self._train.average_decay
        if self._train.average == "tail":
            share = 1 / (step - self._start + 1)
        torch._foreach_lerp_(list(self.tensors.values()), weights, share)

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from a checkpoint's tensors under the model's names; none before it has
        begun.
        """
        self.tensors = {
            name: tensors[name].to(parameter.device, copy=True)
            for name, parameter in self._parameters.items()
            if tensors
        }

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model with the averaged weights inside the block; with its own if there are none."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, averaged in self.tensors.items():
            parameter = self._parameters[name]
            kept = parameter.detach().clone()
            parameter.copy_(averaged)
            averaged.copy_(kept)
