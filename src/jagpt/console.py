"""What the verbs print: tables for people, plain values for `--json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich import box
from rich.markup import escape
from rich.table import Table

from jagpt import installation, units
from jagpt.pipeline import StageState, Verified
from jagpt.recipe import SAMPLE, Recipe
from jagpt.records import plain
from jagpt.rundir import SEARCH, RunDirectory
from jagpt.stages import EXPORT, STAGE_NAMES, STAGES, TRAIN
from jagpt.summary import Summary, collect
from jagpt.terminal import Terminal
from jagpt.training.trials import BEST, Trials

if TYPE_CHECKING:
    from jagpt.corpus.download import DownloadPlan
    from jagpt.remote import Elsewhere, Keeper
    from jagpt.tokenizer.stats import TokenizerStats

LOG_WIDTH = 120
"""Width of a table that goes into a file or a pipe."""

DEMONSTRATION = (
    "This was a demonstration on the bundled sample: the model knows about 80 short pages. "
    "A useful model needs a real dump (`jagpt init small`)."
)


def results(
    recipe: Recipe, run: RunDirectory, ran: Sequence[str], keeper: Keeper | None
) -> dict[str, Any]:
    """The outcome of `jagpt run` as plain JSON values; `keeper` copied it elsewhere."""
    found = collect(run)
    evaluation, best = found.evaluation, found.training.best if found.training else None
    return {
        "name": recipe.name,
        "run_dir": str(run.root),
        "remote": {"place": keeper.place, "safe": not keeper.unsafe, "missing": keeper.unsafe}
        if keeper
        else None,
        "ran": list(ran),
        "done": [name for name in STAGE_NAMES if name not in (*found.missing, *found.stale)],
        "stale": {name: list(reasons) for name, reasons in found.stale.items()},
        "seconds": {name: time.seconds for name, time in found.times.items()},
        "documents": {k: v.documents for k, v in found.corpus.splits.items()}
        if found.corpus
        else None,
        "tokens": found.tokens.counts if found.tokens else None,
        "parameters": found.parameters,
        "valid_loss": best.loss if best else None,
        "test_loss": evaluation.loss if evaluation else None,
        "test_perplexity": evaluation.perplexity if evaluation else None,
        "test_bits_per_character": evaluation.bits_per_character if evaluation else None,
        "samples": plain(found.samples),
        "model": str(run.model),
        "report": str(run.report),
    }


def show_results(recipe: Recipe, run: RunDirectory, ran: Sequence[str]) -> None:
    """The table of stages, the continuations, and where everything is."""
    console = _console()
    found = collect(run)
    console.print(_stage_table(run, found, ran))
    for sample in found.samples[:1]:
        console.print("[bold]Continuations[/bold]")
        for text in sample.continuations:
            shown = f"[bold]{escape(sample.prompt)}[/bold]{escape(' '.join(text.split()))}"
            console.print(f"  • {shown}", highlight=False, soft_wrap=True)
    if EXPORT.name not in (*found.missing, *found.stale):
        click.echo(f"model:   {run.model}")
    click.echo(f"report:  {run.report}")
    if not ran:
        whole = not found.missing and not found.stale
        click.echo("all stages are done" if whole else "the requested stages are done")
    of_sample = any(source.path == SAMPLE for source in recipe.corpus.source)
    if of_sample and TRAIN.name not in (*found.missing, *found.stale):
        click.echo(DEMONSTRATION)


def _console() -> Terminal:
    """Standard output; a log is not bound to a terminal's width."""
    console = Terminal()
    return console if console.is_terminal else Terminal(width=LOG_WIDTH)


def _stage_table(run: RunDirectory, found: Summary, ran: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("stage")
    table.add_column("time", justify="right")
    table.add_column("result")
    for stage in STAGES:
        name = stage.name
        if name in found.stale:
            table.add_row(name, "", f"[yellow]stale[/] ({escape('; '.join(found.stale[name]))})")
        elif name not in found.missing:
            time = found.times.get(name)
            mark = "" if name in ran else " [dim](done before)[/dim]"
            seconds = units.duration(time.seconds) if time else ""
            table.add_row(name, seconds, escape(stage.outcome(run)) + mark)
    return table


def show_trials(trials: Trials, run: RunDirectory) -> None:
    """The trials of a search, best first, and where the best recipe is."""
    table = Table(box=box.SIMPLE_HEAD)
    keys = list(trials.trials[0].settings) if trials.trials else []
    for heading in ("trial", *keys, "valid loss", "steps", "time"):
        table.add_column(escape(heading), justify="right")
    for number, trial in trials.ranked():
        loss = "failed" if trial.loss is None else f"{trial.loss:.4f}"
        values = [f"{trial.settings[key]:g}" for key in keys]
        time = units.duration(trial.seconds)
        table.add_row(f"{number}", *values, loss, f"{trial.steps:,}", time)
    _console().print(table)
    if trials.best is not None:
        click.echo(f"best recipe: {run.root / SEARCH / BEST}")
    click.echo(f"report:      {run.report}")


# --- status, verify, clean ------------------------------------------------------------------------


def status_value(
    run: RunDirectory, states: Sequence[StageState], elsewhere: Elsewhere | None
) -> dict[str, Any]:
    """`jagpt status` as plain JSON values."""
    return {
        "remote": plain(elsewhere),
        "run_dir": str(run.root),
        "stages": [
            {
                "stage": state.stage.name,
                "status": state.status,
                "fingerprint": state.fingerprint,
                "reasons": list(state.reasons),
                "shared": str(state.shared) if state.shared else None,
            }
            for state in states
        ],
    }


def show_status(
    run: RunDirectory, states: Sequence[StageState], elsewhere: Elsewhere | None
) -> None:
    """A line per stage: its status, its time, why it is not done, and what the remote place has of
    it.
    """
    colours = {"done": "green", "shared": "green", "stale": "yellow", "unfinished": "yellow"}
    times = collect(run).times
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("stage", "status", "time", *(["remote"] if elsewhere else []), "why"):
        table.add_column(heading)
    for state in states:
        name = state.stage.name
        colour = colours.get(state.status, "default")
        time = units.duration(times[name].seconds) if name in times else ""
        why = f"from {state.shared}" if state.shared else "; ".join(state.reasons)
        there = [_there(name, elsewhere)] if elsewhere else []
        table.add_row(name, f"[{colour}]{state.status}[/]", time, *there, escape(why))
    _console().print(table)
    if elsewhere is not None:
        writes = f", where {elsewhere.writer} writes" if elsewhere.writer else ""
        click.echo(f"remote: {elsewhere.problem or elsewhere.place + writes}")


def _there(stage: str, elsewhere: Elsewhere) -> str:
    if stage in elsewhere.stages:
        return "whole"
    return f"step {elsewhere.steps[-1]:,}" if stage == TRAIN.name and elsewhere.steps else ""


def show_verified(found: Sequence[Verified]) -> None:
    """A line per stage, and every file that has changed since it was made."""
    for verified in found:
        state = "ok" if not verified.problems else units.counted(len(verified.problems), "problem")
        click.echo(f"{verified.stage}: {units.counted(verified.files, 'file')}, {state}")
        for problem in verified.problems:
            click.echo(f"  {problem}")


def show_cleaned(found: Sequence[tuple[Path, int]], dry_run: bool) -> None:
    """What was deleted, or would be, and its size."""
    for path, size in found:
        click.echo(f"{path}  {units.size(size)}")
    total = units.size(sum(size for _, size in found))
    click.echo(f"{total} {'would be ' if dry_run else ''}freed")


def show_downloads(plans: Sequence[DownloadPlan], dry_run: bool) -> None:
    """The files of each dump, their sizes, where they come from and where they are."""
    for plan in plans:
        for file in plan.files:
            click.echo(f"{units.size(file.size):>10}  {file.name.text}")
        missing = plan.missing if dry_run else 0
        click.echo(
            f"{units.size(plan.total):>10}  from {plan.origin} to {plan.directory}"
            + (f", {units.size(missing)} to fetch" if missing else "")
        )


def show_tokenizers(found: Mapping[str, TokenizerStats], what: str) -> None:
    """Tokenizers side by side, one column each."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column(escape(what), no_wrap=True)
    for name in found:
        table.add_column(escape(name), justify="right", overflow="fold")
    rows = [
        {
            "pieces": f"{stats.vocab_size:,}",
            "tokens": f"{stats.tokens:,}",
            **stats.shown(),
            "longest pieces": escape("\n".join(stats.longest_pieces[:5])),
        }
        for stats in found.values()
    ]
    for name in rows[0]:
        table.add_row(name, *(row[name] for row in rows))
    _console().print(table, highlight=False)


# --- recipes and the machine ----------------------------------------------------------------------


def show_recipes(descriptions: Mapping[str, str]) -> None:
    """A line per recipe."""
    width = max(map(len, descriptions))
    for name, description in descriptions.items():
        click.echo(f"{name:<{width}}  {description}")


def _gpus(gpus: Sequence[Mapping[str, Any]] | None, why_none: str | None) -> str:
    if gpus is None:
        return f"training needs PyTorch:  {installation.command('train')}"
    named = ", ".join(f"{gpu['name']} ({units.size(gpu['memory'])})" for gpu in gpus)
    return named or f"none: {why_none}. Small models only"


def show_machine(found: Mapping[str, Any]) -> None:
    """The machine, one fact per line, naming what is missing."""
    rows = {
        "system": found["platform"],
        "processor": f"{found['processor']}, {units.counted(found['cores'], 'core')}"
        + (f", {units.counted(found['threads'], 'thread')}" if found["threads"] else ""),
        "memory": units.size(found["memory"]) if found["memory"] else "unknown without PyTorch",
        "disk free here": units.size(found["disk_free"]),
        "bf16 on the CPU": "in hardware"
        if found["cpu_bf16"]
        else "emulated: slow, so auto uses fp32",
        "GPU": _gpus(found["gpus"], found["no_gpu"]),
        "git": found["git"] or "not installed",
        "git-lfs": found["git_lfs"] or "not installed: needed to publish a release by git",
        "versions": ", ".join(f"{name} {text}" for name, text in found["versions"].items()),
        "extras": ", ".join(
            f"{name} {'yes' if there else 'no'}" for name, there in found["extras"].items()
        ),
    }
    width = max(map(len, rows))
    for name, text in rows.items():
        click.echo(f"{name:<{width}}  {text}")
