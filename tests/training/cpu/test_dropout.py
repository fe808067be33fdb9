from __future__ import annotations

import pytest
import torch

from jagpt.training.cpu.dropout import CheapDropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_hidden_dropout_has_the_share_the_mean_and_the_gradient(dtype: torch.dtype) -> None:
    values = torch.ones(1001, 333, dtype=dtype, requires_grad=True)
    result = CheapDropout(0.1)(values)
    kept = result != 0
    assert kept.float().mean().item() == pytest.approx(0.9, abs=0.002)
    assert result.float().mean().item() == pytest.approx(1.0, abs=0.005)
    assert len(result[kept].unique()) == 1
    neighbours = torch.corrcoef(
        torch.stack([kept[:, i::4].float()[:, :83].flatten() for i in range(4)])
    )
    assert neighbours.fill_diagonal_(0).abs().max() < 0.02
    result.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, result.detach())


def test_the_same_seed_draws_the_same_and_the_next_call_another() -> None:
    layer, values = CheapDropout(0.5), torch.ones(64, 64)
    torch.manual_seed(3)
    first, second = layer(values), layer(values)
    torch.manual_seed(3)
    assert torch.equal(layer(values), first)
    assert not torch.equal(first, second)
    assert torch.equal(layer.eval()(values), values)
