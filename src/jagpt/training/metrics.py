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
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jagpt import files
from jagpt.training.state import BadStep
from jagpt.training.trackers import Tracker

METRICS = "metrics.jsonl"
SAMPLES = "samples.jsonl"
BAD_STEPS = "bad-steps.jsonl"
CURVE = "val_loss_curve.png"

_NAMES = {("train", "loss"): "loss/train", ("valid", "loss"): "loss/valid"}
"""Names in TensorBoard and trackers that are not `KIND/FIGURE`."""

_NO_FIGURES = frozenset({"kind", "step"})


class Metrics:
    """Logs of a run, in a `with` block: files below `logs`, and `trackers`; nowhere without `logs`.

    `begin` says where they go on, before the first row and whenever a run goes back.
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
        """Go on after `step`: rows beyond it, of a run cut off or sent back, are taken out."""
        self._stack.close()
        if self._logs is None:
            return
        self.bad_steps(bad_steps)
        for log in (self._logs / METRICS, self._logs / SAMPLES):
            files.truncate_log(log, lambda row: int(row.get("step", 0)) <= step)
        rows = read_rows(self._logs / METRICS)
        self.seconds = max((float(row.get("seconds", 0)) for row in rows), default=0.0)
        self._append = self._stack.enter_context(files.appended(self._logs / METRICS))
        self._append_sample = self._stack.enter_context(files.appended(self._logs / SAMPLES))
        if self._tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._logs / "tensorboard"), purge_step=step + 1)
            self._stack.callback(self._board.close)

    def bad_steps(self, bad_steps: Sequence[BadStep]) -> None:
        """Write the bad steps so far; the run's state is the truth, the log is there to be read."""
        path = self._logs / BAD_STEPS if self._logs else None
        if path is not None and (bad_steps or path.exists()):
            files.write_text(path, "".join(json.dumps(asdict(bad)) + "\n" for bad in bad_steps))

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


def _nowhere(_: object) -> None:
    """Where ranks but the first write."""


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


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics log; none if there is no such file."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


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
