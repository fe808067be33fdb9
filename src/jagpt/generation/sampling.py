"""From logits to tokens: the filters in transformers' order, and draws that a seed reproduces."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jagpt.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from jagpt.runtimes import Drawing
    from jagpt.runtimes.base import Floats

LOWEST = float("-inf")


class Sampler:
    """Draws the next token of each row (R rows, V tokens in the vocabulary)."""

    def __init__(self, drawing: Drawing, prompt: Sequence[int]) -> None:
        self._drawing = drawing
        self._seen = [set(prompt) for _ in range(drawing.rows)]
        numbers = range(drawing.first_row, drawing.first_row + drawing.rows)
        self._random = [random.Random(f"{drawing.seed}/{number}") for number in numbers]

    def draw(self, logits: Tensor | Floats) -> list[tuple[int, float]]:
        """A token id a row of `logits` (R, V), with its log-probability under the model itself.

        The log-probabilities are natural logarithms, taken before temperature, penalty and filters.
        Raises `DataError` if the logits are not finite: the weights are damaged; and if the
        settings leave no token that can be drawn.
        """
        import torch

        scores = torch.as_tensor(logits).float()
        if scores.device.type == "mps":  # it has no fp64
            scores = scores.cpu()
        norm = scores.logsumexp(-1, keepdim=True)  # (R, 1)
        if not bool(norm.isfinite().all()):
            raise DataError(
                "the model's output is not finite: its weights are damaged, or training diverged "
                "to "
                "NaN; `jagpt verify RUN_DIR` compares them with their checksums"
            )
        ids = self._chosen(self._adjusted(scores))
        found = (scores - norm).gather(-1, ids)  # (R, 1)
        drawn = list(zip(ids[:, 0].tolist(), found[:, 0].tolist(), strict=True))
        for seen, (token, _) in zip(self._seen, drawn, strict=True):
            seen.add(token)
        return drawn

    def _adjusted(self, scores: Tensor) -> Tensor:
        """Repetition penalty and tokens that are never drawn: (R, V)."""
        import torch

        drawing = self._drawing
        if drawing.repetition_penalty == 1.0 and not drawing.suppressed:
            return scores
        scores = scores.clone()
        if drawing.repetition_penalty != 1.0:
            for row, seen in zip(scores, self._seen, strict=True):
                place = torch.tensor(sorted(seen), device=scores.device)
                old = row[place]
                row[place] = torch.where(
                    old < 0, old * drawing.repetition_penalty, old / drawing.repetition_penalty
                )
        if drawing.suppressed:
            scores[:, list(drawing.suppressed)] = LOWEST
        return scores

    def _chosen(self, scores: Tensor) -> Tensor:
        """Token ids (R, 1): the likeliest, or drawn from what temperature and filters leave."""
        import torch

        drawing = self._drawing
        if drawing.temperature is None:
            highest, ids = scores.max(-1, keepdim=True)
            _check_drawable(highest)
            return ids
        count = min(drawing.top_k or scores.shape[-1], scores.shape[-1])
        sorted_scores, ids = (scores / drawing.temperature).topk(count, dim=-1)  # (R, K), falling
        _check_drawable(sorted_scores[:, :1])
        shares = sorted_scores.double().softmax(-1)
        if drawing.top_p < 1.0:
            before = shares.cumsum(-1) - shares
            shares = torch.where(before < drawing.top_p, shares, 0.0)
        sums = shares.cumsum(-1)
        points = torch.tensor([[source.random()] for source in self._random], dtype=torch.double)
        points = points.to(sums.device) * sums[:, -1:]
        last = (shares > 0).sum(
            -1, keepdim=True
        ) - 1  # rounding must not give everything a share of 0
        place = torch.searchsorted(sums, points, right=True).minimum(last)
        return ids.gather(-1, place)


def _check_drawable(highest: Tensor) -> None:
    """`DataError` if the highest score of a row (R, 1) is none: the settings left no token."""
    if not bool(highest.isfinite().all()):
        raise DataError(
            "no token can be drawn: every token is suppressed, or its score is not finite; see "
            "suppress_tokens in the model's generation settings, or set a temperature and a "
            "repetition penalty nearer to 1"
        )
