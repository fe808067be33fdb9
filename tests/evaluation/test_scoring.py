from __future__ import annotations

from typing import Any

import fakes
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from jagpt.errors import JagptError, UsageError
from jagpt.evaluation.scoring import Scorer, choose, document_nats, sequence_nats
from jagpt.evaluation.texts import Encoded
from jagpt.evaluation.windows import Windows

V = 40
CPU = torch.device("cpu")


def gpt2() -> Any:
    torch.manual_seed(0)
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 32, "vocab_size": V}
    return GPT2LMHeadModel(GPT2Config(**shape, initializer_range=0.3, attn_implementation="sdpa"))


def llama() -> Any:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
            num_attention_heads=2, max_position_embeddings=32, initializer_range=0.3,
        )
    )  # fmt: skip


class Scaled(GPT2LMHeadModel):
    """A model whose logits are more than its output matrix."""

    def forward(self, *arguments: Any, **named: Any) -> Any:
        found = super().forward(*arguments, **named)
        found.logits = found.logits * 0.5
        return found


def scaled() -> Any:
    torch.manual_seed(0)
    return Scaled(gpt2().config)


def stream(count: int = 75) -> Encoded:
    tokens = np.random.default_rng(0).integers(0, V, count).astype(np.uint16)
    return Encoded(tokens, np.array([0, 20, 20, 50, count]))


def token_nats(model: Any, ids: list[int]) -> list[float]:
    """transformers' own logits, one sequence at a time."""
    with torch.no_grad():
        logits = model.eval()(torch.tensor([ids[:-1]])).logits[0]
    return torch.nn.functional.cross_entropy(
        logits, torch.tensor(ids[1:]), reduction="none"
    ).tolist()


@pytest.mark.parametrize("make", [gpt2, llama, scaled])
def test_nats_are_those_of_the_models_own_logits(make: Any) -> None:
    model, tokens = make(), stream().tokens.astype(np.int64)
    found = Scorer(make(), CPU, "fp32").nats(np.stack([tokens[:17], tokens[20:37]]), skipped=5)
    wanted = [token_nats(model, part.tolist())[5:] for part in (tokens[:17], tokens[20:37])]
    np.testing.assert_allclose(found, wanted, rtol=2e-5)


def test_the_head_is_taken_off_only_where_that_is_the_same() -> None:
    assert [Scorer(make(), CPU, "fp32")._split for make in (gpt2, llama, scaled)] == [
        True, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("stride", [8, 3])
def test_documents_get_the_nats_of_their_own_labels(stride: int) -> None:
    model, text = gpt2(), stream()
    nats, counts = np.zeros(4), np.zeros(4, dtype=int)
    for window in Windows(8, stride).over(text.n_tokens):
        ids = text.tokens[window.start : window.stop].tolist()
        for place, value in enumerate(token_nats(model, ids)[window.skipped :], window.first_label):
            owner = int(np.searchsorted([0, 20, 20, 50], place, side="right")) - 1
            nats[owner] += value
            counts[owner] += 1
    sizes = (np.ones(4, dtype=int), np.ones(4, dtype=int))
    found = document_nats(Scorer(gpt2(), CPU, "fp32"), text, Windows(8, stride), sizes)
    np.testing.assert_allclose(found.nats, nats, rtol=2e-5)
    assert found.tokens.tolist() == counts.tolist() == [19, 0, 30, 25]


@pytest.mark.parametrize("make", [gpt2, scaled])
def test_documents_may_be_kept_apart(make: Any) -> None:
    end, parts = V - 1, ([3, 4, 5, V - 1], [6, 7, 8])
    row = np.array([[*parts[0], *parts[1]]])
    found = Scorer(make(), CPU, "fp32", end_id=end).nats(row)[0]
    np.testing.assert_allclose(found[:3], token_nats(make(), parts[0]), rtol=2e-5)
    np.testing.assert_allclose(found[4:], token_nats(make(), parts[1]), rtol=2e-5)


def test_a_batch_of_unequal_lengths_changes_no_sequence() -> None:
    model, tokens = gpt2(), stream().tokens.tolist()
    sequences = [tokens[:5], tokens[3:30], tokens[10:12], tokens[40:50]]
    done: list[int] = []
    found = sequence_nats(Scorer(gpt2(), CPU, "fp32"), sequences, done.append)
    wanted = [sum(token_nats(model, sequence)) for sequence in sequences]
    np.testing.assert_allclose(found, wanted, rtol=2e-5)
    assert sum(done) == 4


def test_bf16_is_near() -> None:
    sizes = (np.ones(4, dtype=int), np.ones(4, dtype=int))
    exact, near = (
        document_nats(Scorer(gpt2(), CPU, kind), stream(), Windows(8, 8), sizes).loss
        for kind in ("fp32", "bf16")
    )
    assert near != exact
    assert near == pytest.approx(exact, rel=5e-3)


def test_a_broken_model_is_told() -> None:
    model = gpt2()
    with torch.no_grad():
        model.transformer.wte.weight[3] = float("nan")
    with pytest.raises(JagptError, match="not finite"):
        document_nats(Scorer(model, CPU, "fp32"), stream(), Windows(8, 8), (np.ones(4), np.ones(4)))
    with pytest.raises(JagptError, match="not finite"):
        sequence_nats(Scorer(model, CPU, "fp32"), [[1, 2], [4, 5, 6]], lambda _: None)


def test_auto_takes_bf16_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, wanted in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr("jagpt.devices.cpu_bf16", lambda there=there: there)
        assert choose("cpu", "auto", "--precision") == (CPU, wanted)
    assert choose("cpu", "fp32", "--precision") == (CPU, "fp32")


def test_bf16_on_a_gpu_without_it_names_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes.cuda(monkeypatch, {"Tesla T4": (7, 5)}, bf16=False)
    assert choose("auto", "auto") == (torch.device("cuda"), "fp32")
    with pytest.raises(UsageError, match=r"evaluate\.precision"):
        choose("auto", "bf16", ("execution.device", "evaluate.precision"))
