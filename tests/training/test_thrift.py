from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import GPT2LMHeadModel

from jagpt import recipe
from jagpt.models import build
from jagpt.training import thrift
from jagpt.training.loss import model_nats
from jagpt.training.thrift import make_thrifty

SPECIAL = build.SpecialIds(2, 3, 0)
IDS = torch.randint(0, 40, (3, 17), generator=torch.Generator().manual_seed(0))


def build(dropout: float = 0.0) -> GPT2LMHeadModel:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=32, n_positions=16, dropout=dropout)
    made = build.network(shape, 40, SPECIAL, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # so that no norm or bias is trivial
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return made.train()


def gradients(network: GPT2LMHeadModel, precision: str) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        loss = model_nats(network, IDS)
    loss.backward()
    found = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return loss.detach(), found


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_in_fp32_loss_and_gradients_are_the_same(dropout: float) -> None:
    plain, thrifty = build(dropout), build(dropout)
    make_thrifty(thrifty)
    (expected, theirs), (loss, ours) = gradients(plain, "fp32"), gradients(thrifty, "fp32")
    torch.testing.assert_close(loss, expected)
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        torch.testing.assert_close(ours[name], wanted, rtol=1e-4, atol=1e-5, msg=name)


def test_in_bf16_they_are_as_near_as_bf16_allows() -> None:
    plain, thrifty = build(), build()
    make_thrifty(thrifty)
    (expected, theirs), (loss, ours) = gradients(plain, "bf16"), gradients(thrifty, "bf16")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    for name, wanted in theirs.items():
        assert ours[name].dtype == torch.float32
        assert (ours[name] - wanted).norm() <= 0.02 * wanted.norm(), name


def test_gelu_and_its_slope_are_exact_wherever_they_are_asked_for() -> None:
    values = torch.linspace(-30, 30, 300_001, dtype=torch.float64).requires_grad_()
    given = torch.linspace(-2, 3, 300_001)
    expected = F.gelu(values, approximate="tanh")
    (slope,) = torch.autograd.grad(expected, values, given.double())
    single, given = values.detach().float().view(-1, 1), given.view(-1, 1)
    found = (
        thrift.gelu(single, torch.float32),
        *thrift.gelu_backward(single, given, torch.float32),
    )
    for ours, theirs in zip(found, (expected, expected, slope), strict=True):
        torch.testing.assert_close(ours[:, 0], theirs.detach().float(), rtol=2e-6, atol=2e-6)


def kept_bytes(network: GPT2LMHeadModel) -> int:
    """Bytes that autograd keeps of a forward pass, weights left out, each storage once."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    unpack: Callable[[Tensor], Tensor] = lambda tensor: tensor  # noqa: E731
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, unpack),
        torch.autocast("cpu", torch.bfloat16),
    ):
        network.transformer(IDS[:, :16])
    return sum(sizes.values())


def test_much_less_is_kept_for_the_way_back() -> None:
    thrifty = build()
    make_thrifty(thrifty)
    assert kept_bytes(thrifty) < 0.6 * kept_bytes(build())


def test_class_names_and_the_saved_function_stay() -> None:
    plain, thrifty = build().eval(), build().eval()
    make_thrifty(thrifty)
    assert type(thrifty) is GPT2LMHeadModel
    assert thrifty.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(thrifty(IDS[:, :16]).logits, plain(IDS[:, :16]).logits)


def test_another_class_is_left_alone() -> None:
    shape = recipe.Model(type="gpt_neo", n_layer=2, n_head=2, n_embd=32, n_positions=16)
    made = build.network(shape, 40, SPECIAL, 0)
    make_thrifty(made)
    assert not any("forward" in vars(module) for module in made.modules())
