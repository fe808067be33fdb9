"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

LOG_WIDTH = 120
"""Columns of a table that goes into a file or a pipe."""

_FIGURES = (
    ("loss", "loss", ".4f"),
    ("perplexity", "perplexity", ",.2f"),
    ("bits/character", "bits_per_character", ".4f"),
    ("bits/byte", "bits_per_byte", ".4f"),
)


def show_split(result: Mapping[str, Any]) -> None:
    """One checkpoint on one split."""
    _print(_figures_table([(str(result["checkpoint"]), result)]))


def show_models(results: Sequence[Mapping[str, Any]]) -> None:
    """One table for each kind of measurement, a model a line."""
    if "text" in results[0]:
        _print(_figures_table([(found["model"], found["text"]) for found in results]))
    if "pairs" in results[0]:
        _print(_pairs_table(results))
    if "tasks" in results[0]:
        _print(_tasks_table(results))


def _figures_table(rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Figures with their intervals below."""
    table = _table("model", *(name for name, _, _ in _FIGURES), "window", "tokens", "tokens/s")
    for name, found in rows:
        speed = found.get("tokens_per_second")
        cells = [format(found[key], form) for _, key, form in _FIGURES]
        window = f"{found['block_size']}/{found['stride']}"
        shown = f"{speed:,.0f}" if speed else ""
        table.add_row(escape(name), *cells, window, f"{found['tokens']:,}", shown)
        if interval := found["interval"]:
            spans = [_span(interval[key], form) for _, key, form in _FIGURES]
            table.add_row(f"  {interval['level']:.0%} interval", *spans, "", "", "", style="dim")
    characters, size = rows[0][1]["characters"], rows[0][1]["bytes"]
    table.caption = (
        f"{rows[0][1]['documents']:,} document(s), {characters:,} characters, {size:,} bytes. "
        "Perplexities of different tokenizers cannot be compared; bits per character can."
    )
    return table


def _pairs_table(results: Sequence[Mapping[str, Any]]) -> Table:
    """Accuracy by phenomenon, a column a model."""
    table = _table("phenomenon", "pairs", *(found["model"] for found in results))
    found = [result["pairs"] for result in results]
    for name, some in found[0]["phenomena"].items():
        table.add_row(name, str(some["pairs"]), *(_accuracy(f["phenomena"][name]) for f in found))
    table.add_section()
    table.add_row("all", str(found[0]["pairs"]), *map(_accuracy, found))
    return table


def _accuracy(share: Mapping[str, Any]) -> str:
    low, high = share["interval"]
    return f"{share['accuracy']:.1%} ({low:.0%}–{high:.0%})"


def _tasks_table(results: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("task", "metric", *(found["model"] for found in results))
    for task, metrics in results[0]["tasks"].items():
        for metric in metrics:
            values = (found["tasks"].get(task, {}).get(metric) for found in results)
            shown = ["" if value is None else f"{value:.4f}" for value in values]
            table.add_row(task, metric, *shown)
    return table


def _span(bounds: Sequence[float], form: str) -> str:
    return "–".join(format(bound, form) for bound in bounds)


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, caption_justify="left")
    table.add_column(escape(first), overflow="fold")
    for name in others:
        table.add_column(escape(name), justify="right")
    return table


def _print(table: Table) -> None:
    console = Console()
    (console if console.is_terminal else Console(width=LOG_WIDTH)).print(table)
