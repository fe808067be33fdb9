"""The report: one HTML page about a run, or about several side by side.

It needs no network and runs no script, and its content policy allows neither. What a half-done run
lacks is named on the page.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from jagpt import __version__, charts, comparing, files, units
from jagpt.charts import Point, Series
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import UsageError
from jagpt.files import FileEntry
from jagpt.rundir import RunDirectory
from jagpt.stages import STAGE_NAMES
from jagpt.summary import Summary, collect
from jagpt.text import printable
from jagpt.training.metrics import TrainRow, ValidRow

MAX_FILES = 200
"""Files that the page lists of one stage."""
MAX_TEMPLATES = 15


@dataclass(frozen=True)
class Chart:
    """A titled drawing with the names of its lines (name, colour number from 1)."""

    title: str
    unit: str
    drawing: Markup
    legend: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class RunPage:
    """What the page shows of one run."""

    summary: Summary
    alone: bool
    colour: int
    figures: dict[str, str]
    command: str | None
    recipe_text: str | None
    lengths: Markup | None
    inputs: tuple[FileEntry, ...]
    times: Markup | None

    @property
    def label(self) -> str:
        return self.summary.root.name or self.summary.name


def write_report(runs: list[RunDirectory], path: Path) -> None:
    """Put the page about `runs` at `path`; `UsageError` for none, `DataError` for a damaged one."""
    if not runs:
        raise UsageError("no run directory was given to report on")
    files.remove_leftovers(path.parent, of=path.name)
    files.write_text(path, render(runs))


def render(runs: Sequence[RunDirectory]) -> str:
    """The page as HTML."""
    pages = [_run_page(run, number, len(runs) == 1) for number, run in enumerate(runs)]
    environment = _environment()
    css = Markup(environment.loader.get_source(environment, "report.css")[0])  # type: ignore[union-attr]  # noqa: S704
    return environment.get_template("report.html.j2").render(
        pages=pages,
        css=css,
        css_hash=_content_hash(css),
        title=_title(pages),
        stages=STAGE_NAMES,
        curves=list(_curves(pages)),
        differences=comparing.differences([page.summary.recipe for page in pages]),
        jagpt_version=__version__,
        max_files=MAX_FILES,
        max_templates=MAX_TEMPLATES,
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jagpt"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number,
        percent=units.percent,
        duration=units.duration,
        size=units.size,
        clock=clock,
        clean=printable,
    )
    environment.globals.update(bar=charts.bar)
    return environment


def _content_hash(css: str) -> str:
    """The style sheet's hash, so that the content policy allows it and no other."""
    return base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")


def _run_page(run: RunDirectory, number: int, alone: bool) -> RunPage:
    summary = collect(run)
    corpus = summary.corpus
    return RunPage(
        summary=summary,
        alone=alone,
        colour=number % charts.COLOURS + 1,
        figures=dict(_figures(summary)),
        command=comparing.command(summary.recipe, run.root),
        recipe_text=run.recipe.read_text("utf-8") if run.recipe.is_file() else None,
        lengths=_lengths(corpus) if corpus else None,
        inputs=tuple(_inputs(corpus)) if corpus else (),
        times=charts.stacked(
            [
                (f"{stage}: {units.duration(time.seconds)}", time.seconds)
                for stage, time in summary.times.items()
            ]
        ),
    )


def _lengths(corpus: CorpusStats) -> Markup | None:
    classes = list(corpus.lengths.labelled())
    return charts.histogram(classes, x_label="characters", y_label="documents")


def _inputs(corpus: CorpusStats) -> Iterator[FileEntry]:
    """The files of all sources, by number: their names are not told."""
    for source in corpus.sources:
        for number, file in enumerate(source.files, 1):
            yield FileEntry(f"{source.name} {number}", file.size, file.sha256)


def _title(pages: Sequence[RunPage]) -> str:
    if len(pages) > 1:
        return f"{len(pages)} runs compared"
    recipe = pages[0].summary.recipe
    return recipe.release.title if recipe else pages[0].label


# --- figures --------------------------------------------------------------------------------------


def _figures(summary: Summary) -> Iterator[tuple[str, str]]:
    """The figures that runs are compared by, in order; those that are known."""
    corpus, training, test = summary.corpus, summary.training, summary.evaluation
    if corpus:
        yield "Documents", number(corpus.documents)
    if summary.tokens and "train" in summary.tokens.counts:
        yield "Training tokens", units.amount(summary.tokens.counts["train"])
    if summary.parameters:
        yield "Parameters", units.amount(summary.parameters)
    if training and training.best:
        yield "Best valid loss", f"{training.best.loss:.4f}"
    if test:
        yield f"{test.split.capitalize()} loss", f"{test.loss:.4f}"
        yield f"{test.split.capitalize()} perplexity", f"{test.perplexity:,.2f}"
        yield "Bits per character", f"{test.bits_per_character:.4f}"
    if summary.seconds:
        yield "Time", units.duration(summary.seconds)


# --- curves ---------------------------------------------------------------------------------------


def _curves(pages: Sequence[RunPage]) -> Iterator[Chart]:
    """Loss, its course over time, rate, gradient norm and speed, all runs in each."""
    loss: dict[str, Any] = {"y_label": "nats per token", "log_y": True}
    yield from _chart("Loss", pages, _loss_series, x_label="tokens", **loss)
    yield from _chart(
        "Loss after the first tenth", pages, _late_loss_series,
        x_label="tokens", y_label="nats per token",
    )  # fmt: skip
    unit, seconds = _unit_of_time(pages)
    yield from _chart(
        "Loss over time", pages, _time_series(seconds), x_label=f"{unit} of training", **loss
    )
    for title, key, unit in (
        ("Learning rate", "learning_rate", "as scheduled"),
        ("Gradient norm", "gradient_norm", "before clipping"),
        ("Speed", "tokens_per_second", "tokens per second"),
    ):
        yield from _chart(
            title, pages, _single_series(key), x_label="tokens", y_label=unit, zero=True
        )


def _chart(
    title: str,
    pages: Sequence[RunPage],
    series_of: Callable[[RunPage], list[Series]],
    *,
    y_label: str,
    **options: Any,
) -> Iterator[Chart]:
    series = [found for page in pages for found in series_of(page) if found.points]
    drawing = charts.line_chart(series, y_label=y_label, **options)
    if drawing is not None:
        named = {s.name: s.colour % charts.COLOURS + 1 for s in series if s.kind != "faint"}
        yield Chart(title, y_label, drawing, tuple(named.items()) if len(named) > 1 else ())


def _loss_series(page: RunPage) -> list[Series]:
    """Training loss, smoothed, and validation loss with dots.

    One run gets two colours, and its raw course behind; several runs get one colour each.
    """
    train = _points(page.summary.train_rows, "tokens", "loss")
    valid = _points(page.summary.valid_rows, "tokens", "loss")
    if not page.alone:
        return [
            Series(f"{page.label} train", charts.smoothed(train), page.colour - 1, "faint"),
            Series(page.label, valid, page.colour - 1, "dots"),
        ]
    return [
        Series("train", train, 0, "faint"),
        Series("train", charts.smoothed(train), 0),
        Series("valid", valid, 1, "dots"),
    ]


def _late_loss_series(page: RunPage) -> list[Series]:
    """The same without the steep beginning, so that the end can be read."""
    series = _loss_series(page)
    last = max((point[0] for one in series for point in one.points), default=0.0)
    return [
        replace(one, points=tuple(point for point in one.points if point[0] >= last / 10))
        for one in series
        if one.kind != "faint" or not page.alone
    ]


def _unit_of_time(pages: Sequence[RunPage]) -> tuple[str, float]:
    """Hours and their seconds, or minutes where all runs were shorter than an hour."""
    rows = (row for page in pages for row in page.summary.train_rows[-1:])
    longest = max((row.seconds or 0.0 for row in rows), default=0.0)
    return ("hours", 3600.0) if longest >= 3600 else ("minutes", 60.0)


def _time_series(unit: float) -> Callable[[RunPage], list[Series]]:
    """Losses by the time of steps behind them, as the last training row before them tells it."""

    def series(page: RunPage) -> list[Series]:
        logged = _points(page.summary.train_rows, "step", "seconds")
        steps = [step for step, _ in logged]

        def timed(rows: Sequence[TrainRow] | Sequence[ValidRow]) -> tuple[Point, ...]:
            places = (
                (bisect.bisect_right(steps, step) - 1, loss)
                for step, loss in _points(rows, "step", "loss")
            )
            return tuple((logged[i][1] / unit if i >= 0 else 0.0, loss) for i, loss in places)

        valid = timed(page.summary.valid_rows) if logged else ()
        if not page.alone:
            return [Series(page.label, valid, page.colour - 1, "dots")]
        train = charts.smoothed(timed(page.summary.train_rows)) if logged else ()
        return [Series("train", train, 0), Series("valid", valid, 1, "dots")]

    return series


def _single_series(key: str) -> Callable[[RunPage], list[Series]]:
    def series(page: RunPage) -> list[Series]:
        points = _points(page.summary.train_rows, "tokens", key)
        return [Series(page.label, points, page.colour - 1)]

    return series


def _points(rows: Sequence[TrainRow] | Sequence[ValidRow], x: str, y: str) -> tuple[Point, ...]:
    found = ((getattr(row, x), getattr(row, y)) for row in rows)
    return tuple((at, value) for at, value in found if at is not None and value is not None)


# --- how values look ------------------------------------------------------------------------------


def number(value: float) -> str:
    """A count with thousands set apart."""
    return f"{value:,}"


def clock(moment: str | None) -> str:
    """An ISO time for people."""
    return "not finished" if moment is None else moment.replace("T", " ").replace("+00:00", " UTC")
