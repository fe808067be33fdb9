"""The verbs that bring runs to another place and back."""

from __future__ import annotations

from pathlib import Path

import click

from jagpt.cli.common import (
    app,
    json_option,
    make_progress,
    open_run,
    print_json,
    run_directory_argument,
)
from jagpt.errors import DataError, UsageError


@app.command()
@run_directory_argument
@click.option(
    "--to", "place", metavar="PLACE",
    help="s3://bucket/prefix, file:///folder, …; by default the recipe's execution.remote.",
)  # fmt: skip
@json_option
def push(run_dir: Path, place: str | None, as_json: bool) -> None:
    """Copy the finished stages and checkpoints of a run to another place. Resumable."""
    from jagpt import files, remote

    recipe, run = open_run(run_dir)
    place = recipe.execution.remote if place is None else place
    if place is None:
        raise UsageError(
            f"{run_dir}: its recipe has no execution.remote; name a place with --to PLACE"
        )
    with files.locked(run.root):
        sent = remote.push(run, place, make_progress(as_json))
    if as_json:
        print_json({"place": place, "copied": sent})
    else:
        click.echo(f"copied to {place}: {', '.join(sent) or 'nothing, everything is there'}")


@app.command()
@click.argument("place")
@run_directory_argument
@json_option
def pull(place: str, run_dir: Path, as_json: bool) -> None:
    """Copy a run from PLACE back to RUN_DIR; `jagpt run RUN_DIR` continues it."""
    from jagpt import remote

    taken, damaged = remote.pull(place, run_dir, make_progress(as_json))
    if as_json:
        print_json({"run_dir": str(run_dir), "taken": taken, "damaged": damaged})
    else:
        said = ", ".join(taken) or f"nothing; {place} has nothing usable that this run lacks"
        click.echo(f"copied to {run_dir}: {said}")
    if damaged:
        raise DataError(
            f"{place}: not restored, as it is damaged or lost there: {', '.join(damaged)}; "
            f"`jagpt push` it again from where it is whole, or `jagpt run {run_dir}` remakes it"
        )
