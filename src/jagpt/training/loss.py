"""The loss over the vocabulary, without keeping all logits.

Shapes: N positions, D width, V vocabulary, C positions of a chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, masking_utils

from jagpt.training.cpu import allocator, cache

GPU_CHUNK = 2048
"""Positions whose logits exist at a time on a GPU."""
_LOOK = "find_packed_sequence_indices"


@dataclass(frozen=True)
class Lesson:
    """What teachers say about N positions: last hidden states (N, D) and output matrix (V, D) of
    each.

    The loss of a label becomes its nats + `weight` · `temperature`² · KL(teachers ‖ network), both
    at that temperature, with the mean of the teachers' probabilities (Hinton et al. 2015,
    arXiv:1503.02531, with weights in the ratio 1 : `weight`). A network that agrees with its
    teachers gets no extra gradient.
    """

    hidden: tuple[Tensor, ...]
    matrices: tuple[Tensor, ...]
    temperature: float
    weight: float

    def to(self, dtype: torch.dtype) -> Lesson:
        """The same, for products in `dtype`."""
        hidden = tuple(rows.to(dtype) for rows in self.hidden)
        return replace(self, hidden=hidden, matrices=tuple(m.to(dtype) for m in self.matrices))

    def probabilities(self, part: slice) -> Tensor:
        """The mean of their probabilities (C, V) for some positions, in fp32."""
        total: Tensor | None = None
        for rows, matrix in zip(self.hidden, self.matrices, strict=True):
            logits = (rows[part] @ matrix.T).float()
            chances = torch.softmax(logits.div_(self.temperature), dim=-1)
            total = chances if total is None else total.add_(chances)
        if total is None:
            raise ValueError("there is no teacher")
        return total.div_(len(self.hidden))


def model_nats(
    model: PreTrainedModel,
    sequences: Tensor,
    scale: Tensor | None = None,
    end_id: int | None = None,
    *,
    at_once: bool = False,
    lesson: Lesson | None = None,
) -> Tensor:
    """Nats of the labels of `sequences` (B, T + 1), summed, times `scale`; a scalar in fp32.

    Inputs are `[:, :-1]`, labels `[:, 1:]`. Matrix products run in autocast's type if it is on.
    With `end_id`, what follows that token starts over and sees nothing before it.
    `at_once` and `lesson` as in `vocabulary_nats`.
    """
    hidden = last_hidden(model, sequences[:, :-1], end_id)
    labels = sequences[:, 1:].reshape(-1)
    weight = model.get_output_embeddings().weight
    rows = hidden.reshape(len(labels), -1)
    return vocabulary_nats(rows, weight, labels, scale, at_once=at_once, lesson=lesson)


def last_hidden(model: PreTrainedModel, inputs: Tensor, end_id: int | None = None) -> Tensor:
    """The input of `model`'s output head (B, T, D) for `inputs` (B, T)."""
    # Not every class takes positions.
    masked = {} if end_id is None else {"position_ids": document_positions(inputs, end_id)}
    # Embeddings are passed in, since transformers looks for padding in ids, which makes a GPU wait.
    embeddings = model.get_input_embeddings()(inputs)
    with nullcontext() if masked else _whole_rows():
        body = model.base_model(inputs_embeds=embeddings, use_cache=False, **masked)
    hidden: Tensor = body.last_hidden_state
    return hidden


@contextmanager
def _whole_rows() -> Iterator[None]:
    """transformers checks the positions for packed documents, and a GPU waits for the answer."""
    looks: Any = vars(masking_utils)
    before = looks.get(_LOOK)
    if before is not None:  # its name is not guaranteed
        looks[_LOOK] = lambda _positions: None
    try:
        yield
    finally:
        if before is not None:
            looks[_LOOK] = before


def document_positions(inputs: Tensor, end_id: int) -> Tensor:
    """Positions (B, T) of `inputs` (B, T), counted from 0 behind each end token and in each row.

    transformers keeps attention within a run of rising positions
    (`masking_utils.find_packed_sequence_indices`), as long as nothing is cached.
    """
    places = torch.arange(inputs.shape[1], device=inputs.device)
    starts = torch.zeros_like(inputs)
    starts[:, 1:] = places[1:] * (inputs[:, :-1] == end_id)
    return places - starts.cummax(dim=1).values


@torch.no_grad()
def separates_documents(model: PreTrainedModel, end_id: int) -> bool:
    """Whether positions that restart keep this class of model from looking into other documents."""
    other = 0 if end_id else 1
    pair = torch.tensor([[other, end_id, other], [end_id, end_id, other]], device=model.device)
    positions = torch.tensor([[0, 1, 0], [0, 1, 0]], device=model.device)
    was_training = model.training
    model.eval()
    try:
        hidden = model.base_model(
            inputs_embeds=model.get_input_embeddings()(pair),
            position_ids=positions,
            use_cache=False,
        ).last_hidden_state
    except TypeError:  # it takes none
        return False
    finally:
        model.train(was_training)
    return torch.allclose(hidden[0, 2], hidden[1, 2], atol=1e-6)


def idle_weights(model: PreTrainedModel) -> list[str]:
    """Names of the weights that the loss does not depend on, and that get no gradient."""
    count = min(4, int(model.config.vocab_size))
    ids = torch.arange(count, device=next(model.parameters()).device)[None]
    reached: set[int] = set()
    ahead, seen = [model_nats(model, ids).grad_fn], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        reached.add(id(getattr(node, "variable", None)))
        ahead += [parent for parent, _ in node.next_functions]
    return [name for name, weight in model.named_parameters() if id(weight) not in reached]


def vocabulary_nats(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    scale: Tensor | None = None,
    chunk: int | None = None,
    *,
    at_once: bool = False,
    lesson: Lesson | None = None,
) -> Tensor:
    """Cross-entropy of `labels` (N) under softmax(hidden (N, D) · weight (V, D)ᵀ), in nats.

    Summed over the labels, times `scale`; the softmax is in fp32. `chunk` rows at a time: gradients
    are computed in the forward pass, so that no more than C × V logits exist at a time (the idea of
    Liger's fused linear cross-entropy, Hsu et al. 2024, arXiv:2410.10989).

    `at_once` is for a leaf `weight` and a result on which `backward` is called unchanged: the
    weight's gradient is then added to `weight.grad` here, and not held until the backward pass
    ends.

    With a `lesson`, the teachers' part is added only if gradients are needed.
    """
    device = hidden.device.type
    autocast = torch.is_autocast_enabled(device)
    dtype = torch.get_autocast_dtype(device) if autocast else hidden.dtype
    if scale is None:
        scale = torch.ones((), device=hidden.device)
    if chunk is None:
        chunk = cache.CHUNK if device == "cpu" else GPU_CHUNK
    # Inside a `Function` one cannot tell whether gradients are needed.
    if not torch.is_grad_enabled() or not (hidden.requires_grad or weight.requires_grad):
        with torch.autocast(device, enabled=False):
            return _nats(hidden.to(dtype), weight.to(dtype), labels, chunk) * scale
    nats: Tensor = _VocabularyNats.apply(
        hidden, weight, labels, scale, dtype, chunk, at_once, lesson
    )  # type: ignore[no-untyped-call]
    return nats


class _VocabularyNats(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        scale: Tensor,
        dtype: torch.dtype,
        chunk: int,
        at_once: bool,
        lesson: Lesson | None,
    ) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            rows, matrix = hidden.to(dtype), weight.to(dtype)
            lesson = None if lesson is None else lesson.to(dtype)
            if hidden.device.type == "cpu":
                allocator.return_holes()  # this is where a step's memory peaks
            hidden_grad = torch.empty_like(hidden)
            at_once = at_once and ctx.needs_input_grad[1]
            weight_grad = weight.grad if at_once else None
            if weight_grad is None:
                weight_grad = torch.zeros_like(weight)
            nats = torch.zeros((), device=hidden.device)
            for start in range(0, len(rows), chunk):
                part = slice(start, start + chunk)
                logits = rows[part] @ matrix.T
                if lesson is None:
                    picked, slope = _slope(logits, labels[part])
                else:
                    taught = lesson.probabilities(part)
                    picked, slope = _taught_slope(logits, labels[part], taught, lesson)
                nats -= picked
                hidden_grad[part] = slope @ matrix
                _add_product(weight_grad, slope, rows[part], scale if at_once else None)
            hidden_grad.mul_(scale)
            if at_once:
                weight.grad = weight_grad
                ctx.save_for_backward(hidden_grad)
            else:
                ctx.save_for_backward(hidden_grad, weight_grad.mul_(scale))
            return nats * scale

    @staticmethod
    def backward(ctx: Any, nats_grad: Tensor) -> tuple[Tensor | None, ...]:
        # In place, since backward runs only once: the weight's gradient is the largest tensor here.
        slopes = [slope.mul_(nats_grad) for slope in ctx.saved_tensors]
        weight_grad = slopes[1] if len(slopes) > 1 else None
        return slopes[0], weight_grad, None, None, None, None, None, None


def _nats(rows: Tensor, matrix: Tensor, labels: Tensor, chunk: int) -> Tensor:
    nats = torch.zeros((), device=rows.device)
    for some, targets in zip(rows.split(chunk), labels.split(chunk), strict=True):
        for _, log_softmax, few in by_rows(some @ matrix.T, targets):
            nats -= log_softmax.gather(1, few).sum()
    return nats


def _slope(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Summed log-probability of the labels, and the gradient of minus it to the logits (C, V).

    The gradient overwrites the logits. A label's entry, p − 1, is computed in fp32: in bf16 it
    would be lost where p is near 1.
    """
    total = torch.zeros((), device=logits.device)
    for some, log_softmax, few in by_rows(logits, labels):
        picked = log_softmax.gather(1, few)
        total += picked.sum()
        some.copy_(log_softmax.exp_().scatter_(1, few, picked.expm1()))
    return total, logits


def _taught_slope(
    logits: Tensor, labels: Tensor, taught: Tensor, lesson: Lesson
) -> tuple[Tensor, Tensor]:
    """As `_slope`, minus the teachers' part: `taught` (C, V) are their probabilities."""
    total = torch.zeros((), device=logits.device)
    temperature, weight = lesson.temperature, lesson.weight
    few_taught = taught.split(cache.ROWS if logits.device.type == "cpu" else len(logits))
    for (some, log_softmax, few), wanted in zip(by_rows(logits, labels), few_taught, strict=True):
        picked = log_softmax.gather(1, few)
        soft = log_softmax
        if temperature != 1:
            soft = torch.log_softmax(some.float() / temperature, dim=-1)
        apart = torch.special.xlogy(wanted, wanted).sum() - (wanted * soft).sum()
        total += picked.sum() - weight * temperature**2 * apart
        towards = (soft.exp() - wanted).mul_(weight * temperature)
        slope = log_softmax.exp_().scatter_(1, few, picked.expm1())
        some.copy_(slope.add_(towards))
    return total, logits


def by_rows(logits: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Rows of `logits` (C, V), their log-probabilities in fp32, and their labels (…, 1)."""
    few = cache.ROWS if logits.device.type == "cpu" else len(logits)
    for some, targets in zip(logits.split(few), labels[:, None].split(few), strict=True):
        yield some, torch.log_softmax(some.float(), dim=-1), targets


def _add_product(total: Tensor, slope: Tensor, rows: Tensor, scale: Tensor | None) -> None:
    """Add slope (C, V) transposed · rows (C, D), times `scale`, to `total` (V, D) of any type."""
    few = cache.PIECES if total.device.type == "cpu" else len(total)
    alpha = 1.0 if scale is None else scale.item()
    for some, columns in zip(total.split(few), slope.split(few, dim=1), strict=True):
        some.add_(columns.T @ rows, alpha=alpha)
