from __future__ import annotations

import errno
import json
import math
import threading
import time
from pathlib import Path

import pytest

from jagpt.training.metrics import (
    CURVE,
    METRICS,
    Metrics,
    TrainRow,
    ValidRow,
    draw_curve,
    read_metrics,
)


def log(logs: Path, after: int, steps: range, tensorboard: bool = False) -> None:
    with Metrics(logs, tensorboard) as metrics:
        metrics.begin(after)
        for step in steps:
            metrics.train(
                step, step * 10, loss=3.0, learning_rate=0.1, gradient_norm=1.0,
                tokens_per_second=123.5, seconds=2.0,
            )  # fmt: skip
            metrics.valid(step, step * 10, loss=2.0, perplexity=math.exp(2.0))


def lines(logs: Path) -> list[str]:
    return (logs / METRICS).read_text("utf-8").splitlines()


def test_rows_hold_what_the_module_says(tmp_path: Path) -> None:
    log(tmp_path, 0, range(1, 2))
    (train,), (valid,) = read_metrics(tmp_path)
    assert train == TrainRow(
        step=1, tokens=10, loss=3.0, learning_rate=0.1, gradient_norm=1.0, tokens_per_second=123.5,
        seconds=2.0,
    )  # fmt: skip
    assert valid == ValidRow(step=1, tokens=10, loss=2.0, perplexity=math.exp(2.0))
    assert [json.loads(line)["kind"] for line in lines(tmp_path)] == ["train", "valid"]


def test_rows_beyond_the_checkpoint_are_cut_off_and_seconds_go_on(tmp_path: Path) -> None:
    log(tmp_path, 0, range(1, 6))
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"kind": "train", "st')
    log(tmp_path, 3, range(4, 5))
    assert len(lines(tmp_path)) == 8
    train, valid = read_metrics(tmp_path)
    assert [row.step for row in train] == [1, 2, 3, 4]
    assert [row.step for row in valid] == [1, 2, 3, 4]
    assert [row.seconds for row in train] == [2.0, 4.0, 6.0, 8.0]


def test_a_strangers_rows_do_not_stop_a_training_that_goes_on(tmp_path: Path) -> None:
    log(tmp_path, 0, range(1, 3))
    with (tmp_path / METRICS).open("a") as file:
        for step in ('"x"', "null", "[]", "1e999", "1.5", "1" + "0" * 400):
            file.write(f'{{"kind": "train", "step": {step}}}\n')
    log(tmp_path, 2, range(3, 4))
    train, _ = read_metrics(tmp_path)
    assert [row.step for row in train] == [1, 2, 3]
    assert len(lines(tmp_path)) == 6


def test_rows_survive_a_torn_end_a_resume_and_what_is_no_row(tmp_path: Path) -> None:
    rows = [
        '{"kind": "train", "step": 2, "tokens": 2, "loss": 5.0}',
        '{"kind": "train", "step": 1, "tokens": 1, "loss": 6.0, "gradient_norm": null}',
        '{"kind": "train", "step": 2, "tokens": 2, "loss": 4.5, "later": [1]}',
        '{"kind": "valid", "step": 2, "tokens": 2, "loss": NaN, "perplexity": 3}',
        '{"kind": "valid", "step": 4, "tokens": 1' + "0" * 40 + "}",
        '{"kind": ["odd"], "step": 2}',
        "[1]",
        "x" * (3 << 20),
        '{"kind": "valid", "step": 2, "tokens": 2, "loss": 1.0, "perplexity": 3}',
        '{"kind": "train", "st',
    ]
    (tmp_path / METRICS).write_text("\n".join(rows))
    train, valid = read_metrics(tmp_path)
    assert train == (TrainRow(step=1, tokens=1, loss=6.0), TrainRow(step=2, tokens=2, loss=4.5))
    assert valid == (ValidRow(step=2, tokens=2, loss=1.0, perplexity=3.0),)
    assert read_metrics(tmp_path / "nowhere") == ((), ())


def test_an_overflown_gradient_is_null_and_the_row_is_json(tmp_path: Path) -> None:
    with Metrics(tmp_path, tensorboard=True) as metrics:
        metrics.begin(0)
        metrics.train(
            1, 10, loss=3.0, learning_rate=0.1, gradient_norm=math.inf, tokens_per_second=1.0,
            seconds=1.0,
        )  # fmt: skip
        metrics.valid(1, 10, loss=800.0, perplexity=math.inf)
    for line in (tmp_path / METRICS).read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_tensorboard_gets_the_same_figures(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log(tmp_path, 0, range(1, 6), tensorboard=True)
    log(tmp_path, 3, range(4, 5), tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/train")] == [1, 2, 3, 4]
    assert events.Scalars("loss/valid")[0].value == 2.0


def test_without_tensorboard_nothing_is_written_for_it(tmp_path: Path) -> None:
    log(tmp_path, 0, range(1, 2))
    assert not (tmp_path / "tensorboard").exists()


def test_a_disk_that_is_full_for_tensorboard_is_one_error_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    def full(_self: RecordWriter, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def log_until_it_is_told() -> None:
        with Metrics(tmp_path, tensorboard=True) as metrics:
            metrics.begin(0)
            monkeypatch.setattr(RecordWriter, "write", full)
            for step in range(100):
                metrics.valid(step, 0, loss=2.0, perplexity=7.0)
                time.sleep(0.01)

    hook = threading.excepthook
    with pytest.raises(OSError, match="No space left"):
        log_until_it_is_told()
    assert "Traceback" not in capfd.readouterr().err
    assert threading.excepthook is hook


@pytest.mark.parametrize("steps", [range(0), range(1, 4)])
def test_the_curve_is_a_picture(tmp_path: Path, steps: range) -> None:
    log(tmp_path, 0, steps)
    draw_curve(tmp_path)
    assert (tmp_path / CURVE).read_bytes().startswith(b"\x89PNG")
