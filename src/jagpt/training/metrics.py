"""What a run logs: JSON lines, TensorBoard, trackers, samples and the loss curve.

`metrics.jsonl` holds two kinds of rows:

    {"kind": "train", "step", "tokens", "loss", "learning_rate", "gradient_norm",
     "tokens_per_second", "mfu", "memory", "seconds", "seconds_left"}
    {"kind": "valid", "step", "tokens", "loss", "perplexity"}

`loss` is nats a token: of a train row, the mean over that step's tokens (with dropout); of a valid
row, over the valid split. `tokens` is the number trained on so far. `gradient_norm` is the one
before clipping; what is no number (fp16's overflow, a step left out) is null. Where weights learn
at several rates, `learning_rates` has them by group. `tokens_per_second` covers the steps since the
last row, `seconds` all steps so far, `seconds_left` the rest at this run's pace; none holds the
time of validations and checkpoints. `mfu` is the share of the fastest matrix products of all ranks'
machines, `memory` is in bytes: the most that PyTorch held on a GPU, else what the process holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.training.checkpoints import BadStep
from jagpt.training.trackers import Tracker

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
BAD_STEPS = "bad-steps.jsonl"
CURVE = "val_loss_curve.png"

_NAMES = {("train", "loss"): "loss/train", ("valid", "loss"): "loss/valid"}
"""Names in TensorBoard and trackers that are not `KIND/FIGURE`."""

_NO_FIGURES = frozenset({"kind", "step"})


def _nowhere(_: object) -> None:
    """Where ranks but the first write."""


class Metrics:
    """Where the loop writes its rows; see `open_metrics`. By default, nowhere."""

    def __init__(
        self,
        append: Callable[[Mapping[str, Any]], None] = _nowhere,
        board: Any | None = None,
        seconds: float = 0.0,
        trackers: Sequence[Tracker] = (),
        append_sample: Callable[[Mapping[str, Any]], None] = _nowhere,
        bad_steps: Callable[[Sequence[BadStep]], None] = _nowhere,
    ) -> None:
        self._append, self._board, self._trackers = append, board, trackers
        self._append_sample = append_sample
        self.bad_steps = bad_steps
        self.seconds = seconds

    def train(self, step: int, tokens: int, *, seconds: float, **values: Any) -> None:
        """Log a training step's figures; `seconds` are those since the last row."""
        self.seconds += seconds
        row = {"kind": "train", "step": step, "tokens": tokens, **values}
        self._write({**row, "seconds": round(self.seconds, 3)})

    def valid(self, step: int, tokens: int, *, loss: float, perplexity: float) -> None:
        """Log a validation."""
        row = {"kind": "valid", "step": step, "tokens": tokens}
        self._write({**row, "loss": loss, "perplexity": perplexity})

    def sample(self, step: int, prompt: str, continuation: str) -> None:
        """Log what the model makes of a prompt after `step`."""
        self._append_sample({"step": step, "prompt": prompt, "continuation": continuation})
        if self._board is not None:
            self._board.add_text(f"sample/{prompt[:40]}", f"**{prompt}**{continuation}", step)

    def _write(self, row: Mapping[str, Any]) -> None:
        row = {key: _finite(value) for key, value in row.items()}
        self._append(row)
        figures = dict(_figures(row))
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(name, value, row["step"])
        for tracker in self._trackers:
            tracker.log(figures, row["step"])


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _figures(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """A row's numbers by the names that TensorBoard and trackers show."""
    kind = row["kind"]
    for key, value in row.items():
        if key in _NO_FIGURES or value is None:
            continue
        if isinstance(value, Mapping):
            for name, number in value.items():
                yield f"{kind}/{key}/{name}", number
        else:
            yield _NAMES.get((kind, key), f"{kind}/{key}"), value


@contextmanager
def open_metrics(
    logs: Path,
    step: int,
    tensorboard: bool,
    trackers: Sequence[Tracker] = (),
    bad_steps: Sequence[BadStep] = (),
) -> Iterator[Metrics]:
    """Logs that go on after `step`: rows beyond it, of a run that was cut off, are taken out."""
    path = logs / METRICS
    log_bad_steps(logs, bad_steps)
    for log in (path, logs / SAMPLES):
        files.truncate_log(log, lambda row: int(row.get("step", 0)) <= step)
    seconds = max((float(row.get("seconds", 0)) for row in read_rows(path)), default=0.0)
    with ExitStack() as stack:
        append = stack.enter_context(files.appended(path))
        append_sample = stack.enter_context(files.appended(logs / SAMPLES))
        board = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            board = SummaryWriter(str(logs / "tensorboard"), purge_step=step + 1)
            stack.callback(board.close)
        yield Metrics(append, board, seconds, trackers, append_sample, partial(log_bad_steps, logs))


def log_bad_steps(logs: Path, bad_steps: Sequence[BadStep]) -> None:
    """Write the bad steps so far; the run's state is the truth, the log is there to be read."""
    path = logs / BAD_STEPS
    if bad_steps or path.exists():
        files.write_text(path, "".join(json.dumps(asdict(bad)) + "\n" for bad in bad_steps))


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics log; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def draw_curve(logs: Path) -> None:
    """Draw train and valid loss against tokens into `val_loss_curve.png`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    rows = read_rows(logs / METRICS)
    for kind, style in (("train", {"linewidth": 0.8, "alpha": 0.6}), ("valid", {"marker": "o"})):
        points = [(row["tokens"], row["loss"]) for row in rows if row["kind"] == kind]
        axes.plot(
            [tokens for tokens, _ in points], [loss for _, loss in points], label=kind, **style
        )
    axes.set_xlabel("tokens")
    axes.set_ylabel("loss (nats a token)")
    axes.grid(alpha=0.3)
    axes.legend()
    with files.staged_file(logs / CURVE) as staged:
        figure.savefig(staged, dpi=120, format="png")
