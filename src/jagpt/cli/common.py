"""The program itself, and what its verbs share."""

from __future__ import annotations

import codecs
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jagpt import __version__
from jagpt.errors import UsageError
from jagpt.text import is_text

if TYPE_CHECKING:
    from jagpt.progress import Progress
    from jagpt.recipe import Recipe
    from jagpt.rundir import RunDirectory

VERBS = (
    "run", "corpus", "tokenizer", "tokens", "train", "evaluate", "compare", "export", "release",
    "extract", "download", "status", "verify", "clean", "push", "pull", "report", "plan",
    "recipes", "init", "doctor", "generate", "playground",
)  # fmt: skip


class Location(click.Path):
    """A file or folder; an empty name (a variable that is not set) does not mean the one here."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if value == "":
            self.fail("expected the name of a file or directory, found an empty one", param, ctx)
        return super().convert(value, param, ctx)


class Finite(click.FloatRange):
    """A number; `nan` and `inf`, which every range lets through, are none."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a finite number, found {value}", param, ctx)
        return number


class Verbs(click.Group):
    """Lists the verbs in the order of the work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=VERBS.index)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="jagpt")
def app() -> None:
    """From a Japanese Wikipedia dump to a published GPT-2.

    RECIPE is a TOML file, a run directory, or the name of a shipped recipe (`jagpt recipes`).
    Exit codes: 0 success; 1 failed; 2 wrong usage or recipe; 3 damaged or altered data; 4 disk or
    network; 5 run directory in use; 75 stopped early, resumable; 130 interrupted.
    """


set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="SECTION.KEY=VALUE",
    help="Override one value of the recipe; repeatable.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
run_directory_argument = click.argument("run_dir", type=Location())


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """RECIPE and the options that every verb on a recipe takes."""
    return click.argument("recipe")(run_options(command))


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every verb on a recipe takes."""
    decorators = (
        set_option,
        click.option(
            "--run-dir", type=Location(), metavar="DIR",
            help="The run directory; runs/NAME by default.",
        ),
        click.option("--force", is_flag=True, help="Rerun these stages, then delete the old "
                                                   "results."),
        click.option("--yes", is_flag=True, help="Don't ask, even if the run takes a day or moves "
                                                 "a trained model aside."),
        click.option("--json", "as_json", is_flag=True, help="Print the results as JSON."),
    )  # fmt: skip
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def open_recipe(
    recipe: str, overrides: Sequence[str], run_dir: Path | None
) -> tuple[Recipe, RunDirectory]:
    """The recipe and the run directory that a command line names."""
    from jagpt import pipeline
    from jagpt import recipe as recipes
    from jagpt.rundir import is_run

    loaded = recipes.load(recipe, overrides)
    if run_dir is None and is_run(Path(recipe)):
        run_dir = Path(recipe)
    return loaded, pipeline.open_run(loaded, run_dir or Path("runs") / loaded.name)


def check_name(option: str, name: str | Path) -> None:
    """Refuse a name that libraries cannot open and no record can have, before they fail on it."""
    if not is_text(str(name)):
        raise UsageError(f"{option} {name}: this name is not valid UTF-8")


def refuse_unused(beside: str, given: Mapping[str, object]) -> None:
    """`UsageError` for an option that was `given` and that the form `beside` does not look at."""
    for name, value in given.items():
        if value:
            raise UsageError(f"{name} has no effect with {beside}")


def open_run(run_dir: Path) -> tuple[Recipe, RunDirectory]:
    """The recipe and the paths of a run that exists."""
    from jagpt.rundir import is_run

    if not is_run(run_dir):
        raise UsageError(f"{run_dir}: not a run directory (it has no recipe.toml)")
    return open_recipe(str(run_dir), (), run_dir)


def warn_of_stale(name: str | Path) -> None:
    """Print a note if `name` is a run whose model was made by another recipe than the run's."""
    from jagpt import pipeline
    from jagpt.rundir import is_run
    from jagpt.stages import EXPORT

    place = Path(name)
    if not is_run(name):
        return
    try:
        run = pipeline.as_it_stands(*open_run(place))
    except UsageError:  # a recipe of another jagpt, or another run that is gone
        return
    if reasons := run.stale.get(EXPORT.name):
        click.echo(
            f"note: {run.model} is stale ({'; '.join(reasons)}); `jagpt run {place}` updates it",
            err=True,
        )


def make_progress(as_json: bool) -> Progress:
    from jagpt.progress import Progress

    return Progress("quiet" if as_json else "auto")


def print_json(value: Any) -> None:
    """Print JSON that is valid in any encoding of standard output; figures that are not finite, for
    which it has no form, are null."""
    unicode = codecs.lookup(sys.stdout.encoding or "ascii").name.startswith("utf-")
    click.echo(json.dumps(_finite(value), ensure_ascii=not unicode, indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
