"""A plan as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import click

from jagpt import units
from jagpt.plan.growth import CORPUS_FACTORS, GPU_COUNTS, Grown
from jagpt.plan.planning import Planned
from jagpt.plan.published import LIKE, efficiency


def show_plan(planned: Planned) -> None:
    """Everything in a plan, the parts below their sums."""
    gpu, machine = planned.machine.gpu, planned.machine
    where = f"{machine.gpus} × {gpu.name}" if gpu else "this machine"
    click.echo(f"{planned.name} on {where}")
    for source in planned.size.unknown:
        click.echo(f"  the size of {source} is not known here: counted as nothing")
    _rows(
        {
            "parameters": units.amount(planned.parameters),
            "train split": f"{units.amount(planned.size.tokens)} tokens",
            "training": f"{units.counted(planned.steps, 'step')} in {planned.precision}, "
            f"{units.amount(planned.tokens)} tokens, {planned.flops:.2e} FLOPs",
        }
    )
    click.echo(f"time: {units.rough_duration(planned.hours * 3600)}")
    _rows({name: units.rough_duration(seconds) for name, seconds in planned.seconds.items()})
    _show_basis(planned)
    parts = asdict(planned.memory)
    beside = f" of {units.size(gpu.memory)} per GPU" if gpu else ""
    click.echo(f"memory: {units.size(planned.memory.total)}{beside}")
    _rows({name: units.size(size) for name, size in parts.items() if size})
    if planned.advice:
        click.echo(f"  it will not fit: {planned.advice}")
    click.echo(f"disk: {units.size(sum(planned.disk.values()))}")
    _rows({name: units.size(size) for name, size in planned.disk.items()})
    if planned.cost is not None:
        click.echo(f"cost: {planned.cost:,.2f} for training and evaluation")


def _show_basis(planned: Planned) -> None:
    """What the hours of training are based on."""
    gpu = planned.machine.gpu
    if gpu is None or planned.range is None:
        click.echo("  (training: by matrix products measured on this machine)")
        if planned.instead is not None:
            click.echo(f"  {planned.instead}")
        return
    known = efficiency(gpu.family)
    low, high = (units.rough_duration(hours * 3600) for hours in planned.range)
    others = f"; its {known.runs} published runs would give {low} to {high}"
    like = f", taken from {LIKE[gpu.family]}" if gpu.family in LIKE else ""
    click.echo(
        f"  (training: {known.middle:.0%} of the peak, as {gpu.family} GPUs reach it{like}"
        f"{others if known.runs > 1 else '; one published run behind it'})"
    )
    if planned.waiting > 0.005:
        click.echo(
            f"  (for {planned.waiting:.0%} of training the GPUs wait for each other's gradients: "
            "use fewer GPUs or a larger batch)"
        )


def show_growth(found: Sequence[Grown]) -> None:
    """Hours of training by GPUs and size of the corpus."""
    click.echo("training by GPUs and size of the corpus (*: communication is the bottleneck)")
    heads = ["GPUs", *(f"{factor} ×" for factor in CORPUS_FACTORS), "speed"]
    click.echo("  " + "".join(f"{head:>15}" for head in heads))
    cells = {(row.gpus, row.factor): row for row in found}
    for gpus in GPU_COUNTS:
        rows = [cells[gpus, factor] for factor in CORPUS_FACTORS]
        mark = "*" if rows[0].binds else ""
        shown = [
            f"{gpus}{mark}",
            *(units.rough_duration(row.hours * 3600) for row in rows),
            f"{rows[0].speedup:.1f} ×",
        ]
        click.echo("  " + "".join(f"{cell:>15}" for cell in shown))


def _rows(rows: Mapping[str, str]) -> None:
    for name, text in rows.items():
        click.echo(f"  {name:<18}  {text}")
