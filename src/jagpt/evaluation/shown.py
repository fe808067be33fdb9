"""Results as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from jagpt import units
from jagpt.evaluation.result import Evaluation, TaskFigures, TextFigures
from jagpt.terminal import Terminal

if TYPE_CHECKING:
    from jagpt.evaluation.comparing import ModelMeasured
    from jagpt.evaluation.versus import Comparison

LOG_WIDTH = 120
"""Width of a table that goes into a file or a pipe."""

_FIGURES = (
    ("loss", "loss", ".4f"),
    ("perplexity", "perplexity", ",.2f"),
    ("bits/character", "bits_per_character", ".4f"),
    ("bits/byte", "bits_per_byte", ".4f"),
)


def show_split(result: Evaluation) -> None:
    """One checkpoint on one split."""
    _print(_figures_table([(result.checkpoint, result)]))
    if result.tasks:
        _print(_tasks_table({result.checkpoint: result.tasks}))


def show_models(results: Sequence[ModelMeasured]) -> None:
    """One table for each kind of measurement, one model per line."""
    if texts := [(found.model, found.text) for found in results if found.text]:
        _print(_figures_table(texts))
    if pairs := {found.model: found.pairs for found in results if found.pairs}:
        _print(_pairs_table(pairs))
    if tasks := {found.model: found.tasks for found in results if found.tasks}:
        _print(_tasks_table(tasks))


def show_comparison(found: Comparison) -> None:
    """Both models' figures, and the verdict below."""
    texts = [(one.model, one.text) for one in (found.a, found.b) if one.text]
    _print(_figures_table(texts))
    Terminal().print(escape(found.sentence), soft_wrap=True)


def _figures_table(rows: Sequence[tuple[str, Evaluation | TextFigures]]) -> Table:
    """Figures with their intervals: a model a line or, where that is too wide, a column."""
    first = rows[0][1]
    lines = [(name, _cells(found), _spans(found)) for name, found in rows]
    interval = f"  {first.interval.level:.0%} interval" if first.interval else ""
    console = _console()
    table = _by_line(lines, interval)
    unbound = console.options.update(width=10_000)
    if console.measure(table, options=unbound).maximum > console.width:
        table = _by_column(lines, interval)
    table.caption = (
        f"{units.counted(first.documents, 'document')}, {first.characters:,} characters, "
        f"{first.bytes:,} bytes. "
        "Perplexities of different tokenizers cannot be compared; bits per character can."
    )
    return table


_Line = tuple[str, list[str], list[str]]
"""A model, its figures, and their intervals (empty where there are none)."""
_MEASURES = (*(name for name, _, _ in _FIGURES), "window", "tokens", "tokens/s")


def _cells(found: Evaluation | TextFigures) -> list[str]:
    speed = f"{found.tokens_per_second:,.0f}" if isinstance(found, TextFigures) else ""
    cells = [format(getattr(found, key), form) for _, key, form in _FIGURES]
    return [*cells, f"{found.block_size}/{found.stride}", f"{found.tokens:,}", speed]


def _spans(found: Evaluation | TextFigures) -> list[str]:
    if (interval := found.interval) is None:
        return []
    return [_span(getattr(interval, key), form) for _, key, form in _FIGURES]


def _by_line(lines: Sequence[_Line], interval: str) -> Table:
    table = _table("model", *_MEASURES)
    for name, cells, spans in lines:
        table.add_row(escape(name), *cells)
        if spans:
            table.add_row(interval, *spans, style="dim")
    return table


def _by_column(lines: Sequence[_Line], interval: str) -> Table:
    """A measure a line, its interval below; one that no model has is left out."""
    table = _table("", *(name for name, _, _ in lines))
    for place, measure in enumerate(_MEASURES):
        if any(cells[place] for _, cells, _ in lines):
            table.add_row(measure, *(cells[place] for _, cells, _ in lines))
        spans = ["".join(spans[place : place + 1]) for _, _, spans in lines]
        if any(spans):
            table.add_row(interval, *spans, style="dim")
    return table


def _pairs_table(models: Mapping[str, Mapping[str, Any]]) -> Table:
    """Accuracy by phenomenon, one column per model."""
    table = _table("phenomenon", "pairs", *models)
    found = list(models.values())
    for name, some in found[0]["phenomena"].items():
        shares = (_accuracy(model["phenomena"][name]) for model in found)
        table.add_row(escape(name), str(some["pairs"]), *shares)
    table.add_section()
    table.add_row("all", str(found[0]["pairs"]), *map(_accuracy, found))
    return table


def _accuracy(share: Mapping[str, Any]) -> str:
    low, high = share["interval"]
    return f"{share['accuracy']:.1%} ({low:.0%}–{high:.0%})"


def _tasks_table(models: Mapping[str, Mapping[str, TaskFigures]]) -> Table:
    table = _table("task", "version", "shots", "metric", *models)
    found = list(models.values())
    for task, first in found[0].items():
        for metric in first.metrics:
            values = (tasks[task].metrics.get(metric) for tasks in found if task in tasks)
            shown = ["" if value is None else f"{value:.4f}" for value in values]
            named = map(escape, (task, first.version, str(first.shots), metric))
            table.add_row(*named, *shown)
    return table


def _span(bounds: Sequence[float], form: str) -> str:
    return "–".join(format(bound, form) for bound in bounds)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left")
    table.add_column(escape(first), overflow="fold")
    for name in others:
        table.add_column(escape(name), justify="right", overflow="fold")
    return table


def _console() -> Terminal:
    """Standard output; a log is not bound to a terminal's width."""
    console = Terminal()
    return console if console.is_terminal else Terminal(width=LOG_WIDTH)


def _print(table: Table) -> None:
    _console().print(table)
