"""The verb that makes documents alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jagpt.cli.common import Location, app, make_progress, print_json


@app.command()
@click.argument("source", metavar="INPUT")
@click.option(
    "--output",
    type=Location(),
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
    "--markup",
    type=click.Choice(["plain", "markdown"]),
    default="plain",
    show_default=True,
    help="markdown: headings, lists, tables, formulas and code in GitHub's form.",
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
@click.option(
    "--citations/--no-citations",
    default=True,
    show_default=True,
    help="Citations that are items of a list, such as a person's works.",
)
@click.option(
    "--tables/--no-tables", default=None, help="The text of tables.  [default: with markdown]"
)
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
    **options: Any,
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
        print_json(stats.as_json())
        return
    click.echo(f"{output}: {stats.documents:,} documents, {stats.characters:,} characters")
    for reason, count in stats.left_out.items():
        click.echo(f"left out: {count:,} ({reason})")
