"""How much of what a model writes occurs verbatim in its training corpus.

A fixed sample is drawn, and every span of 50 characters in it is looked up in one pass over the
train split. Spans are found by a rolling hash of each document's characters, and matches are
compared, so that the answer is exact; memory holds the sample and one document.

White space does not count and both sides are normalized to NFKC: a tokenizer may have joined lines
or normalized, and a passage that differs in a line break is still memorized.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jagpt.corpus.shards import read_rows, split_shards
from jagpt.evaluation.result import Memorization
from jagpt.progress import Progress
from jagpt.rundir import RunDirectory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from jagpt.tokens.dataset import TokenSplit

SPAN = 50
"""Characters of a span (Carlini et al. 2023, arXiv:2202.07646, take 50 tokens of English)."""
PROMPT_TOKENS = 8
NEW_TOKENS = 128
TOP_K, TOP_P = 50, 0.95
SEED = 1000
SAMPLES_AT_ONCE = 32
TABLE_BITS = 20

Hashes = npt.NDArray[np.uint64]
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_MIX = np.uint64(0xBF58476D1CE4E5B9)


def measure(
    network: PreTrainedModel,
    split: TokenSplit,
    run: RunDirectory,
    samples: int,
    progress: Progress,
) -> Memorization:
    """Share of the generated spans that the train split contains.

    Each of `samples` continuations begins with the first tokens of a document of `split`, which do
    not count; sampled with top-k 50 and top-p 0.95 from a fixed seed.
    """
    texts = _generated(network, split, run, samples, progress)
    spans = [span for text in texts for span in spans_of(fold(text))]
    shards = split_shards(run.corpus, "train")
    with progress.bar("evaluate memorization", len(shards), "shards") as bar:
        finder = SpanFinder(spans)
        for shard in shards:
            finder.search(row["text"] for row in read_rows(shard, ("text",)))
            bar.advance()
    found = sum(span in finder.found for span in spans)
    return Memorization(
        span_characters=SPAN,
        samples=len(texts),
        spans=len(spans),
        found=found,
        share=found / len(spans) if spans else 0.0,
    )


def fold(text: str) -> str:
    """`text` in NFKC without white space."""
    return "".join(unicodedata.normalize("NFKC", text).split())


def spans_of(text: str) -> list[str]:
    """Every span of `SPAN` characters."""
    return [text[start : start + SPAN] for start in range(len(text) - SPAN + 1)]


class SpanFinder:
    """Looks for spans of `SPAN` characters in texts; `found` holds the matches."""

    def __init__(self, spans: Iterable[str]) -> None:
        self._wanted = set(spans)
        hashes = [_hashes(_codes(span)) for span in self._wanted]
        self._hashes = np.sort(np.concatenate([*hashes, np.empty(0, dtype=np.uint64)]))
        self._table = np.zeros(1 << TABLE_BITS, dtype=bool)  # quickly rules out most spans
        self._table[self._hashes >> np.uint64(64 - TABLE_BITS)] = True
        self.found: set[str] = set()

    def search(self, texts: Iterable[str]) -> None:
        """Search the texts."""
        if not self._wanted:
            return
        for text in texts:
            self._search_one(fold(text))

    def _search_one(self, text: str) -> None:
        if len(text) < SPAN:
            return
        hashes = _hashes(_codes(text))
        likely = np.flatnonzero(self._table[hashes >> np.uint64(64 - TABLE_BITS)])
        places = np.searchsorted(self._hashes, hashes[likely])
        same = self._hashes[np.minimum(places, len(self._hashes) - 1)] == hashes[likely]
        for start in likely[same]:
            span = text[start : start + SPAN]
            if span in self._wanted:
                self.found.add(span)


def _codes(text: str) -> Hashes:
    """Code points (N,)."""
    return np.frombuffer(text.encode("utf-32-le", "replace"), dtype="<u4").astype(np.uint64)


def _hashes(codes: Hashes) -> Hashes:
    """A hash of each span of `SPAN` characters, (N − SPAN + 1,), equal for equal spans.

    Σ code · base^place modulo 2^64 as a difference of running sums, shifted back by base^−start.
    """
    with np.errstate(over="ignore"):
        sums = np.zeros(len(codes) + 1, dtype=np.uint64)
        np.cumsum(codes * _powers(_BASE, len(codes)), out=sums[1:])
        back = _powers(_INVERSE, len(codes) - SPAN + 1)
        mixed: Hashes = (sums[SPAN:] - sums[:-SPAN]) * back
        mixed = (mixed ^ (mixed >> np.uint64(31))) * _MIX
        return mixed ^ (mixed >> np.uint64(29))


def _powers(base: np.uint64, count: int) -> Hashes:
    """base^0 … base^(count − 1) modulo 2^64."""
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))


# --- the sample -----------------------------------------------------------------------------------


def _generated(
    network: PreTrainedModel,
    split: TokenSplit,
    run: RunDirectory,
    samples: int,
    progress: Progress,
) -> list[str]:
    import torch

    from jagpt.models import load_tokenizer
    from jagpt.models.quiet import quiet

    new_tokens = min(NEW_TOKENS, int(network.config.max_position_embeddings) - PROMPT_TOKENS)
    prompts = _prompts(split, samples) if new_tokens > 0 else []
    texts: list[str] = []
    with (
        progress.bar("evaluate samples", len(prompts), "samples") as bar,
        quiet(),
        torch.inference_mode(),
        torch.random.fork_rng(),
    ):
        decoder = load_tokenizer(run.tokenizer)
        torch.manual_seed(SEED)
        for start in range(0, len(prompts), SAMPLES_AT_ONCE):
            batch = np.stack(prompts[start : start + SAMPLES_AT_ONCE])
            rows = _continued(network, batch, new_tokens, split.end_id)
            texts += decoder.batch_decode(
                rows, skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            bar.advance(len(batch))
    return texts


def _prompts(split: TokenSplit, count: int) -> list[npt.NDArray[np.int64]]:
    """The first tokens of documents that are long enough, spread evenly over the split.

    If there are fewer than `count`, they begin several continuations.
    """
    starts = split.document_starts
    long_enough = starts[:-1][np.diff(starts) > PROMPT_TOKENS]
    if not len(long_enough):
        return []
    spread = np.linspace(0, len(long_enough) - 1, min(count, len(long_enough)), dtype=int)
    chosen = np.resize(long_enough[spread], count)
    return [split.slice(int(start), int(start) + PROMPT_TOKENS) for start in chosen]


def _continued(
    network: PreTrainedModel, prompts: npt.NDArray[np.int64], new_tokens: int, end_id: int
) -> Sequence[Sequence[int]]:
    """The new tokens of each prompt (B, `PROMPT_TOKENS`), padded with the end token."""
    import torch

    model: Any = network
    ids = torch.from_numpy(prompts).to(network.device)
    output = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=True,
        top_k=TOP_K,
        top_p=TOP_P,
        max_new_tokens=new_tokens,
        eos_token_id=end_id if end_id >= 0 else None,
        pad_token_id=max(end_id, 0),
    )
    return [row[PROMPT_TOKENS:].tolist() for row in output]
