"""The verbs before a run: recipes, and what the machine offers."""

from __future__ import annotations

from pathlib import Path

import click

from jagpt.cli.common import Location, app, json_option, print_json
from jagpt.errors import UsageError


@app.command()
@json_option
def recipes(as_json: bool) -> None:
    """The shipped recipes."""
    from jagpt import console
    from jagpt import recipe as recipe_module

    shipped = {name: recipe_module.load(name) for name in recipe_module.shipped_recipes()}
    if as_json:
        print_json([{"name": n, "description": r.description} for n, r in shipped.items()])
    else:
        console.show_recipes({name: recipe.description for name, recipe in shipped.items()})


@app.command()
@click.argument("recipe_name")
@click.option(
    "--output", type=Location(), metavar="FILE",
    help="Where to write it; RECIPE_NAME.toml here if not given.",
)  # fmt: skip
def init(recipe_name: str, output: Path | None) -> None:
    """Copy a shipped recipe to edit it."""
    from jagpt import files
    from jagpt import recipe as recipe_module

    shipped = recipe_module.shipped_recipes()
    if recipe_name not in shipped:
        raise UsageError(f"no shipped recipe {recipe_name!r}; there are {', '.join(shipped)}")
    target, content = output or Path(f"{recipe_name}.toml"), shipped[recipe_name].read_bytes()
    if target.exists() and not (target.is_file() and target.read_bytes() == content):
        raise UsageError(f"{target} exists; name another file with --output")
    files.remove_leftovers(target.parent, of=target.name)
    files.write_bytes(target, content)
    click.echo(f"{target}: edit it, then `jagpt run {target}`")


@app.command()
@json_option
def doctor(as_json: bool) -> None:
    """What this machine offers: processor, bf16, GPU, disk, git-lfs, extras."""
    from jagpt import console
    from jagpt.doctor import examine_machine

    found = examine_machine()
    if as_json:
        print_json(found)
    else:
        console.show_machine(found)
