from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812

from jagpt.training.cpu.gelu import gelu, gelu_backward


def test_gelu_and_its_slope_are_exact_wherever_they_are_asked_for() -> None:
    values = torch.linspace(-30, 30, 300_001, dtype=torch.float64).requires_grad_()
    given = torch.linspace(-2, 3, 300_001)
    expected = F.gelu(values, approximate="tanh")
    (slope,) = torch.autograd.grad(expected, values, given.double())
    single, given = values.detach().float().view(-1, 1), given.view(-1, 1)
    found = (
        gelu(single, torch.float32),
        *gelu_backward(single, given, torch.float32),
    )
    for ours, theirs in zip(found, (expected, expected, slope), strict=True):
        torch.testing.assert_close(ours[:, 0], theirs.detach().float(), rtol=2e-6, atol=2e-6)
