"""The verbs that use a model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jagpt.cli.common import Location, app, json_option, print_json, warn_of_stale
from jagpt.errors import UsageError

if TYPE_CHECKING:
    from jagpt.generation import Settings, TextGenerator


@app.command()
@click.argument("model_dir", type=Location())
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option("--prompts", "prompts_file", metavar="FILE",
              help="Prompts from a file, one per line; - reads standard input.")  # fmt: skip
@click.option(
    "--max-new-tokens",
    type=int,
    help="Number of new tokens; by default the model folder's own setting.",
)
@click.option("--temperature", type=float, help="Above 1: more varied; below 1: safer.")
@click.option("--top-k", type=int, help="Sample from this many of the likeliest tokens; 0 for all.")
@click.option(
    "--top-p", type=float, help="Sample from the likeliest tokens that make up this probability."
)
@click.option("--repetition-penalty", type=float,
              help="Above 1: tokens that have already occurred are less likely.")  # fmt: skip
@click.option("--num-return-sequences", type=int, default=1, show_default=True,
              help="Continuations per prompt.")  # fmt: skip
@click.option("--greedy", is_flag=True, help="Always take the likeliest token.")
@click.option(
    "--seed", type=int, default=0, show_default=True, help="The same seed gives the same text."
)
@click.option(
    "--engine", default="transformers", show_default=True,
    type=click.Choice(["transformers", "auto", "fastest", "onnx", "ctranslate2", "gguf",
                       "openvino"]),
    help="What runs the model: transformers or an export of it; the fastest in full precision "
    "(auto) or of all (fastest). Only gguf draws different texts than transformers from the same "
    "seed.",
)  # fmt: skip
@click.option("--stream/--no-stream", default=None,
              help="Print each token as it comes; the default on a terminal with one continuation "
              "per prompt.")  # fmt: skip
@click.option(
    "--scores", is_flag=True,
    help="Show each token's log-probability: as colours on a terminal, otherwise as a table.",
)  # fmt: skip
@json_option
def generate(
    model_dir: Path,
    prompts: tuple[str, ...],
    prompts_file: str | None,
    engine: str,
    stream: bool | None,
    scores: bool,
    as_json: bool,
    **knobs: Any,
) -> None:
    """Continue PROMPTs with a model.

    MODEL_DIR is a model folder, a run directory, a checkpoint or a hub id (ORG/NAME@REVISION).
    """
    from jagpt import generation

    settings = generation.Settings(**knobs)
    if stream and as_json:
        raise UsageError(
            "--stream prints text as it comes and --json all of it at the end: choose one"
        )
    read = generation.read_prompts(prompts_file) if prompts_file is not None else []
    texts = generation.check_prompts([*prompts, *read])
    loaded = _load(model_dir, engine, settings)
    if unused := loaded.defaults.unused:
        names = ", ".join(unused)
        click.echo(f"note: generation_config.json also sets {names}: not followed here", err=True)
    if as_json:
        found = list(generation.scored(loaded, texts, settings))
        print_json(generation.as_records(texts, found, scores=scores))
        return
    from jagpt.cli.continuations import Printer

    if stream is None:
        stream = settings.num_return_sequences == 1 and sys.stdout.isatty()
    printer = Printer(scores)
    for prompt, (ids, drawing) in zip(
        texts, generation.planned(loaded, texts, settings), strict=True
    ):
        if stream:
            printer.stream(prompt, loaded, ids, drawing)
        else:
            printer.show(prompt, loaded.sample(ids, drawing))


def _load(place: Path, engine: str, settings: Settings) -> TextGenerator:
    """The model with the requested engine; notes anything below full precision."""
    from jagpt import generation, models
    from jagpt.formats import engines

    warn_of_stale(place)
    opened = models.open(place)
    rows = settings.num_return_sequences
    chosen = engines.choose(opened, engine, drawn=not settings.greedy, rows=rows)
    if told := engines.note(chosen, engine):
        click.echo(f"note: {told}", err=True)
    return generation.load(opened, engines.engine(chosen, opened) if chosen else None)
