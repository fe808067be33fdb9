from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers import PreTrainedModel

from jagpt import recipe
from jagpt.models import build
from jagpt.training.loss import (
    Lesson,
    document_positions,
    model_nats,
    separates_documents,
    vocabulary_nats,
)

N, D, V = 37, 12, 50


@pytest.fixture
def tensors() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, D, generator=generator).requires_grad_()
    weight = torch.randn(V, D, generator=generator).requires_grad_()
    return hidden, weight, torch.randint(V, (N,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 8, 36, 37, 100, None])
def test_loss_and_gradients_are_those_of_cross_entropy(
    tensors: tuple[Tensor, Tensor, Tensor], chunk: int | None
) -> None:
    hidden, weight, labels = tensors
    expected = F.cross_entropy(hidden @ weight.T, labels)
    gradients = torch.autograd.grad(expected, (hidden, weight))
    found = vocabulary_nats(hidden, weight, labels, torch.tensor(1 / N), chunk)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found, (hidden, weight)), gradients)


def test_what_follows_the_loss_reaches_the_gradients(
    tensors: tuple[Tensor, Tensor, Tensor],
) -> None:
    hidden, weight, labels = tensors
    expected = torch.autograd.grad(
        3 * F.cross_entropy(hidden @ weight.T, labels, reduction="sum"), hidden
    )
    found = torch.autograd.grad(3 * vocabulary_nats(hidden, weight, labels), hidden)
    torch.testing.assert_close(found, expected)


def test_gradients_are_the_same_where_the_matrix_gets_its_own_at_once(
    tensors: tuple[Tensor, Tensor, Tensor],
) -> None:
    hidden, weight, labels = tensors
    scale = torch.tensor(1 / N)
    expected = torch.autograd.grad(vocabulary_nats(hidden, weight, labels, scale), (hidden, weight))
    for times in (1, 2):  # a step's second micro-batch adds to the first one's
        hidden.grad = None
        found = vocabulary_nats(hidden, weight, labels, scale, at_once=True)
        torch.testing.assert_close(weight.grad, times * expected[1])
        found.backward()
        torch.testing.assert_close(hidden.grad, expected[0])
        torch.testing.assert_close(weight.grad, times * expected[1])


@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("chunk", [8, None])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_lesson_adds_its_distance_from_the_teachers_mean(
    tensors: tuple[Tensor, Tensor, Tensor], temperature: float, chunk: int | None, at_once: bool
) -> None:
    hidden, weight, labels = tensors
    generator = torch.Generator().manual_seed(1)
    theirs = [torch.randn(N, width, generator=generator) for width in (D, 5)]
    matrices = [torch.randn(V, width, generator=generator) for width in (D, 5)]
    logits = hidden @ weight.T
    chances = [
        F.softmax(rows @ matrix.T / temperature, -1)
        for rows, matrix in zip(theirs, matrices, strict=True)
    ]
    apart = F.kl_div(
        F.log_softmax(logits / temperature, -1), torch.stack(chances).mean(0), reduction="sum"
    )
    expected = (F.cross_entropy(logits, labels, reduction="sum") + 3 * temperature**2 * apart) / N
    gradients = torch.autograd.grad(expected, (hidden, weight))
    lesson = Lesson(tuple(theirs), tuple(matrices), temperature, 3.0)
    found = vocabulary_nats(
        hidden, weight, labels, torch.tensor(1 / N), chunk, at_once=at_once, lesson=lesson
    )
    torch.testing.assert_close(found, expected)
    found.backward()
    torch.testing.assert_close(hidden.grad, gradients[0])
    torch.testing.assert_close(weight.grad, gradients[1])


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_teacher_that_says_the_same_changes_nothing(
    tensors: tuple[Tensor, Tensor, Tensor], temperature: float
) -> None:
    hidden, weight, labels = tensors
    lesson = Lesson((hidden.detach(),), (weight.detach(),), temperature, 5.0)
    own = vocabulary_nats(hidden, weight, labels)
    taught = vocabulary_nats(hidden, weight, labels, lesson=lesson)
    torch.testing.assert_close(taught, own)
    torch.testing.assert_close(
        torch.autograd.grad(taught, (hidden, weight)), torch.autograd.grad(own, (hidden, weight))
    )


@pytest.mark.parametrize("at_once", [False, True])
def test_a_frozen_output_matrix_gets_no_gradient(
    tensors: tuple[Tensor, Tensor, Tensor], at_once: bool
) -> None:
    hidden, weight, labels = tensors
    frozen = weight.detach()
    vocabulary_nats(hidden, frozen, labels, at_once=at_once).backward()
    assert hidden.grad is not None
    assert frozen.grad is None


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_without_gradients_the_loss_is_the_same_and_none_is_made(
    tensors: tuple[Tensor, Tensor, Tensor], mode: type[torch.no_grad]
) -> None:
    hidden, weight, labels = tensors
    expected = vocabulary_nats(hidden, weight, labels, chunk=10)
    with mode():
        found = vocabulary_nats(hidden, weight, labels, chunk=10, at_once=True)
    torch.testing.assert_close(found, expected)
    assert weight.grad is None


def test_in_bf16_loss_and_gradients_are_those_of_autocast(
    tensors: tuple[Tensor, Tensor, Tensor],
) -> None:
    hidden, weight, labels = tensors
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = F.cross_entropy(F.linear(hidden, weight).float(), labels)
        found = vocabulary_nats(hidden, weight, labels, torch.tensor(1 / N), 10)
    torch.testing.assert_close(found, expected)
    wanted = torch.autograd.grad(expected, (hidden, weight))
    for ours, theirs in zip(torch.autograd.grad(found, (hidden, weight)), wanted, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.01 * theirs.norm()


def test_an_almost_certain_label_keeps_its_gradient_in_bf16() -> None:
    hidden, weight = torch.full((1, 1), 8.0, requires_grad=True), torch.tensor([[1.0], [0.0]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(
            vocabulary_nats(hidden, weight, torch.tensor([0])), hidden
        )
    exact = torch.sigmoid(torch.tensor(8.0)).item() - 1
    assert gradient.item() == pytest.approx(exact, rel=0.01)


def test_a_model_s_nats_are_transformers_own_loss() -> None:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=16, n_positions=8)
    network = build.network(shape, 40, build.SpecialIds(2, 3, 0), 0).eval()
    sequences = torch.randint(1, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    logits = network(sequences[:, :-1]).logits
    expected = F.cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(model_nats(network, sequences), expected)


END = 3


@pytest.fixture(params=["gpt2", "gpt_neo", "llama"])
def network(request: pytest.FixtureRequest) -> PreTrainedModel:
    shape = recipe.Model(type=request.param, n_layer=2, n_head=2, n_embd=16, n_positions=12)
    return build.network(shape, 40, build.SpecialIds(2, END, 0), 0).eval()


def test_positions_restart_behind_each_end_token_and_in_each_row() -> None:
    inputs = torch.tensor([[9, 9, END, 9, 9, 9], [END, END, 9, END, 9, END], [9, 9, 9, 9, 9, 9]])
    found = document_positions(inputs, END)
    assert found.tolist() == [[0, 1, 2, 0, 1, 2], [0, 0, 0, 1, 0, 1], [0, 1, 2, 3, 4, 5]]


def test_a_document_s_logits_are_the_same_alone_and_packed(
    network: PreTrainedModel,
) -> None:
    generator = torch.Generator().manual_seed(2)
    lengths = [[4, 1, 7], [2, 10], [12]]
    rows = [
        [torch.cat([torch.randint(6, 40, (n - 1,), generator=generator), torch.tensor([END])])
         for n in row]
        for row in lengths
    ]  # fmt: skip
    packed = torch.stack([torch.cat(row) for row in rows])
    with torch.no_grad():
        positions = document_positions(packed, END)
        together = network(packed, position_ids=positions, use_cache=False).logits
        for found, row in zip(together, rows, strict=True):
            alone = torch.cat([network(document[None]).logits[0] for document in row])
            torch.testing.assert_close(found, alone)
            if len(row) > 1:
                assert not torch.allclose(network(torch.cat(row)[None]).logits[0], alone)


def test_masked_nats_and_gradients_are_the_sums_of_the_documents_own(
    network: PreTrainedModel,
) -> None:
    packed = torch.tensor([[7, 8, 9, END, 10, 11, END, 12], [13, END, 14, 15, 16, 17, 18, END]])
    # a document's last label is the next one's first token
    documents = [packed[0, :5], packed[0, 4:8], packed[1, :3], packed[1, 2:]]
    alone = torch.stack([model_nats(network, some[None]) for some in documents]).sum()
    masked = model_nats(network, packed, end_id=END)
    torch.testing.assert_close(masked, alone)
    weights = list(network.parameters())
    for found, expected in zip(
        torch.autograd.grad(masked, weights), torch.autograd.grad(alone, weights), strict=True
    ):
        torch.testing.assert_close(found, expected)
    assert not torch.isclose(model_nats(network, packed), alone)


def test_a_class_that_does_not_separate_documents_is_found_out(
    network: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.train()
    assert separates_documents(network, END)
    assert network.training
    own = network.base_model.forward
    monkeypatch.setattr(network.base_model, "forward", lambda position_ids, **values: own(**values))
    assert not separates_documents(network, END)


def test_a_class_without_positions_is_trained_but_not_masked() -> None:
    shape = recipe.Model(type="bloom", n_layer=1, n_head=2, n_embd=16, n_positions=12)
    bloom = build.network(shape, 40, build.SpecialIds(2, END, 0), 0).eval()
    assert not separates_documents(bloom, END)
    assert torch.isfinite(model_nats(bloom, torch.tensor([[7, 8, END, 9]])))
