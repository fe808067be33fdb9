"""Small charts as inline SVG, drawn for a page that styles them: no scripts, no fonts, no files.

Colours are classes (`s1` … `s6`), so that the page's light and dark themes apply to the charts too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from jagpt import units

Point = tuple[float, float]
WIDTH, HEIGHT = 460.0, 260.0
LEFT, RIGHT, TOP, BOTTOM = 50.0, 14.0, 12.0, 36.0
COLOURS = 6
WIDEST_COLUMN = 60.0
MAX_POINTS = 360
"""Points per line; longer series are averaged into this many buckets."""
SMALLEST, LARGEST = 1e-100, 1e100
"""Magnitudes, besides 0, that are drawn: an axis is computed with their sums and quotients."""


@dataclass(frozen=True)
class Series:
    """Named points (x, y); `colour` counts from 0. `faint` draws a thin background line."""

    name: str
    points: tuple[Point, ...]
    colour: int = 0
    kind: Literal["line", "faint", "dots"] = "line"


@dataclass(frozen=True)
class Scale:
    """From data to pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (self._mapped(number) for number in (self.low, self.high, value))
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self) -> list[float]:
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high)

    def _mapped(self, value: float) -> float:
        return math.log(value) if self.log else value


def line_chart(
    series: Sequence[Series],
    *,
    x_label: str,
    log_y: bool = False,
    zero: bool = False,
    label: str = "",
) -> Markup | None:
    """Lines over a common x axis from 0; None if there is nothing to draw.

    With `log_y`, values that are not above 0 are left out; with `zero` the y axis begins at 0.
    `label` is read out instead of the picture.
    """
    kept = [
        Series(s.name, thinned(points), s.colour, s.kind)
        for s in series
        for points in [[p for p in drawable(s.points) if not log_y or p[1] > 0]]
    ]
    points = [point for s in kept for point in s.points]
    if len(points) < 2:
        return None
    x = Scale(0, max(0.0, *(p[0] for p in points)) or 1, LEFT, WIDTH - RIGHT)
    low, high = _padded(min(p[1] for p in points), max(p[1] for p in points), log_y)
    low = 0.0 if zero and high > 0 else low
    y = Scale(low, high, HEIGHT - BOTTOM, TOP, log_y)
    drawn = Markup("").join(_series(s, x, y) for s in kept if s.points)
    return _svg(_axes(x, y, x_label) + drawn, WIDTH, HEIGHT, label)


def histogram(bins: Sequence[tuple[str, int]], *, x_label: str, label: str = "") -> Markup | None:
    """Columns with a label each, empty ones at both ends left out; None if all are empty."""
    filled = [number for number, (_, count) in enumerate(bins) if count]
    bins = bins[filled[0] : filled[-1] + 1] if filled else ()
    highest = max((count for _, count in bins), default=0)
    if not highest:
        return None
    y = Scale(0, highest * 1.05, HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / len(bins)
    columns = Markup("").join(
        _column(label, count, LEFT + number * step, step, y)
        for number, (label, count) in enumerate(bins)
    )
    every = math.ceil(len(bins) / 6)
    labels = Markup("").join(
        _text(LEFT + (number + 0.5) * step, HEIGHT - BOTTOM + 15, label.split("–")[0], "middle")
        for number, (label, _) in enumerate(bins)
        if number % every == 0
    )
    title = _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "middle", "axis-title")
    return _svg(_y_grid(y) + columns + labels + title, WIDTH, HEIGHT, label)


def bar(share: float, colour: int = 0) -> Markup:
    """One horizontal bar that fills `share` (0 … 1) of its width."""
    width = round(100 * min(max(share, 0.0), 1.0), 2)
    return Markup(
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="track" width="100" height="8"/>'
        '<rect class="fill s{}" width="{}" height="8"/></svg>'
    ).format(colour % COLOURS + 1, width)


def stacked(parts: Sequence[tuple[str, float]], label: str = "") -> Markup | None:
    """Shares of a whole on one bar, in order; None if the whole is nothing."""
    whole = sum(value for _, value in parts)
    if whole <= 0:
        return None
    pieces, left = Markup(""), 0.0
    for number, (name, value) in enumerate(parts):
        width = 1000 * value / whole
        pieces += Markup(
            '<rect class="fill s{}" x="{:.2f}" width="{:.2f}" height="22"><title>{}</title></rect>'
        ).format(number % COLOURS + 1, left, max(width - 1.5, 0.5), name)
        left += width
    return Markup(
        '<svg class="stacked" viewBox="0 0 1000 22" preserveAspectRatio="none" role="img" '
        'aria-label="{}">{}</svg>'
    ).format(label, pieces)


# --- numbers --------------------------------------------------------------------------------------


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers between two bounds, about `count` of them."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis."""
    if high / low < 2:
        return ticks(low, high)
    steps: tuple[float, ...] = (1, 3) if high / low < 300 else (1,)
    if high / low < 30:
        steps = (1, 1.5, 2, 3, 4, 5, 6, 8)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in powers for step in steps]
    kept = [tick for tick in found if low <= tick <= high]
    return kept[:: math.ceil(len(kept) / 8) or 1]


def short(value: float) -> str:
    """A number in few characters, small ones too: `1.5 M`, `2.0e-5`."""
    if value == 0 or abs(value) >= 1e-3:
        return units.amount(value)
    return f"{value:.1e}".replace("e-0", "e-")


def drawable(points: Iterable[Point]) -> list[Point]:
    """The points that an axis can show: the others in a file are no measurements, and go."""
    return [point for point in points if all(map(_is_drawable, point))]


def _is_drawable(value: float) -> bool:
    return value == 0 or SMALLEST <= abs(value) <= LARGEST


def thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most `MAX_POINTS` points: means of equally many neighbours."""
    if len(points) <= MAX_POINTS:
        return tuple(points)
    bounds = [round(i * len(points) / MAX_POINTS) for i in range(MAX_POINTS + 1)]
    parts = [points[a:b] for a, b in itertools.pairwise(bounds)]
    return tuple((_mean([p[0] for p in part]), _mean([p[1] for p in part])) for part in parts)


def smoothed(points: Sequence[Point], window: float = 0.03) -> tuple[Point, ...]:
    """An exponential average over a share of the points; shorter at the start, which falls fast."""
    average, found = 0.0, []
    points = drawable(points)
    for number, (x, y) in enumerate(points, 1):
        width = max(min(number * 0.1, len(points) * window), 1.0)
        average += (y - average) / width
        found.append((x, average))
    return tuple(found)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _padded(low: float, high: float, log: bool) -> tuple[float, float]:
    """The axis's bounds: a little more than the values need."""
    if math.isclose(low, high):
        return (low / 1.1, high * 1.1) if log else (low - (abs(low) or 1), high + (abs(high) or 1))
    if log:
        share = (high / low) ** 0.05
        return low / share, high * share
    margin = (high - low) * 0.05
    return (0.0 if 0 <= low <= 0.5 * high else low - margin), high + margin


# --- drawing --------------------------------------------------------------------------------------


def _series(series: Series, x: Scale, y: Scale) -> Markup:
    place = [(round(x(p[0]), 1), round(y(p[1]), 1)) for p in series.points]
    colour = series.colour % COLOURS + 1
    path = "M" + "L".join(f"{px:g} {py:g}" for px, py in place)
    kind = "faint" if series.kind == "faint" else "line"
    drawn = Markup('<path class="{} s{}" d="{}"><title>{}</title></path>').format(
        kind, colour, path, series.name
    )
    if series.kind == "dots" or len(place) == 1:
        dots = (
            Markup('<circle class="dot s{}" cx="{:g}" cy="{:g}" r="3"><title>{}</title></circle>')
            .format(colour, px, py, f"{series.name}: {value:.4g} at {short(at)}")
            for (px, py), (at, value) in zip(place, series.points, strict=True)
        )  # fmt: skip
        drawn += Markup("").join(dots)
    return drawn


def _axes(x: Scale, y: Scale, x_label: str) -> Markup:
    drawn = _y_grid(y)
    for tick in x.ticks():
        drawn += _text(x(tick), HEIGHT - BOTTOM + 15, short(tick), "middle")
    drawn += Markup('<path class="axis" d="M{} {}H{}"/>').format(
        LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT
    )
    return drawn + _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "middle", "axis-title")


def _y_grid(y: Scale) -> Markup:
    drawn = Markup("")
    for tick in y.ticks():
        height = round(y(tick), 1)
        drawn += Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, height, WIDTH - RIGHT)
        drawn += _text(LEFT - 7, height + 4, short(tick), "end")
    return drawn


def _column(label: str, count: int, left: float, step: float, y: Scale) -> Markup:
    top, width = y(count), min(step * 0.8, WIDEST_COLUMN)
    return Markup(
        '<rect class="fill s1" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" rx="2">'
        "<title>{}: {:,}</title></rect>"
    ).format(left + (step - width) / 2, top, width, HEIGHT - BOTTOM - top, label, count)


def _text(x: float, y: float, text: str, anchor: str, kind: str = "tick") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        kind, x, y, anchor, text
    )


def _svg(content: Markup, width: float, height: float, label: str) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {:g} {:g}" role="img" aria-label="{}">{}</svg>'
    ).format(width, height, label, content)
