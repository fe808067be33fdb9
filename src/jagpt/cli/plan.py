"""The verb that estimates what a run takes, before anything runs."""

from __future__ import annotations

from pathlib import Path

import click

from jagpt.cli.common import Finite, Location, app, json_option, open_recipe, print_json, set_option
from jagpt.stages import TOKENS


@app.command()
@click.argument("recipe")
@set_option
@click.option(
    "--run-dir",
    type=Location(),
    metavar="DIR",
    help="A run whose corpus or tokens to count; runs/NAME by default.",
)
@click.option("--gpu", metavar="NAME", help="Plan for this GPU; by default this machine, measured.")
@click.option(
    "--gpus",
    type=click.IntRange(min=1, max=10**6),
    default=1,
    show_default=True,
    help="How many of them.",
)
@click.option(
    "--price-per-hour",
    type=Finite(min=0, max=10**6),
    metavar="P",
    help="Price of one GPU per hour; adds the cost.",
)
@click.option(
    "--text-mb",
    type=Finite(min=0, max=10**9, min_open=True),
    metavar="N",
    help="MB of text in all sources, instead of an estimate from their files.",
)
@click.option(
    "--network-gbit",
    type=Finite(min=0.001),
    metavar="N",
    help="Gbit/s per GPU between machines of 8; 100 by default.",
)
@click.option(
    "--growth", is_flag=True, help="Also show 1 to 64 GPUs, and corpora 10 and 100 times larger."
)
@json_option
def plan(
    recipe: str,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    gpu: str | None,
    gpus: int,
    price_per_hour: float | None,
    text_mb: float | None,
    network_gbit: float | None,
    growth: bool,
    as_json: bool,
) -> None:
    """Estimate tokens, FLOPs, memory, disk, hours and cost of a run, before anything runs."""
    from jagpt import pipeline
    from jagpt.plan import planning, shown
    from jagpt.plan.size import with_vocabulary

    machine = planning.machine_of(gpu, gpus, price_per_hour, network_gbit)
    loaded, place = open_recipe(recipe, overrides, run_dir)
    place = pipeline.as_made(loaded, place, TOKENS.name)
    if machine.gpu is None:
        loaded, _ = pipeline.settled(loaded, place)
    else:
        loaded = planning.settled_on(machine.gpu, loaded)
    text_bytes = None if text_mb is None else round(text_mb * 1e6)
    loaded = with_vocabulary(loaded, place, text_bytes)
    planned = planning.plan(loaded, place, machine, text_bytes)
    rows = planning.grown(planned, loaded) if growth else []
    if as_json:
        value = planned.as_json()
        print_json({**value, "growth": [vars(row) for row in rows]} if growth else value)
        return
    shown.show_plan(planned)
    if rows:
        shown.show_growth(rows)
