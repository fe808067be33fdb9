"""The report: one HTML page about a run, or about several side by side, in English or Japanese.

It needs no network and runs no script, and its content policy allows neither. The page names what
an unfinished run lacks.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import locale
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Literal

import jinja2
from markupsafe import Markup

from jagpt import __version__, charts, comparing, files, units
from jagpt.charts import Point, Series
from jagpt.corpus.stats import CorpusStats
from jagpt.errors import UsageError
from jagpt.manifests import FileEntry
from jagpt.rundir import RunDirectory
from jagpt.stages import STAGE_NAMES, TRAIN
from jagpt.summary import Summary, collect
from jagpt.text import Said, printable
from jagpt.training.environment import Environment
from jagpt.training.metrics import TrainRow, ValidRow

Language = Literal["en", "ja"]
MAX_FILES = 200
"""Most files that the page lists per stage."""
MAX_TEMPLATES = 15


def system_language() -> Language:
    """Japanese where the system's language is, else English."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    name = next(filter(None, names), None) or locale.getlocale()[0] or ""
    return "ja" if name.lower().startswith("ja") else "en"


class Words:
    """The page's words in its language: `words("{count} files", count=3)`."""

    def __init__(self, language: Language) -> None:
        text = "" if language == "en" else _template(f"report.{language}.toml")
        self.table: dict[str, str] = tomllib.loads(text)

    def __call__(self, text: str, **values: object) -> str:
        if isinstance(text, Said):
            values = dict(text.values)
            text = text.form
        found = self.table.get(text, text)
        said = found.format(**values) if values else found
        return said if self.table else units.agreeing(said)

    def duration(self, seconds: float) -> str:
        """A measured time."""
        return re.sub(r"\b(h|min|s)\b", lambda unit: self(unit[0]), units.duration(seconds))

    def clock(self, moment: str | None) -> str:
        """An ISO time for people."""
        if moment is None:
            return self("not finished")
        return moment.replace("T", " ").replace("+00:00", " UTC")


def _template(name: str) -> str:
    return (resources.files("jagpt") / "templates" / name).read_text("utf-8")


@dataclass(frozen=True)
class Chart:
    """A titled drawing with the names of its lines (name, colour number from 1)."""

    title: str
    unit: str
    drawing: Markup
    legend: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class RunPage:
    """What the page shows about one run."""

    summary: Summary
    label: str
    alone: bool
    colour: int
    facts: tuple[str, ...]
    hardware: str | None
    verdict: str | None
    figures: dict[str, str]
    command: str | None
    recipe_text: str | None
    lengths: Markup | None
    inputs: tuple[FileEntry, ...]
    times: Markup | None

    def without(self, stage: str) -> str:
        """What is shown instead of a figure of this stage."""
        return "stale" if stage in self.summary.stale else "–"


def is_report(path: Path) -> bool:
    """Whether the file is a page that `write_report` made."""
    with path.open("rb") as file:
        head = file.read(2**16)
    return head.startswith(b"<!doctype html>") and " – jagpt</title>".encode() in head


def write_report(
    runs: list[RunDirectory],
    path: Path,
    language: Language = "en",
    price_per_hour: float | None = None,
) -> None:
    """Put the page about `runs` at `path`; `UsageError` for none, `DataError` for a damaged one.

    With `price_per_hour` of a GPU (or a machine without one) it tells what training cost.
    """
    if not runs:
        raise UsageError("no run directory was given to report on")
    files.remove_leftovers(path.parent, of=path.name)
    files.write_text(path, render(runs, language, price_per_hour))


def render(
    runs: Sequence[RunDirectory],
    language: Language = "en",
    price_per_hour: float | None = None,
) -> str:
    """The page as HTML."""
    words = Words(language)
    labels = _labels([run.root for run in runs])
    pages = [
        _run_page(run, number, labels, words, price_per_hour) for number, run in enumerate(runs)
    ]
    css = Markup(_template("report.css"))  # noqa: S704
    template = _environment(words).get_template("report.html.j2")
    return template.render(
        pages=pages,
        css=css,
        css_hash=_content_hash(css),
        language=language,
        title=_title(pages, words),
        stages=STAGE_NAMES,
        curves=list(_curves(pages, words)),
        differences=comparing.differences([page.summary.recipe for page in pages]),
        jagpt_version=__version__,
        max_files=MAX_FILES,
        max_templates=MAX_TEMPLATES,
    )


def _labels(roots: Sequence[Path]) -> list[str]:
    """What runs are called: their folders' names, after those above where they are the same."""
    labels = [root.name for root in roots]
    places = [root.absolute().parts for root in roots]
    depth = 1
    while len(set(labels)) < len(set(places)) and depth < max(map(len, places)):
        depth += 1
        labels = [
            "/".join(place[-depth:]) if labels.count(label) > 1 else label
            for label, place in zip(labels, places, strict=True)
        ]
    return labels


def _environment(words: Words) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jagpt"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        t=words,
        number=number,
        percent=units.percent,
        duration=words.duration,
        size=units.size,
        clock=words.clock,
        clean=printable,
        closed_up=closed_up,
    )
    environment.globals.update(bar=charts.bar)
    return environment


def _content_hash(css: str) -> str:
    """The style sheet's hash, so that the content policy allows it and no other."""
    return base64.b64encode(hashlib.sha256(css.encode("utf-8")).digest()).decode("ascii")


def _run_page(
    run: RunDirectory,
    number: int,
    labels: Sequence[str],
    words: Words,
    price_per_hour: float | None,
) -> RunPage:
    summary = collect(run)
    corpus = summary.corpus
    return RunPage(
        summary=summary,
        label=labels[number] or summary.name,
        alone=len(labels) == 1,
        colour=number % charts.COLOURS + 1,
        facts=tuple(_facts(summary, words, price_per_hour)),
        hardware=_hardware(summary.trained_on, words),
        verdict=_verdict(summary, words),
        figures=dict(_figures(summary, words)),
        command=comparing.command(summary.recipe, run.root),
        recipe_text=run.recipe.read_text("utf-8") if run.recipe.is_file() else None,
        lengths=_lengths(corpus, words) if corpus else None,
        inputs=tuple(_inputs(corpus)) if corpus else (),
        times=charts.stacked(
            [
                (f"{stage}: {words.duration(time.seconds)}", time.seconds)
                for stage, time in summary.times.items()
            ],
            words("Shares of the time"),
        ),
    )


def _facts(summary: Summary, words: Words, price_per_hour: float | None) -> Iterator[str]:
    """When, how long and on what; the cost where the price is known."""
    finished = [time.finished for time in summary.times.values() if time.finished]
    if finished:
        yield words("finished {moment}", moment=words.clock(max(finished)))
    if summary.seconds:
        yield words("{time} in all", time=words.duration(summary.seconds))
    training, where = summary.times.get(TRAIN.name), summary.trained_on
    if training:
        yield words("{time} of training", time=words.duration(training.seconds))
    if hardware := _hardware(where, words):
        yield hardware
    if training and price_per_hour is not None:
        price = price_per_hour * (where.world_size if where and where.device != "cpu" else 1)
        cost = training.seconds / 3600 * price
        yield words("training cost {cost:,.2f} at {price:g} per hour", cost=cost, price=price)


def _hardware(where: Environment | None, words: Words) -> str | None:
    """What training ran on."""
    if where is None:
        return None
    if where.device != "cpu":
        return where.hardware
    return words("CPU ({name}, {count} threads)", name=where.processor, count=where.all_threads)


def _verdict(summary: Summary, words: Words) -> str | None:
    """The run's figure beside the one that its recipe names."""
    training, test = summary.training, summary.evaluation
    best = training.best.loss if training and training.best else None
    perplexity = test.perplexity if test else None
    found = summary.recipe and comparing.verdict(summary.recipe, perplexity, best)
    if not found:
        return None
    digits = ".2f" if found.measure == "test perplexity" else ".4f"
    said = partial(
        words,
        name=found.name,
        measure=words(found.measure.capitalize()),
        theirs=format(found.theirs, digits),
    )
    if found.ours is None:
        return said("{name}: {measure} {theirs}. Not measured here yet.")
    ours = format(found.ours, digits)
    if found.reasons:
        reasons = (
            words("{key} is {here} here and {there} there", key=key, here=here, there=there)
            for key, here, there in found.reasons
        )
        return said(
            "{measure} {ours}. Not comparable with the {theirs} of {name}: {reasons}.",
            ours=ours,
            reasons=words("; ").join(reasons),
        )
    share = units.percent(abs(found.ours - found.theirs) / found.theirs)
    if found.ours <= found.theirs:
        return said("{measure} {ours}: {share} lower than the {theirs} of {name}.",
                    ours=ours, share=share)  # fmt: skip
    return said("{measure} {ours}: {share} higher than the {theirs} of {name}.",
                ours=ours, share=share)  # fmt: skip


def _lengths(corpus: CorpusStats, words: Words) -> Markup | None:
    return charts.histogram(
        list(corpus.lengths.labelled()),
        x_label=words("characters"),
        label=words("documents by characters"),
    )


def _inputs(corpus: CorpusStats) -> Iterator[FileEntry]:
    """The files of all sources, counted: their names are not shown."""
    for source in corpus.sources:
        for number, file in enumerate(source.files, 1):
            yield FileEntry(f"{source.name} {number}", file.size, file.sha256)


def _title(pages: Sequence[RunPage], words: Words) -> str:
    if len(pages) > 1:
        return words("{count} runs compared", count=len(pages))
    recipe = pages[0].summary.recipe
    return recipe.release.title if recipe else pages[0].label


# --- figures --------------------------------------------------------------------------------------


def _figures(summary: Summary, words: Words) -> Iterator[tuple[str, str]]:
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
        yield "Time", words.duration(summary.seconds)


# --- curves ---------------------------------------------------------------------------------------


def _curves(pages: Sequence[RunPage], words: Words) -> Iterator[Chart]:
    """Loss, its course over time, rate, gradient norm and speed, all runs in each."""
    draw = partial(_chart, pages, words)
    nats = "nats per token"
    yield from draw("Loss", _loss_series, "tokens", nats, log_y=True)
    yield from draw("Loss after the first tenth", _late_loss_series, "tokens", nats)
    unit, seconds = _unit_of_time(pages)
    time = f"{unit} of training"
    yield from draw("Loss over time", _time_series(seconds), time, nats, log_y=True)
    for title, key, unit in (
        ("Learning rate", "learning_rate", "as scheduled"),
        ("Gradient norm", "gradient_norm", "before clipping"),
        ("Speed", "tokens_per_second", "tokens per second"),
    ):
        yield from draw(title, _single_series(key), "tokens", unit, zero=True)


def _chart(
    pages: Sequence[RunPage],
    words: Words,
    title: str,
    series_of: Callable[[RunPage], list[Series]],
    x: str,
    y: str,
    **options: bool,
) -> Iterator[Chart]:
    series = [found for page in pages for found in series_of(page) if found.points]
    x, y = words(x), words(y)
    label = words("{y} against {x}", x=x, y=y)
    drawing = charts.line_chart(series, x_label=x, label=label, **options)
    if drawing is not None:
        named = {s.name: s.colour % charts.COLOURS + 1 for s in series if s.kind != "faint"}
        yield Chart(words(title), y, drawing, tuple(named.items()) if len(named) > 1 else ())


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


def closed_up(text: str) -> str:
    """A text without blank lines."""
    return re.sub(r"\n\s*\n", "\n", text).rstrip()
