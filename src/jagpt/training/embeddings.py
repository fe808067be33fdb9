"""Initial embeddings from counts in the text, instead of random numbers.

Shapes: n tokens counted, V pieces of the vocabulary, D the network's width.

The pieces' vectors factorize their pointwise mutual information within a window, as word vectors
do (Levy and Goldberg 2014, https://papers.nips.cc/paper/5477), and the last norm's bias makes the
first prediction the pieces' frequencies (Meister et al. 2023, https://arxiv.org/abs/2212.09686).
Both are counted in seconds, while a network takes hundreds of steps to learn them.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from transformers import PreTrainedModel

from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.tokens.dataset import TrainingOrder
from jagpt.training.distributed import Group

WINDOW = 2
"""Pieces at most this far apart are counted as a pair, with a weight of 1 / distance."""
SMOOTHING = 0.75
"""Exponent for a context's frequency (Levy, Goldberg and Dagan 2015): rare pairs weigh less."""
DEVIATION = 0.05
"""Standard deviation of the vectors' coordinates; GPT-2's random ones have 0.02."""
FREQUENCY_SCALE = 0.1
"""The embeddings' first coordinate, per nat of a piece's logarithmic frequency."""
ITERATIONS = 4
"""Size of the subspace that the factors are taken from (Halko et al. 2011)."""


def begin(
    recipe: Recipe, network: PreTrainedModel, order: TrainingOrder, group: Group, progress: Progress
) -> None:
    """Embeddings from the text, computed by rank 0 and shared with all."""
    changed = parameters(network)
    with group.together():
        if group.main:
            ids = first_tokens(order, recipe.model.embeddings_tokens)
            progress.say(f"embeddings from frequencies and neighbours in {len(ids):,} tokens")
            begin_with(network, ids, recipe.train.seed)
    for parameter in changed:
        mine = parameter.detach().cpu() if group.main else None
        with torch.no_grad():
            parameter.copy_(group.share_tensor(mine, parameter.shape, parameter.dtype))


@torch.no_grad()
def begin_with(model: PreTrainedModel, ids: Tensor, seed: int) -> None:
    """Set `parameters` of a new GPT-2 or GPT-Neo from `ids` (n,) int64.

    Pieces missing from `ids` keep their random vectors.
    """
    pieces, norm_weight, norm_bias = parameters(model)
    vocab_size, width = pieces.shape
    vectors = piece_vectors(ids, vocab_size, width, seed).to(pieces)
    known = vectors.any(dim=1)
    pieces[known] = vectors[known]
    pieces[:, 0] = FREQUENCY_SCALE * log_frequencies(ids, vocab_size).to(pieces)
    norm_weight[0], norm_bias[0] = 0.0, 1 / FREQUENCY_SCALE


def parameters(model: PreTrainedModel) -> list[Parameter]:
    """Embeddings of pieces (V, D), weight (D,) and bias (D,) of the last norm."""
    body: Any = model.base_model
    return [body.wte.weight, body.ln_f.weight, body.ln_f.bias]


def first_tokens(order: TrainingOrder, count: int) -> Tensor:
    """About the first `count` tokens of a run's order, at most an epoch's, as (n,) int64."""
    sequences = min(count // order.block_size, int(order.sequences_per_epoch))
    return torch.from_numpy(order.sequences(0, max(sequences, 1))[:, 1:].ravel())


def log_frequencies(ids: Tensor, vocab_size: int) -> Tensor:
    """Logarithms of the pieces' frequencies (V,), their mean subtracted."""
    logarithms = torch.log(torch.bincount(ids, minlength=vocab_size) + 0.5)
    return logarithms - logarithms.mean()


def piece_vectors(ids: Tensor, vocab_size: int, width: int, seed: int) -> Tensor:
    """Vectors (V, D) of equal length whose products follow the pieces' mutual information.

    Shorter for a piece about which almost nothing is known, zero for one that occurs with no other.
    In float64 and without the arbitrary signs of eigenvectors: machines differ in little but
    rounding.
    """
    generator = torch.Generator().manual_seed(seed)
    rank = min(width, vocab_size)
    information = mutual_information(pair_counts(ids, vocab_size))
    basis = torch.randn(vocab_size, rank, generator=generator, dtype=torch.float64)
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(information @ basis)[0]
    values, inner = torch.linalg.eigh(basis.T @ (information @ basis))
    root = (inner * values.clamp(min=0).sqrt()) @ inner.T
    turn = torch.randn(width, rank, generator=generator, dtype=torch.float64)
    vectors = basis @ root @ torch.linalg.qr(turn)[0].T
    lengths = vectors.norm(dim=1, keepdim=True)
    divisors = lengths.clamp(min=0.1 * lengths.mean().item())
    scaled: Tensor = vectors / divisors * (DEVIATION * math.sqrt(width))
    return scaled


def pair_counts(ids: Tensor, vocab_size: int) -> Tensor:
    """How often two pieces occur within `WINDOW`, closer ones weighing more: sparse (V, V)."""
    shape = (vocab_size, vocab_size)
    counts = _sparse(torch.empty(2, 0, dtype=torch.int64), torch.empty(0), shape)
    for distance in range(1, WINDOW + 1):
        pairs = torch.stack([ids[:-distance], ids[distance:]])
        counts = counts + _sparse(pairs, torch.full((pairs.shape[1],), 1 / distance), shape)
    return (counts + counts.T).coalesce()


def mutual_information(counts: Tensor) -> Tensor:
    """The positive part of log p(a, b) / (p(a) · p(b)), smoothed, of symmetric counts: CSR."""
    sums = counts.sum(dim=1).to_dense()
    smoothed = sums.pow(SMOOTHING)
    expected = (sums * smoothed / smoothed.sum()).sqrt()  # the geometric mean of both directions
    pairs = counts.indices()
    first, second = pairs
    values = torch.log(counts.values() / (expected[first] * expected[second]))
    positive = values > 0
    kept = _sparse(pairs[:, positive], values[positive], counts.shape)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return kept.to_sparse_csr()


def _sparse(pairs: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A sparse matrix of float64; values of equal pairs are added."""
    return torch.sparse_coo_tensor(pairs, values.double(), shape, check_invariants=True).coalesce()
