"""The verbs that use a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jagpt.cli.common import app, json_option, print_json


@app.command()
@click.argument("model_dir", type=click.Path(path_type=Path))
@click.argument("prompts", nargs=-1, required=True, metavar="PROMPT...")
@click.option(
    "--max-new-tokens", type=int, help="Tokens to add; the folder's default if not given."
)
@click.option("--temperature", type=float, help="Above 1 bolder, below 1 safer.")
@click.option("--top-k", type=int, help="Sample from so many likeliest tokens; 0 for all.")
@click.option("--top-p", type=float, help="Sample from the likeliest tokens of this share.")
@click.option("--num-return-sequences", type=int, default=1, show_default=True,
              help="Continuations a prompt.")  # fmt: skip
@click.option("--greedy", is_flag=True, help="Always take the likeliest token.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same text.")
@json_option
def generate(model_dir: Path, prompts: tuple[str, ...], as_json: bool, **knobs: Any) -> None:
    """Continue PROMPTs with the model of a folder (or of a run directory)."""
    from jagpt import generation

    folder = model_dir / "model" if (model_dir / "recipe.toml").is_file() else model_dir
    settings = generation.Settings(**knobs)
    found = generation.generate(folder, list(prompts), settings)
    if as_json:
        rows = zip(prompts, found, strict=True)
        print_json([{"prompt": prompt, "continuations": texts} for prompt, texts in rows])
        return
    for prompt, texts in zip(prompts, found, strict=True):
        for text in texts:
            click.echo(click.style(prompt, bold=True) + text)
