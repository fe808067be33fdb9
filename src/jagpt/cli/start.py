"""The verbs before a run: recipes, and what the machine offers."""

from __future__ import annotations

import os
from pathlib import Path

import click

from jagpt.cli.common import Location, app, json_option, print_json
from jagpt.errors import UsageError, did_you_mean

CONTINUE = "continue"
"""The one name without a bundled file: `jagpt.further` makes that recipe."""


@app.command()
@json_option
def recipes(as_json: bool) -> None:
    """List the shipped recipes."""
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
    "--output",
    type=Location(),
    metavar="FILE",
    help="Where to write it; ./RECIPE_NAME.toml by default.",
)
@click.option(
    "--from", "origin", metavar="DIR|HUB_ID",
    help="With `continue`: the model to train further; a run, folder or hub id.",
)  # fmt: skip
def init(recipe_name: str, output: Path | None, origin: str | None) -> None:
    """Copy a shipped recipe for editing.

    `continue` is different: with --from, it writes a recipe that trains an existing model further.
    """
    from jagpt import files

    target = output or Path(f"{recipe_name}.toml")
    content = _recipe_bytes(recipe_name, origin, target)
    if os.path.lexists(target) and not (target.is_file() and target.read_bytes() == content):
        raise UsageError(f"{target} already exists; name another file with --output")
    files.remove_leftovers(target.parent, of=target.name)
    files.write_bytes(target, content)
    click.echo(f"{target}: edit it, then `jagpt run {target}`")


def _recipe_bytes(name: str, origin: str | None, target: Path) -> bytes:
    from jagpt import recipe as recipe_module

    shipped = recipe_module.shipped_recipes()
    if name == CONTINUE:
        if origin is None:
            raise UsageError("init continue: give the model to train further with --from")
        from jagpt import further

        name = further.run_name(target, otherwise=CONTINUE)
        return further.recipe_text(origin, name, target.parent).encode()
    if name not in shipped:
        known = [*shipped, CONTINUE]
        raise UsageError(
            f"no shipped recipe {name!r}{did_you_mean(name, known)}; there are {', '.join(known)}"
        )
    if origin is not None:
        raise UsageError(f"--from needs `jagpt init continue`; {name} trains a new model")
    return shipped[name].read_bytes()


@app.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show what this machine offers: processor, bf16, GPU, disk, git-lfs, extras."""
    from jagpt import console
    from jagpt.doctor import examine_machine

    found = examine_machine()
    if as_json:
        print_json(found)
    else:
        console.show_machine(found)
