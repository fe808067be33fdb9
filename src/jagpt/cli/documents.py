"""The verbs of text: documents alone, and dumps from their server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jagpt.cli.common import Place, app, json_option, make_progress, print_json
from jagpt.errors import UsageError


@app.command()
@click.argument("source", metavar="INPUT")
@click.option(
    "--output",
    type=Place(),
    metavar="DIR",
    required=True,
    help="Where the documents go: a new or empty folder.",
)
@click.option(
    "--from",
    "kind",
    type=click.Choice(["dump", "wikitext"]),
    default="dump",
    show_default=True,
    help="dump: a MediaWiki export. wikitext: JSON lines with title and wikitext.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "jsonl", "txt"]),
    default="parquet",
    show_default=True,
    help="jsonl, txt: one file. parquet: one or more.",
)
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes; the number of cores if not given."
)
@click.option(
    "--headings/--no-headings", default=True, show_default=True, help="Section headings as lines."
)
@click.option("--math/--no-math", default=True, show_default=True, help="Inline formulas as LaTeX.")
@click.option(
    "--closing-sections",
    is_flag=True,
    help="Keep 脚注, 出典, 参考文献, 外部リンク, 関連項目 and the like.",
)
@click.option("--tables", is_flag=True, help="Keep the text of tables.")
@click.option("--captions", is_flag=True, help="Keep the captions of files.")
@click.option(
    "--filters",
    is_flag=True,
    help="Leave out what a recipe's defaults leave out (short, disambiguation, equal).",
)
@click.option(
    "--skip-damaged", is_flag=True, help="Leave out what is damaged in a dump, and count it."
)
@click.option("--force", is_flag=True, help="Replace another extraction in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print stats.json.")  # fmt: skip
def extract(
    source: str,
    output: Path,
    kind: Any,
    form: Any,
    workers: int | None,
    force: bool,
    as_json: bool,
    filters: bool,
    **options: bool,
) -> None:
    """The documents of INPUT alone: no recipe, no splits, unfiltered unless asked.

    INPUT is a file, plain or compressed, or several by a pattern in quotes.
    """
    from jagpt.corpus import extraction
    from jagpt.machines import available_cores

    wanted = extraction.request(source, kind, form, filters=filters, **options)
    stats = extraction.extract_documents(
        wanted, output, workers or available_cores(), make_progress(as_json), force=force
    )
    if as_json:
        print_json(stats)
        return
    click.echo(f"{output}: {stats['documents']:,} documents, {stats['characters']:,} characters")
    for reason, count in stats["left_out"].items():
        click.echo(f"left out: {count:,} ({reason})")


@app.command()
@click.argument("recipe", required=False)
@click.option("--wiki", metavar="NAME", help="Database name of a wiki, like jawiki.")
@click.option("--date", metavar="DATE", help="A day like 20210301, or latest.")
@click.option("--mirror", metavar="URL", help="Fetch from here; dumps.wikimedia.org if not given.")
@click.option("--dry-run", is_flag=True, help="Only say what would be fetched, and how much.")
@json_option
def download(
    recipe: str | None,
    wiki: str | None,
    date: str | None,
    mirror: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Fetch a wiki's dump, or those of RECIPE, into the cache; resumes."""
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
            raise UsageError("say what to fetch: RECIPE, or --wiki NAME and --date DATE")
        return [(wiki, date, mirror or DUMP_SERVER)]
    if wiki or date:
        raise UsageError("RECIPE names its wikis and dates itself: leave --wiki and --date out")
    loaded = recipe_module.load(recipe)
    base = mirror or loaded.execution.mirror or DUMP_SERVER
    wanted = [
        (s.wiki, s.date, base) for s in loaded.corpus.source if s.wiki and s.date and not s.path
    ]
    if not wanted:
        raise UsageError(f"{recipe}: no source names a `wiki` and a `date` to fetch")
    return wanted
