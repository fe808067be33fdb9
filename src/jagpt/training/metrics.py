"""What a run logs: JSON lines, TensorBoard, trackers, samples and the loss curve.

`metrics.jsonl` has a `TrainRow` for each logged step and a `ValidRow` for each validation.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from jagpt import files
from jagpt.records import Count, optional, plain, read_lines
from jagpt.training import curve
from jagpt.training.state import BadStep
from jagpt.training.trackers import Tracker

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
BAD_STEPS = "bad-steps.jsonl"
CURVE = "loss_curve.png"

T = TypeVar("T")

_NAMES = {("train", "loss"): "loss/train", ("valid", "loss"): "loss/valid"}
"""Names in TensorBoard and trackers that are not `KIND/FIGURE`."""

_NO_FIGURES = frozenset({"kind", "step"})


@dataclass(frozen=True, kw_only=True)
class TrainRow:
    """What is logged about a step; a figure that is NaN or infinite is None.

    `loss` is the mean in nats over the step's tokens (with dropout), `tokens` the number trained on
    so far, `gradient_norm` the one before clipping. If weights learn at several rates,
    `learning_rates` has them by group. `tokens_per_second` covers the steps since the last row,
    `seconds` all steps so far, `seconds_left` the rest at this run's pace; none includes the time
    of validations and checkpoints. `mfu` is the share of the fastest matrix products of all ranks'
    machines, `memory` is in bytes: the peak that PyTorch held on a GPU, else what the process
    holds.
    """

    kind: Literal["train"] = "train"
    step: Count
    tokens: Count
    loss: float | None = None
    learning_rate: float | None = None
    learning_rates: dict[str, float] = optional(dict)
    gradient_norm: float | None = None
    tokens_per_second: float | None = None
    mfu: float | None = None
    memory: Count | None = None
    seconds: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True, kw_only=True)
class ValidRow:
    """What is logged about a validation: `loss` in nats over the valid split, after `tokens`."""

    kind: Literal["valid"] = "valid"
    step: Count
    tokens: Count
    loss: float | None = None
    perplexity: float | None = None


class Metrics:
    """Logs of a run, in a `with` block: files in `logs`, and `trackers`; nothing without `logs`.

    `begin` says where they continue, before the first row and whenever a run returns to a
    checkpoint.
    """

    def __init__(
        self, logs: Path | None = None, tensorboard: bool = False, trackers: Sequence[Tracker] = ()
    ) -> None:
        self._logs, self._tensorboard, self._trackers = logs, tensorboard, trackers
        self._append: Callable[[Mapping[str, Any]], None] = _nowhere
        self._append_sample: Callable[[Mapping[str, Any]], None] = _nowhere
        self._board: Any | None = None
        self._stack = ExitStack()
        self.seconds = 0.0

    def __enter__(self) -> Metrics:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def begin(self, step: int, bad_steps: Sequence[BadStep] = ()) -> None:
        """Continue after `step`: rows beyond it, from an interrupted or rewound run, are
        removed.
        """
        self._stack.close()
        if self._logs is None:
            return
        self.bad_steps(bad_steps)
        for log in (self._logs / METRICS, self._logs / SAMPLES):
            files.truncate_log(log, lambda row: _is_until(step, row))
        train, _ = read_metrics(self._logs)
        self.seconds = max((row.seconds or 0.0 for row in train), default=0.0)
        self._append = self._stack.enter_context(files.appended(self._logs / METRICS))
        self._append_sample = self._stack.enter_context(files.appended(self._logs / SAMPLES))
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._stack.enter_context(_told_once())
            self._board = SummaryWriter(str(self._logs / "tensorboard"), purge_step=step + 1)
            self._stack.callback(self._board.close)

    def bad_steps(self, bad_steps: Sequence[BadStep]) -> None:
        """Write the bad steps so far; the run's state is authoritative, the log is for reading."""
        path = self._logs / BAD_STEPS if self._logs else None
        if path is not None and (bad_steps or path.exists()):
            files.write_text(path, "".join(json.dumps(plain(bad)) + "\n" for bad in bad_steps))

    def train(self, step: int, tokens: int, *, seconds: float, **values: Any) -> None:
        """Log a training step's figures; `seconds` are those since the last row."""
        self.seconds += seconds
        known = {key: _finite(value) for key, value in values.items()}
        seconds = round(self.seconds, 3)
        self._write(TrainRow(step=step, tokens=tokens, **known, seconds=seconds))

    def valid(self, step: int, tokens: int, *, loss: float, perplexity: float) -> None:
        """Log a validation."""
        known = {"loss": _finite(loss), "perplexity": _finite(perplexity)}
        self._write(ValidRow(step=step, tokens=tokens, **known))

    def sample(self, step: int, prompt: str, continuation: str) -> None:
        """Log the model's continuation of a prompt after `step`."""
        self._append_sample({"step": step, "prompt": prompt, "continuation": continuation})
        if self._board is not None:
            self._board.add_text(f"sample/{prompt[:40]}", f"**{prompt}**{continuation}", step)

    def _write(self, row: TrainRow | ValidRow) -> None:
        self._append(plain(row))
        figures = dict(_figures(row))
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, row.step)
        for tracker in self._trackers:
            tracker.log(figures, row.step)


@contextmanager
def _told_once() -> Iterator[None]:
    """Errors of TensorBoard's thread are raised at the next row; it prints no traceback itself."""
    before = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if type(failure.thread).__name__ != "_AsyncWriterThread":
            before(failure)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


def _nowhere(_: object) -> None:
    """Where all ranks except the first write."""


def _is_until(step: int, row: Mapping[str, Any]) -> bool:
    """Whether a row of a log is of no later step; a row that names none has no place there."""
    found = row.get("step", 0)
    return type(found) is int and found <= step


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figures(row: TrainRow | ValidRow) -> Iterator[tuple[str, float]]:
    """A row's numbers by the names that TensorBoard and trackers show."""
    for key, value in vars(row).items():
        if key in _NO_FIGURES or value is None:
            continue
        if isinstance(value, Mapping):
            for name, number in value.items():
                yield f"{row.kind}/{key}/{name}", number
        else:
            yield _NAMES.get((row.kind, key), f"{row.kind}/{key}"), value


def read_metrics(logs: Path) -> tuple[tuple[TrainRow, ...], tuple[ValidRow, ...]]:
    """Training and validation rows, in the order of steps.

    If a resumed run wrote a step again, its last row counts.
    """
    train: dict[int, TrainRow] = {}
    valid: dict[int, ValidRow] = {}
    for row in read_lines(TrainRow | ValidRow, logs / METRICS):
        if isinstance(row, TrainRow):
            train[row.step] = row
        else:
            valid[row.step] = row
    return _in_order(train), _in_order(valid)


def _in_order(rows: Mapping[int, T]) -> tuple[T, ...]:
    return tuple(row for _, row in sorted(rows.items()))


def draw_curve(logs: Path) -> None:
    """Draw train and valid loss against tokens into `loss_curve.png`."""
    train, valid = (
        [(row.tokens, row.loss) for row in rows if row.loss is not None]
        for rows in read_metrics(logs)
    )
    with files.staged_file(logs / CURVE) as staged:
        curve.draw(staged, valid, train)
