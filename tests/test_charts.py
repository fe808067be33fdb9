from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import pytest

from jagpt import charts
from jagpt.charts import Series


def test_a_line_chart_is_well_formed_and_inside_its_box() -> None:
    points = tuple((x * 1000.0, 10 / (x + 1)) for x in range(100))
    drawn = charts.line_chart(
        [Series("train <1>", points), Series("valid", points[::10], 1, "dots")],
        x_label="tokens", label="loss against tokens", log_y=True,
    )  # fmt: skip
    assert drawn is not None
    root = ET.fromstring(drawn)  # noqa: S314 - our own drawing
    assert len(root.findall("circle")) == 10
    for circle in root.findall("circle"):
        assert 0 <= float(circle.attrib["cx"]) <= charts.WIDTH
        assert 0 <= float(circle.attrib["cy"]) <= charts.HEIGHT
    assert [title.text for title in root.findall("path/title")] == ["train <1>", "valid"]
    assert "style" not in drawn


@pytest.mark.parametrize("points", [(), ((1.0, 2.0),), ((1.0, 0.0), (2.0, -1.0))])
def test_draws_nothing_without_two_points(points: tuple[charts.Point, ...]) -> None:
    assert charts.line_chart([Series("a", points)], x_label="x", log_y=True) is None


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize(
    "values",
    [
        (1e308, 1.79e308),
        (1e308, -1e308),
        (1e-320, 1e300),
        (0.0, 5e-324),
        (charts.SMALLEST, charts.LARGEST),
        (-charts.LARGEST, charts.LARGEST),
        (0.0, charts.SMALLEST),
        (charts.LARGEST, math.nextafter(charts.LARGEST, 0)),
        (math.nan, math.inf),
    ],
)
def test_any_numbers_of_a_file_are_drawn_or_left_out(values: tuple[float, ...], log: bool) -> None:
    points = tuple((at, value) for value in (*values, 1.0, 2.0) for at in (*values, -1.0, 3.0))
    for given in (points, charts.smoothed(points)):
        drawn = charts.line_chart([Series("a", given)], x_label="x", log_y=log)
        assert drawn is not None
        assert not any(word in drawn for word in ("nan", "inf"))


@pytest.mark.parametrize("log", [True, False])
@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("last", [3.0, math.nextafter(3.0, 4.0)])
def test_equal_values_make_a_flat_line(log: bool, zero: bool, last: float) -> None:
    points = ((1.0, 3.0), (2.0, last))
    drawn = charts.line_chart([Series("a", points)], x_label="x", log_y=log, zero=zero and not log)
    assert drawn is not None
    assert "nan" not in drawn


def test_thinning_keeps_ends_near_and_the_mean() -> None:
    points = tuple((float(x), float(x % 7)) for x in range(10_000))
    thin = charts.thinned(points)
    assert len(thin) == charts.MAX_POINTS
    assert sum(y for _, y in thin) / len(thin) == pytest.approx(3, abs=0.05)
    assert thin[0][0] < 20
    assert thin[-1][0] > 9_970


def test_smoothing_follows_a_fall_and_calms_noise() -> None:
    points = tuple((float(x), 2.0 + (-1) ** x) for x in range(1000))
    assert charts.smoothed(points)[-1][1] == pytest.approx(2, abs=0.05)
    assert charts.smoothed(points)[0] == points[0]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (0, 47, [0, 10, 20, 30, 40]), (3.1, 3.4, None)],
)
def test_ticks_are_round(low: float, high: float, expected: list[float] | None) -> None:
    found = charts.ticks(low, high)
    assert expected is None or found == pytest.approx(expected)
    assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)
    assert 3 <= len(found) <= 7


@pytest.mark.parametrize(("low", "high"), [(3.0, 3.5), (3.0, 11.0), (0.01, 10.0), (1e-3, 1e9)])
def test_log_ticks_lie_between_the_bounds(low: float, high: float) -> None:
    found = charts.log_ticks(low, high)
    assert 2 <= len(found) <= 8
    assert all(low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9) for tick in found)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1500, "1.5 k"),
        (612_044_301, "612 M"),
        (3e9, "3 B"),
        (0.5, "0.5"),
        (6e-4, "6.0e-4"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert charts.short(value) == text


def test_bars_and_columns_are_well_formed() -> None:
    assert 'width="50.0"' in charts.bar(0.5)
    assert 'width="100' in charts.bar(math.inf)
    histogram = charts.histogram([("0–10", 3), ("10+", 4)], x_label="x")
    assert histogram is not None
    assert len(ET.fromstring(histogram).findall("rect")) == 2  # noqa: S314 - our own drawing
    assert charts.histogram([("0–10", 0)], x_label="x") is None
    alone = charts.histogram([("0–10", 0), ("10–20", 4), ("20+", 0)], x_label="x")
    (column,) = ET.fromstring(alone or "").findall("rect")  # noqa: S314 - our own drawing
    assert float(column.attrib["width"]) == charts.WIDEST_COLUMN
    assert charts.stacked([]) is None
    assert "a &lt;b&gt;" in (charts.stacked([("a <b>", 1.0), ("c", 2.0)]) or "")
