from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import GPT2LMHeadModel

from jagpt import recipe
from jagpt.models import build
from jagpt.training.cpu.recomputation import recompute
from jagpt.training.loss import model_nats

SPECIAL = build.SpecialIds(2, 3, 0)
IDS = torch.randint(0, 40, (3, 17), generator=torch.Generator().manual_seed(0))


def network(dropout: float = 0.0) -> GPT2LMHeadModel:
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
    plain, recomputing = network(dropout), network(dropout)
    recompute(recomputing)
    (expected, theirs), (loss, ours) = gradients(plain, "fp32"), gradients(recomputing, "fp32")
    torch.testing.assert_close(loss, expected)
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        torch.testing.assert_close(ours[name], wanted, rtol=1e-4, atol=1e-5, msg=name)


def test_in_bf16_they_are_as_near_as_bf16_allows() -> None:
    plain, recomputing = network(), network()
    recompute(recomputing)
    (expected, theirs), (loss, ours) = gradients(plain, "bf16"), gradients(recomputing, "bf16")
    assert loss.item() == pytest.approx(expected.item(), rel=1e-3)
    for name, wanted in theirs.items():
        assert ours[name].dtype == torch.float32
        assert (ours[name] - wanted).norm() <= 0.02 * wanted.norm(), name


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
    recomputing = network()
    recompute(recomputing)
    assert kept_bytes(recomputing) < 0.6 * kept_bytes(network())


def test_class_names_and_the_saved_function_stay() -> None:
    plain, recomputing = network().eval(), network().eval()
    recompute(recomputing)
    assert type(recomputing) is GPT2LMHeadModel
    assert recomputing.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(recomputing(IDS[:, :16]).logits, plain(IDS[:, :16]).logits)


def test_another_class_is_left_alone() -> None:
    shape = recipe.Model(type="gpt_neo", n_layer=2, n_head=2, n_embd=32, n_positions=16)
    plain = build.network(shape, 40, SPECIAL, 0)
    recompute(plain)
    assert not any("forward" in vars(module) for module in plain.modules())
