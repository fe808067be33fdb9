"""The verbs that look at runs: their state, files and figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jagpt import units
from jagpt.cli.common import (
    Finite,
    Location,
    app,
    json_option,
    make_progress,
    open_run,
    print_json,
    run_directory_argument,
)
from jagpt.errors import DataError, UsageError

if TYPE_CHECKING:
    from jagpt.report import Language


@app.command()
@run_directory_argument
@json_option
def status(run_dir: Path, as_json: bool) -> None:
    """Which stages are done, which are stale and why, and what is in execution.remote."""
    from jagpt import console, pipeline

    recipe, place = open_run(run_dir)
    states = pipeline.examine(recipe, place, pipeline.Ledger.read(place))
    elsewhere = None
    if recipe.execution.remote is not None:
        from jagpt import remote

        elsewhere = remote.look(recipe, place)
    if as_json:
        print_json(console.status_value(place, states, elsewhere))
    else:
        console.show_status(place, states, elsewhere)


@app.command()
@run_directory_argument
@json_option
def verify(run_dir: Path, as_json: bool) -> None:
    """Check every file of every finished stage against its manifest's SHA-256."""
    from jagpt import console, pipeline

    _, place = open_run(run_dir)
    found = pipeline.verify(place, make_progress(as_json))
    if as_json:
        print_json([vars(verified) for verified in found])
    else:
        console.show_verified(found)
    problems = [problem for verified in found for problem in verified.problems]
    if problems:
        raise DataError(f"{run_dir}: {units.counted(len(problems), 'file')} missing or changed")


@app.command()
@run_directory_argument
@click.option("--dry-run", is_flag=True, help="Only print what would be deleted.")
@json_option
def clean(run_dir: Path, dry_run: bool, as_json: bool) -> None:
    """Delete the results of a run that a changed recipe has replaced."""
    from jagpt import console, files, pipeline

    _, place = open_run(run_dir)
    with files.locked(place.root):
        found = pipeline.clean(place, dry_run=dry_run)
    if as_json:
        print_json([{"path": str(path), "bytes": size} for path, size in found])
    else:
        console.show_cleaned(found, dry_run)


@app.command()
@click.argument("run_dirs", nargs=-1, required=True, type=Location())
@click.option(
    "--output", type=Location(), metavar="FILE",
    help="Where to write the page; by default report.html in the first run.",
)  # fmt: skip
@click.option(
    "--language",
    type=click.Choice(("en", "ja")),
    help="Language of the page; by default the system's.",
)
@click.option(
    "--price-per-hour",
    type=Finite(min=0, max=10**6),
    metavar="P",
    help="Price of one GPU (or this machine) an hour: say the cost of training too.",
)
def report(
    run_dirs: tuple[Path, ...],
    output: Path | None,
    language: Language | None,
    price_per_hour: float | None,
) -> None:
    """One self-contained HTML page about a run; several runs are compared."""
    from jagpt import pipeline
    from jagpt.report import is_report, system_language, write_report

    if output is not None and output.is_file() and not is_report(output):
        raise UsageError(f"--output {output}: this file is no report; name another")
    runs = [pipeline.as_it_stands(*open_run(run_dir)) for run_dir in run_dirs]
    target = output or runs[0].report
    write_report(runs, target, language or system_language(), price_per_hour)
    click.echo(str(target))
