"""CTranslate2 on its folder."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt.errors import DataError, UsageError
from jagpt.machines import cpu_vnni
from jagpt.runtimes.base import Drawing, DrawingRuntime, token_nats

if TYPE_CHECKING:
    from jagpt.runtimes.base import Floats

VOCABULARY = "vocabulary.json"


def prefer_exact_sums() -> None:
    """Let CTranslate2 use MKL if the processor has no VNNI; call this before importing it.

    oneDNN, its choice on processors that are not Intel's, loses what exceeds 16 bits in a sum of
    8-bit products there: 5 % of the perplexity in our tests, where MKL loses 0.4 %.
    """
    if not cpu_vnni():
        os.environ.setdefault("CT2_USE_MKL", "1")


class CTranslate2(DrawingRuntime):
    """A generator in the weights' own precision; it takes tokens by their pieces."""

    name = "ctranslate2"

    def __init__(self, folder: Path, context: int, threads: int | None = None) -> None:
        import json

        prefer_exact_sums()
        import ctranslate2

        try:
            self._generator = ctranslate2.Generator(
                str(folder), device="cpu", intra_threads=threads or 0
            )
            self._pieces: list[str] = json.loads((folder / VOCABULARY).read_text("utf-8"))
        except (RuntimeError, OSError, ValueError) as error:
            raise DataError(f"{folder}: CTranslate2 cannot load this ({error})") from None
        self.context = context
        self.vocab_size = len(self._pieces)

    def logits(self, ids: Sequence[int], rows: Sequence[int]) -> Floats:
        return self._all_logits(ids)[list(rows)]

    def nats(self, ids: Sequence[int]) -> float:
        return sum(token_nats(self._all_logits(ids), ids))

    def greedy(self, ids: Sequence[int], count: int) -> list[int]:
        (found,) = self._generator.generate_batch(
            [self._spelled(ids)],
            max_length=count,
            min_length=count,
            include_prompt_in_result=False,
            end_token=[],
        )
        return [int(number) for number in found.sequences_ids[0]]

    def draw(
        self, prompt: Sequence[int], drawing: Drawing
    ) -> Iterator[list[tuple[int, float] | None]]:
        """See `DrawingRuntime`; greedy alone: one seed serves a generator's whole life."""
        if drawing.temperature is not None:
            raise UsageError(
                "--engine ctranslate2 only takes the likeliest token, since its random numbers "
                "cannot be seeded per text: add --greedy, or use --engine onnx or openvino"
            )
        steps = self._steps(prompt, drawing)
        if drawing.repetition_penalty == 1.0 and not drawing.suppressed:
            yield from steps
        else:
            yield from self._with_own_figures(prompt, list(steps))

    def _with_own_figures(
        self, prompt: Sequence[int], steps: Sequence[list[tuple[int, float] | None]]
    ) -> Iterator[list[tuple[int, float] | None]]:
        """The same tokens with the model's own log-probabilities: CTranslate2 tells those after
        penalty and suppression, which only another look at the whole text can undo.
        """
        rows = [[token[0] for token in row if token] for row in zip(*steps, strict=True)]
        figures = [self._logprobs(prompt, row) for row in rows]
        for number in range(len(steps)):
            yield [
                (row[number], told[number]) if number < len(row) else None
                for row, told in zip(rows, figures, strict=True)
            ]

    def _logprobs(self, prompt: Sequence[int], row: Sequence[int]) -> list[float]:
        """The log-probability of each token of `row` after the prompt and those before it."""
        text, start = [*prompt, *row], len(prompt) - 1
        return [-nats for nats in token_nats(self._all_logits(text)[start:], text[start:])]

    def _steps(
        self, prompt: Sequence[int], drawing: Drawing
    ) -> Iterator[list[tuple[int, float] | None]]:
        """The generator works in its own thread and is asked to stop when this is closed."""
        found: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stopped = threading.Event()

        def hear(step: Any) -> bool:
            found.put((step.batch_id, int(step.token_id), float(step.log_prob), step.is_last))
            return stopped.is_set()

        def work() -> None:
            try:
                self._generate(prompt, drawing, hear)
            except Exception as error:  # reported where the tokens are awaited
                found.put(error)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            yield from _in_steps(found, drawing.rows)
        finally:
            stopped.set()
            worker.join()

    def _generate(self, prompt: Sequence[int], drawing: Drawing, hear: Any) -> None:
        self._generator.generate_batch(
            [self._spelled(prompt)] * drawing.rows,
            max_length=drawing.new_tokens,
            include_prompt_in_result=False,
            end_token=sorted(drawing.end_ids),
            return_end_token=True,
            return_scores=True,
            repetition_penalty=drawing.repetition_penalty,
            suppress_sequences=[[self._pieces[number]] for number in drawing.suppressed] or None,
            callback=hear,
        )

    def _all_logits(self, ids: Sequence[int]) -> Floats:
        import numpy as np

        logits: Floats = np.array(self._generator.forward_batch([list(ids)]))[0]
        return logits

    def _spelled(self, ids: Sequence[int]) -> list[str]:
        return [self._pieces[number] for number in ids]


def _in_steps(found: queue.SimpleQueue[Any], rows: int) -> Iterator[list[tuple[int, float] | None]]:
    """The tokens of each step, in the order of the rows."""
    alive = set(range(rows))
    while alive:
        step: list[tuple[int, float] | None] = [None] * rows
        for _ in range(len(alive)):
            heard = found.get()
            if isinstance(heard, Exception):
                raise heard
            row, token, logprob, last = heard
            step[row] = (token, logprob)
            if last:
                alive.discard(row)
        yield step
