"""How the speed of a processor is found: the network's own products, until two windows agree."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from jagpt import recipe as recipes
from jagpt.plan import measured

ONE = (((4, 8), 3),)


def test_the_products_are_those_of_the_network() -> None:
    quickstart = recipes.load("quickstart")
    gpt2 = measured.shapes(quickstart)
    expected = {(192, 576): 4, (192, 192): 4, (192, 768): 4, (768, 192): 4, (192, 2000): 1}
    assert gpt2 == expected
    llama = recipes.load("quickstart", ("model.type=llama", "model.config.intermediate_size=48"))
    found = measured.shapes(llama)
    assert found[(48, 192)] == 2 * 4  # the MLP's gate and its way up
    assert found[(2000, 192)] == 1


@pytest.mark.parametrize(
    ("windows", "seconds"),
    [
        ([2.0, 1.98, 9.0], 1.98),
        ([4.0, 2.0, 1.0, 1.01, 9.0], 1.0),  # a laptop finds its frequency
        ([1.0, 5.0, 1.02, 9.0], 1.0),  # a neighbour was busy for a while
    ],
)
def test_it_is_measured_until_two_windows_agree(
    monkeypatch: pytest.MonkeyPatch, windows: list[float], seconds: float
) -> None:
    left: Iterator[float] = iter(windows)
    monkeypatch.setattr(measured, "_window", lambda *_: next(left))
    assert measured._agreed(ONE, 8, torch.float32, time.perf_counter) == seconds
    assert next(left) == 9.0


def test_emulated_arithmetic_is_measured_in_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def agreed(_wanted: object, rows: int, *_: object) -> float:
        tried.append(rows)
        return 1e9

    monkeypatch.setattr(measured, "_speed_of", agreed)
    for units, precision in ((True, "bf16"), (False, "bf16"), (False, "fp32")):
        monkeypatch.setattr("jagpt.devices.cpu_bf16", lambda units=units: units)
        measured.speed(recipes.load("quickstart").with_precision(precision))
    assert tried == [measured.ROWS, measured.FEW_ROWS, measured.ROWS]


def test_two_estimates_in_a_row_agree_on_this_machine() -> None:
    quickstart = recipes.load("quickstart").with_precision("fp32")
    found = []
    for _ in range(2):
        measured._speed_of.cache_clear()
        found.append(measured.speed(quickstart))
    assert 0.4 < found[0] / found[1] < 2.5  # 15 % on a machine that does nothing else


@pytest.mark.parametrize(("used", "speed"), [(1.9, 1.0), (0.2, 4 * 1.9)])
def test_where_others_take_the_cores_one_threads_own_time_tells(
    monkeypatch: pytest.MonkeyPatch, used: float, speed: float
) -> None:
    flops = 6 * 8 * 3 * 4 * 8
    wall, own = iter([0.0, 1.0]), iter([0.0, used])
    clock = SimpleNamespace(
        perf_counter=lambda: next(wall), process_time=lambda: next(own), thread_time="thread"
    )
    monkeypatch.setattr(measured, "time", clock)
    monkeypatch.setattr(measured, "_agreed", lambda *of: 0.25 if of[-1] == "thread" else 1.0)
    found = measured._speed_of.__wrapped__(ONE, 8, torch.float32, 2)
    assert found == pytest.approx(flops * speed)
