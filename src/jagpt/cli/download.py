"""The verb that fetches dumps."""

from __future__ import annotations

import click

from jagpt.cli.common import app, json_option, make_progress, print_json
from jagpt.errors import UsageError


@app.command()
@click.argument("recipe", required=False)
@click.option("--wiki", metavar="NAME", help="Database name of a wiki, such as jawiki.")
@click.option("--date", metavar="DATE", help="Date of the dump, such as 20210301, or latest.")
@click.option(
    "--mirror", metavar="URL", help="Server to download from; dumps.wikimedia.org by default."
)
@click.option("--dry-run", is_flag=True, help="Only print what would be downloaded, and its size.")
@json_option
def download(
    recipe: str | None,
    wiki: str | None,
    date: str | None,
    mirror: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Download a wiki's dump, or those of RECIPE, into the cache. Resumes where it stopped."""
    from jagpt import console
    from jagpt.corpus import download as downloads

    progress = make_progress(as_json)
    plans = [
        downloads.plan_download(name, day, base, progress=progress)
        for name, day, base in _wanted_dumps(recipe, wiki, date, mirror)
    ]
    if not dry_run:
        for plan in plans:
            downloads.fetch(plan, progress)
    if as_json:
        print_json([plan.as_json() for plan in plans])
    else:
        console.show_downloads(plans, dry_run)


def _wanted_dumps(
    recipe: str | None, wiki: str | None, date: str | None, mirror: str | None
) -> list[tuple[str, str, str]]:
    """(wiki, date, base address) of the dumps that a `download` command line means."""
    from jagpt import recipe as recipe_module
    from jagpt.corpus.download import DUMP_SERVER

    if recipe is None:
        if not wiki or not date:
            raise UsageError("nothing to download: give RECIPE, or --wiki NAME and --date DATE")
        return [(wiki, date, mirror or DUMP_SERVER)]
    if wiki or date:
        raise UsageError("RECIPE names its own wikis and dates: leave out --wiki and --date")
    loaded = recipe_module.load(recipe)
    base = mirror or loaded.execution.mirror or DUMP_SERVER
    wanted = [
        (s.wiki, s.date, base) for s in loaded.corpus.source if s.wiki and s.date and not s.path
    ]
    if not wanted:
        raise UsageError(f"{recipe}: no source has a `wiki` and a `date` to download")
    return wanted
