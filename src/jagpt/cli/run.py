"""The verbs that make a run: all of it, or one stage."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jagpt.cli.common import (
    Finite,
    app,
    make_progress,
    open_recipe,
    print_json,
    recipe_options,
)
from jagpt.errors import INTERRUPTED, DataError, JagptError, UsageError
from jagpt.stages import CORPUS, STAGE_NAMES, TOKENS, TRAIN

if TYPE_CHECKING:
    from jagpt.pipeline import Ledger
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory
    from jagpt.training.distributed import Group

LONG_RUN_HOURS = 24.0

nproc_option = click.option(
    "--nproc", type=click.IntRange(min=1), metavar="N",
    help="Train with N processes on this machine; use torchrun for several machines.",
)  # fmt: skip


@dataclass(frozen=True)
class Call:
    """What a command line asks for."""

    recipe: str
    overrides: tuple[str, ...]
    run_dir: Path | None
    force: bool
    yes: bool
    as_json: bool
    only: str | None = None
    until: str | None = None

    def arguments(self) -> list[str]:
        """The command line that asks for the same."""
        flags = {"--force": self.force, "--yes": self.yes, "--json": self.as_json}
        values = [("--set", override) for override in self.overrides]
        if self.run_dir is not None:
            values.append(("--run-dir", str(self.run_dir)))
        if self.until is not None:
            values.append(("--until", self.until))
        options = [name for name, given in flags.items() if given]
        options += [part for pair in values for part in pair]
        return [self.only or "run", *options, "--", self.recipe]


@app.command()
@recipe_options
@click.option("--until", metavar="STAGE", help="Stop after this stage.")
@nproc_option
def run(until: str | None, nproc: int | None, **options: Any) -> None:
    """Run every stage that is not done yet, from the dump to the release folder."""
    _on_all_ranks(Call(**options, until=until), nproc)


def _on_all_ranks(call: Call, nproc: int | None) -> None:
    """Do what is asked as the process that this is: alone, the first of several, or another."""
    from jagpt.training import ranks

    mine = ranks.read(os.environ)
    if mine.size > 1 and nproc is not None:
        raise UsageError(
            f"--nproc {nproc}: this is one of {mine.size} processes already (torchrun)"
        )
    if (nproc or 1) > 1:
        raise click.exceptions.Exit(ranks.launch(call.arguments(), nproc or 1))
    if mine.size == 1:
        run_verb(call)
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # what is lost is told once, and shortly
    from jagpt.training import distributed

    with distributed.connected(mine) as group:
        if group.main:
            run_verb(call)
        else:
            _follow(call, group)


def _follow(call: Call, group: Group) -> None:
    """Take part in training when rank 0 is there; exit silently if it fails, since rank 0 reports
    it.
    """
    from jagpt import pipeline
    from jagpt.progress import QUIET
    from jagpt.training import distributed

    try:
        if group.await_order() == distributed.TRAIN:
            from jagpt.training import session

            try:
                loaded, place = open_recipe(call.recipe, call.overrides, call.run_dir)
                settled, _ = pipeline.settled(loaded, place)  # as rank 0 has written it down
            except JagptError as error:  # of this machine alone: rank 0 has read both by now
                raise DataError(f"{group.ranks.name}{error}") from None
            session.run(settled, place, QUIET)
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except JagptError as error:
        if str(error).startswith(group.ranks.name):
            raise
        raise click.exceptions.Exit(error.exit_code) from None


def run_verb(call: Call) -> None:
    """Make what is not done, up to `until` or the stage `only` alone; print the outcome."""
    from jagpt import console, files, pipeline, remote

    only, until, force = call.only, call.until, call.force
    if until is not None and until not in STAGE_NAMES:
        raise UsageError(f"--until {until}: the stages are {', '.join(STAGE_NAMES)}")
    loaded, place = open_recipe(call.recipe, call.overrides, call.run_dir)
    progress = make_progress(call.as_json)
    names = pipeline.chosen(only, until)
    forced = names if force else ()
    with files.locked(place.root):
        ledger = pipeline.Ledger.read(place)
        with remote.kept(loaded, place, ledger, progress, names[-1], forced) as keeper:
            unmade = pipeline.unmade(loaded, place, names, forced)
            # said before a dump is fetched: what comes after a corpus that is not made is not made
            early = CORPUS in unmade
            if early and TRAIN.name in names:
                _announce(loaded, place, progress, call.yes, ledger, forced)
            pipeline.fetch(loaded, unmade, progress)
            if not early and pipeline.is_wanted(
                loaded, place, TRAIN, ledger, only or until, forced
            ):
                _announce(loaded, place, progress, call.yes, ledger, forced)
            ran = pipeline.run_stages(
                loaded, place, progress, only=only, until=until, force=force, ledger=ledger,
                agree=partial(_agree, call.yes),
            )  # fmt: skip
            place = pipeline.as_it_stands(loaded, place, ledger)
            _write_report(place)  # also where nothing ran: the run before may have been killed here
    if call.as_json:
        print_json(console.results(loaded, place, ran, keeper))
    else:
        console.show_results(loaded, place, ran)


def _agree(yes: bool, costs: str) -> None:
    """Continue only if results that took long may be moved aside; never prompts without a
    terminal.
    """
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{costs}. Add --yes to do so; nothing was changed")
    if not click.confirm(f"{costs}. Continue?", err=True):
        raise UsageError("nothing was changed")


def _announce(
    recipe: Recipe,
    run: RunDirectory,
    progress: Progress,
    yes: bool,
    ledger: Ledger,
    forced: Sequence[str],
) -> None:
    """Print the expected hours and disk space before training; above a day, require `--yes`."""
    from jagpt import pipeline, plan
    from jagpt.plan import planning
    from jagpt.plan.size import with_vocabulary

    settled, _ = pipeline.settled(recipe, run, forced)
    run = pipeline.as_made(recipe, run, TOKENS.name, ledger, forced)
    settled = with_vocabulary(settled, run)
    estimate = plan.estimate(settled, run)
    progress.say(estimate.sentence())
    if (gpu := planning.instead_of_here(settled, estimate.steps, estimate.hours)) is not None:
        progress.say(gpu)
    if estimate.hours > LONG_RUN_HOURS and not yes:
        raise UsageError(
            f"this run takes about {estimate.hours:,.0f} hours on this machine: add --yes to start "
            "it"
        )


def _write_report(run: RunDirectory) -> None:
    from jagpt.report import system_language, write_report

    write_report([run], run.report, system_language())


@app.command(help=TRAIN.verb_help)
@recipe_options
@nproc_option
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    metavar="N",
    help="Search: train N times in all, with values from [search], and write the best recipe.",
)
@click.option(
    "--hours",
    type=Finite(min=0, min_open=True),
    metavar="H",
    help="With --trials: stop after this many hours; the same command continues.",
)
def train(nproc: int | None, trials: int | None, hours: float | None, **options: Any) -> None:
    call = Call(**options, only=TRAIN.name)
    if trials is None and hours is not None:
        raise UsageError("--hours needs --trials; for a single training use execution.max_hours")
    if trials is None:
        _on_all_ranks(call, nproc)
    elif nproc is not None or call.force:
        raise UsageError("--trials cannot be combined with --nproc or --force")
    else:
        _search(call, trials, hours)


def _search(call: Call, count: int, hours: float | None) -> None:
    """Search over the recipe's settings; print the trials and where the best recipe is."""
    from jagpt import console, files, pipeline
    from jagpt.rundir import SEARCH
    from jagpt.training import search

    loaded, place = open_recipe(call.recipe, call.overrides, call.run_dir)
    search.check(loaded)
    progress = make_progress(call.as_json)
    with files.locked(place.root):
        settled = pipeline.require_inputs(loaded, place, TRAIN.name)
        trials = search.search(settled, place, count, hours, progress)
        _write_report(pipeline.as_it_stands(loaded, place))
    if call.as_json:
        print_json(trials.as_json())
    else:
        console.show_trials(trials, place)
    trials.check(place.root / SEARCH)


@app.command(help=CORPUS.verb_help)
@recipe_options
def corpus(**options: Any) -> None:
    run_verb(Call(**options, only=CORPUS.name))


@app.command(help=TOKENS.verb_help)
@recipe_options
def tokens(**options: Any) -> None:
    run_verb(Call(**options, only=TOKENS.name))
