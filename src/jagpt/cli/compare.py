"""The verb that compares two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jagpt.cli.common import Location, app, json_option, make_progress, print_json, warn_of_stale
from jagpt.cli.evaluate import measure_options


@app.command()
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@click.option(
    "--text",
    type=Location(),
    metavar="FILE",
    help="Plain text, JSON Lines or Parquet; by default the test split of A's run.",
)
@measure_options
@json_option
def compare(
    a: str, b: str, text: Path | None, layout: str, column: str, as_json: bool, **options: Any
) -> None:
    """Is model B better than A? Compares both on one text, document by document.

    A and B are runs, model folders or hub ids, with any tokenizers. Prints the difference
    in bits per character, its confidence interval over the documents, and a verdict.
    """
    from jagpt.comparing import held_out
    from jagpt.evaluation import comparing, texts, versus
    from jagpt.records import plain

    chosen = texts.read(text, layout, column) if text else held_out(a)
    for name in (a, b):
        warn_of_stale(name)
    settings = comparing.MeasureSettings(**options)
    found = versus.compare(a, b, chosen, settings, make_progress(as_json))
    if as_json:
        print_json(plain(found))
    else:
        from jagpt.evaluation.shown import show_comparison

        show_comparison(found)
