from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tiny_training import Heard, logged_rows, make_recipe
from torch import Tensor
from transformers import GPT2LMHeadModel

from jagpt import models, recipe
from jagpt.errors import RecipeError
from jagpt.models import build
from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.tokens.dataset import TokenSplit, TrainingOrder
from jagpt.training import embeddings, session
from jagpt.training.embeddings import WINDOW
from jagpt.training.loss import model_nats

MakeRun = Callable[..., RunDirectory]
VOCAB, WIDTH = 40, 16
UNSEEN = 39


@pytest.fixture
def network() -> GPT2LMHeadModel:
    shape = recipe.Model(n_layer=2, n_head=2, n_embd=WIDTH, n_positions=8, dropout=0.0)
    return build.network(shape, VOCAB, build.SpecialIds(2, 3, 0), 0)


@pytest.fixture
def ids() -> Tensor:
    """Two topics that take turns of 50 tokens, one of the even pieces and one of the odd."""
    generator = torch.Generator().manual_seed(0)
    draws = (30 * torch.rand(20_000, generator=generator) ** 2).long()
    topics = torch.arange(len(draws)) // 50 % 2
    return draws // 2 * 2 + topics


def test_pairs_are_counted_both_ways_and_by_distance() -> None:
    counts = embeddings.pair_counts(torch.tensor([1, 2, 3, 1, 2]), 5).to_dense()
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for first, second, weight in [(1, 2, 2.0), (2, 3, 1.0), (3, 1, 1.0), (1, 3, 0.5), (2, 1, 0.5),
                                  (3, 2, 0.5)]:  # fmt: skip
        expected[first, second] += weight
        expected[second, first] += weight
    assert WINDOW == 2
    torch.testing.assert_close(counts, expected)


def test_information_is_what_pairs_occur_more_often_than_by_chance() -> None:
    counts = torch.tensor([[8.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 4.0]]).double()
    found = embeddings.mutual_information(counts.to_sparse()).to_dense()
    sums = counts.sum(1)
    smoothed = sums**0.75
    for first in range(3):
        for second in range(3):
            one = sums[first] * smoothed[second] / smoothed.sum()
            other = sums[second] * smoothed[first] / smoothed.sum()
            ratio = counts[first, second] / math.sqrt(one * other)
            expected = max(0.0, math.log(ratio)) if ratio else 0.0
            assert found[first, second].item() == pytest.approx(expected)
    assert found[0, 1] == 0 < found[0, 0]


def test_pieces_that_stand_together_have_like_vectors(ids: Tensor) -> None:
    vectors = embeddings.piece_vectors(ids, VOCAB, WIDTH, 0)
    even, odd = vectors[0:20:2], vectors[1:20:2]
    within = [(part @ part.T).mean().item() for part in (even, odd)]
    assert min(within) > 4 * (even @ odd.T).abs().mean().item()
    lengths = vectors[:30].norm(dim=1)
    torch.testing.assert_close(lengths, torch.full_like(lengths, embeddings.DEVIATION * 4))
    assert not vectors[UNSEEN].any()


def test_vectors_depend_on_tokens_and_seed_alone(ids: Tensor) -> None:
    first = embeddings.piece_vectors(ids, VOCAB, WIDTH, 5)
    torch.manual_seed(1)
    assert torch.equal(first, embeddings.piece_vectors(ids, VOCAB, WIDTH, 5))
    assert not torch.allclose(first, embeddings.piece_vectors(ids, VOCAB, WIDTH, 6))


def test_a_width_beyond_the_vocabulary_loses_nothing(ids: Tensor) -> None:
    products = []
    for seed in (5, 6):  # other directions, the same products
        vectors = embeddings.piece_vectors(ids, VOCAB, 64, seed)
        assert vectors.shape == (VOCAB, 64)
        products.append(vectors @ vectors.T)
    torch.testing.assert_close(*products)


def test_the_first_prediction_is_the_pieces_frequencies(
    network: GPT2LMHeadModel, ids: Tensor
) -> None:
    before = network.transformer.wte.weight.detach().clone()
    embeddings.begin_with(network, ids, 0)
    after = network.transformer.wte.weight.detach()
    assert torch.equal(before[UNSEEN, 1:], after[UNSEEN, 1:])
    logits = network(input_ids=ids[None, :8]).logits[0, -1]
    frequencies = (torch.bincount(ids, minlength=VOCAB) + 0.5) / (len(ids) + 0.5 * VOCAB)
    distance = (frequencies * (frequencies.log() - logits.log_softmax(0))).sum().item()
    uniform = (frequencies * (frequencies * VOCAB).log()).sum().item()
    assert distance < uniform / 5


def test_the_first_tokens_are_those_of_the_runs_first_steps(make_run: MakeRun) -> None:
    split = TokenSplit.open(make_run().tokens, "train")
    order = TrainingOrder(split, block_size=16, order="documents", seed=3, shuffle_buffer=1)
    expected = torch.from_numpy(order.sequences(0, 4)[:, 1:].ravel())
    assert torch.equal(embeddings.first_tokens(order, 4 * 16 + 5), expected)
    assert len(embeddings.first_tokens(order, 1)) == 16
    epoch = int(order.sequences_per_epoch) * 16
    assert len(embeddings.first_tokens(order, 10**9)) == epoch


def test_a_run_that_begins_with_the_text_is_better_from_the_start(make_run: MakeRun) -> None:
    losses = {}
    for kind in ("random", "text"):
        run, heard = make_run(kind), Heard()
        made = make_recipe(max_steps=4, model={"embeddings": kind, "embeddings_tokens": 640})
        session.run(made, run, heard)
        losses[kind] = logged_rows(run)[0]["loss"]
        said = [text for text in heard.lines if "640 tokens" in text]
        assert len(said) == (kind == "text")
    assert losses["text"] < losses["random"] - 0.05


def test_gpt_neo_begins_with_the_text_too(make_run: MakeRun) -> None:
    run = make_run()
    session.run(
        make_recipe(max_steps=2, model={"embeddings": "text", "type": "gpt_neo"}), run, QUIET
    )
    trained = models.open(run.own("train") / "step-00000002").network
    assert trained.transformer.ln_f.bias[0].item() == pytest.approx(10.0, abs=0.1)
    assert model_nats(trained, torch.full((1, 9), 7)).isfinite()


@pytest.mark.parametrize(
    "line", ['type = "llama"', 'from = "elsewhere"', "config.tie_word_embeddings = false"]
)
def test_what_has_no_such_embeddings_is_refused(line: str) -> None:
    text = 'name = "x"\n[[corpus.source]]\nname = "x"\nkind = "text"\npath = "x.txt"\n'
    text += f'[model]\nembeddings = "text"\n{line}\n[train]\nmax_steps = 1\n'
    with pytest.raises(RecipeError, match=r"\[model\] embeddings: found 'text'"):
        recipe.parse(text)
