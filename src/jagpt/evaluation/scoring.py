"""A causal model's nats for each label, without dropout and without keeping all logits.

Shapes: B sequences, T tokens of context, D width, V vocabulary, C positions of a chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from jagpt import devices
from jagpt.devices import autocast
from jagpt.errors import JagptError, UsageError
from jagpt.evaluation.measures import DocumentNats, Floats, Ints
from jagpt.evaluation.windows import Window, Windows, batches
from jagpt.models.build import prepared
from jagpt.training import cpu
from jagpt.training.loss import by_rows, document_positions

CHUNK, GPU_CHUNK = 512, 2048
"""Positions whose logits exist at a time: fewer slow down the products, more overflow the cache."""
BATCH_TOKENS, GPU_BATCH_TOKENS = 8192, 32_768
"""About how many tokens go through the network at a time."""
MOST_LOGITS = 1 << 28
"""Numbers in one pass's logits if a model's head cannot be separated."""


def choose(
    device: str, precision: str, keys: tuple[str, str] = ("--device", "--precision")
) -> tuple[torch.device, str]:
    """The device and its precision: `auto` means bf16 if the hardware supports it, else fp32.

    `UsageError` names the one of `keys` that this machine cannot satisfy.
    """
    chosen = devices.choose(device, key=keys[0])
    fast = devices.multiplies_bf16(chosen)
    if precision == "auto":
        return chosen, "bf16" if fast else "fp32"
    if precision == "bf16" and chosen.type in ("cuda", "xpu") and not fast:
        raise UsageError(f'{keys[1]}: found "bf16", which this GPU lacks; use "fp32"')
    return chosen, precision


class Stream(Protocol):
    """A text's documents as tokens, concatenated: a token split, or `texts.Encoded`."""

    @property
    def n_tokens(self) -> int: ...
    @property
    def document_starts(self) -> Ints:
        """(D + 1,): where documents start; the last is the stream's end."""

    def slice(self, start: int, stop: int) -> npt.NDArray[Any]: ...


class Scores(Protocol):
    """Gives labels their nats: a `Scorer`, or several as one."""

    @property
    def vocab_size(self) -> int: ...
    def session(self) -> AbstractContextManager[None]: ...
    def nats(self, sequences: Ints, skipped: int = 0) -> Floats: ...
    def batch_size(self, length: int) -> int: ...


class Scorer:
    """A causal model of transformers on a device, in evaluation mode; `vocab_size` rows of logits.

    With `end_id`, what follows that token starts over and sees nothing before it.

    If the model is a body and a bare output matrix (GPT-2, LLaMA and most others; tested, not
    guessed), logits are computed for a chunk of positions at a time and never for labels that do
    not count.
    """

    def __init__(
        self, model: Any, device: torch.device, precision: str, end_id: int | None = None
    ) -> None:
        self.device, self.precision, self.end_id = device, precision, end_id
        self.model = model.to(device).eval()
        self.vocab_size = int(model.config.vocab_size)
        if device.type == "cpu":
            cpu.adapt(self.model, learns=False)
        else:
            prepared(self.model)
        with self.session():
            self._split = _is_body_and_head(self.model, device)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Wrap many calls of `nats` in this: within one session, weights are cast to bf16 once."""
        with torch.inference_mode(), autocast(self.device, self.precision):
            yield

    def nats(self, sequences: Ints, skipped: int = 0) -> Floats:
        """Nats of the labels `sequences[:, 1 + skipped:]` (B, T − skipped), in fp64.

        `sequences` is (B, T + 1). Products run in the scorer's precision, the softmax in fp32.
        """
        with self.session():
            ids = torch.from_numpy(np.ascontiguousarray(sequences, dtype=np.int64)).to(self.device)
            labels = ids[:, 1 + skipped :]  # (B, T − skipped)
            if self._split:
                hidden = _hidden(self.model, ids[:, :-1], self.end_id)[:, skipped:]
                rows = hidden.reshape(labels.numel(), -1)
                head: Callable[[Tensor], Tensor] = self.model.get_output_embeddings()
            else:
                inputs = _inputs(ids[:, :-1], self.end_id)
                rows = self.model(**inputs, use_cache=False).logits[:, skipped:]
                rows, head = rows.reshape(labels.numel(), -1), _as_it_is
            chunk = CHUNK if self.device.type == "cpu" else GPU_CHUNK
            found = _label_nats(rows, head, labels.reshape(-1), chunk)
        nats: Floats = found.reshape(labels.shape).cpu().double().numpy()  # MPS has no fp64
        return nats

    def batch_size(self, length: int) -> int:
        """Sequences of `length` tokens that go through the model together."""
        tokens = BATCH_TOKENS if self.device.type == "cpu" else GPU_BATCH_TOKENS
        if not self._split:
            tokens = min(tokens, MOST_LOGITS // self.vocab_size)
        return max(1, tokens // length)


def measure_stream(
    scorer: Scores, stream: Stream, windows: Windows, advance: Callable[[int], None]
) -> tuple[Floats, Ints]:
    """Nats (D,) and number (D,) of the labels of each document, each token except the first once.

    `advance` is called with labels as they are done. `JagptError` if the model's loss is not
    finite.
    """
    starts = stream.document_starts
    nats = np.zeros(len(starts) - 1)
    with scorer.session():
        for batch in batches(windows.over(stream.n_tokens), scorer.batch_size(windows.block_size)):
            tokens = np.stack([stream.slice(w.start, w.stop) for w in batch]).astype(np.int64)
            found = scorer.nats(tokens, batch[0].skipped)  # (B, labels)
            nats += np.bincount(_owners(batch, starts), found.ravel(), minlength=len(nats))
            advance(found.size)
    check_finite(nats)
    counts = np.diff(starts)
    counts[np.searchsorted(starts, 0, side="right") - 1] -= 1  # the first token is not a label
    return nats, counts


def document_nats(
    scorer: Scores,
    stream: Stream,
    windows: Windows,
    sizes: tuple[Ints, Ints],
    advance: Callable[[int], None] = lambda _: None,
) -> DocumentNats:
    """`measure_stream` with the documents' characters (D,) and bytes (D,)."""
    nats, tokens = measure_stream(scorer, stream, windows, advance)
    return DocumentNats(nats, tokens, *sizes, blind=float(np.log(scorer.vocab_size)))


def sequence_nats(
    scorer: Scores, sequences: Sequence[Sequence[int]], advance: Callable[[int], None]
) -> Floats:
    """Nats of all labels of each sequence, summed; sequences of similar length go together.

    A shorter sequence is padded at the end, where a causal model cannot see it. `JagptError` if the
    model's loss is not finite.
    """
    totals = np.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda number: len(sequences[number]))
    with scorer.session():
        while order:
            size = scorer.batch_size(len(sequences[order[-1]]))
            batch, order = order[-size:], order[:-size]
            longest = len(sequences[batch[-1]])
            rows = [[*sequences[n], *[sequences[n][-1]] * longest][:longest] for n in batch]
            found = scorer.nats(np.array(rows, dtype=np.int64))
            for number, row in zip(batch, found, strict=True):
                totals[number] = row[: len(sequences[number]) - 1].sum()
            advance(len(batch))
    check_finite(totals)
    return totals


def check_finite(nats: Floats) -> None:
    """`JagptError` if one is NaN or infinite."""
    if not np.isfinite(nats).all():
        raise JagptError("the loss is not finite: the model is broken")


def _owners(batch: list[Window], starts: Ints) -> Ints:
    """The document of every label that counts, window after window."""
    labels = np.concatenate([np.arange(w.first_label, w.stop) for w in batch])
    return np.searchsorted(starts, labels, side="right") - 1


def _label_nats(
    rows: Tensor, head: Callable[[Tensor], Tensor], labels: Tensor, chunk: int
) -> Tensor:
    """−log softmax(head(rows)) at `labels` (N,), in fp32."""
    nats = torch.empty(len(labels), device=labels.device)
    for start in range(0, len(labels), chunk):
        part = slice(start, start + chunk)
        found = by_rows(head(rows[part]), labels[part])
        picked = [log_softmax.gather(1, few)[:, 0] for _, log_softmax, few in found]
        nats[part] = torch.cat(picked).neg_()
    return nats


def _as_it_is(rows: Tensor) -> Tensor:
    return rows


def _inputs(ids: Tensor, end_id: int | None) -> dict[str, Tensor]:
    """The arguments for a whole model. A mask would hide the documents' boundaries from
    transformers.
    """
    if end_id is not None:
        return {"input_ids": ids, "position_ids": document_positions(ids, end_id)}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def _hidden(model: Any, ids: Tensor, end_id: int | None = None) -> Tensor:
    """The body's last hidden states (B, T, D).

    Embeddings are passed in, since transformers looks for padding in ids, which makes a GPU wait.
    """
    embedded = model.get_input_embeddings()(ids)
    positions = None if end_id is None else document_positions(ids, end_id)
    hidden: Tensor = model.base_model(
        inputs_embeds=embedded, position_ids=positions, use_cache=False
    ).last_hidden_state
    return hidden


def _is_body_and_head(model: Any, device: torch.device) -> bool:
    """Whether body and output matrix together give exactly the model's own logits, bit for bit."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or model.base_model is model:
        return False
    ids = torch.arange(min(8, int(model.config.vocab_size)), device=device)[None]
    try:
        parts = head(_hidden(model, ids))
        whole = model(inputs_embeds=model.get_input_embeddings()(ids), use_cache=False).logits
    except (AttributeError, NotImplementedError, TypeError, ValueError):
        return False
    return bool(torch.equal(parts, whole))
