"""The verbs that make a run: all of it, or one stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jagpt.cli.common import app, make_progress, open_recipe, print_json, recipe_options
from jagpt.errors import UsageError

if TYPE_CHECKING:
    from jagpt.pipeline import Ledger
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory

LONG_RUN_HOURS = 24.0

STAGE_HELP = {
    "corpus": "From a dump or texts to documents in three splits.",
    "tokenizer": "Train SentencePiece and make the folder that transformers loads.",
    "tokens": "From documents to token shards.",
    "train": "Train the model; goes on from the last checkpoint.",
    "evaluate": "Loss, perplexity, bits per character and byte on the test split.",
    "release": "The folder to publish: model, card, changelog, checksums.",
}


@app.command()
@recipe_options
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
def run(
    recipe: str,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    force: bool,
    yes: bool,
    as_json: bool,
    until: str | None,
) -> None:
    """Make everything that is not done yet, from the dump to the release folder."""
    run_verb(recipe, overrides, run_dir, force, yes, as_json, until=until)


def run_verb(
    recipe: str,
    overrides: Sequence[str],
    run_dir: Path | None,
    force: bool,
    yes: bool,
    as_json: bool,
    *,
    only: str | None = None,
    until: str | None = None,
) -> None:
    """Make what is not done, up to `until` or the stage `only` alone; print the outcome."""
    from jagpt import console, files, pipeline

    if until is not None and until not in pipeline.STAGE_NAMES:
        raise UsageError(f"--until {until}: the stages are {', '.join(pipeline.STAGE_NAMES)}")
    loaded, place = open_recipe(recipe, overrides, run_dir)
    progress = make_progress(as_json)
    with files.locked(place.root):
        if not only or only == "corpus":
            pipeline.fetch_dumps(loaded, place, progress, force=force)
        forced = pipeline.chosen(only, until) if force else ()
        ledger = pipeline.Ledger.read(place)
        _announce(loaded, place, progress, yes, only or until, forced, ledger)
        ran = pipeline.run_stages(
            loaded, place, progress, only=only, until=until, force=force, ledger=ledger
        )
        if ran or not place.report.exists():
            _write_report(place)
    if as_json:
        print_json(console.results(loaded, place, ran))
    else:
        console.show_results(loaded, place, ran)


def _announce(
    recipe: Recipe,
    run: RunDirectory,
    progress: Progress,
    yes: bool,
    last: str | None,
    forced: Sequence[str],
    ledger: Ledger,
) -> None:
    """Say the expected hours and disk before training; above a day, ask for `--yes`."""
    from jagpt import pipeline, plan

    found = pipeline.examine(recipe, run, ledger, last, forced)
    states = {state.stage.name: state for state in found}
    if "train" not in states or states["train"].done:
        return
    estimate = plan.estimate(recipe, run)
    progress.say(estimate.sentence())
    if estimate.hours > LONG_RUN_HOURS and not yes:
        raise UsageError(
            f"this run takes about {estimate.hours:,.0f} hours on this machine: start it with --yes"
        )


def _write_report(run: RunDirectory) -> None:
    from jagpt.report import write_report

    write_report([run], run.report)


def _stage_command(name: str) -> click.Command:
    """The verb of one stage."""

    @recipe_options
    def command(
        recipe: str,
        overrides: tuple[str, ...],
        run_dir: Path | None,
        force: bool,
        yes: bool,
        as_json: bool,
    ) -> None:
        run_verb(recipe, overrides, run_dir, force, yes, as_json, only=name)

    return click.command(name, help=f"{STAGE_HELP[name]} One stage of a run.")(command)


for _name in STAGE_HELP:
    app.add_command(_stage_command(_name))
