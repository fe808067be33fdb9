"""The verb that makes documents alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jagpt import units
from jagpt.cli.common import Location, app, check_name, make_progress, print_json
from jagpt.errors import UsageError

if TYPE_CHECKING:
    from jagpt.corpus.extraction import Dump
    from jagpt.progress import Progress

_ADDRESS = re.compile(
    r"(?P<mirror>https?://[^/]+(?:/[^/]+)*)/(?P<wiki>[a-z][a-z0-9_]{1,40})/"
    r"(?P<date>[0-9]{8}|latest)(?:/[^/]*)?"
)
"""A dump's folder, or a file in it."""


@app.command()
@click.argument("source", metavar="INPUT", required=False)
@click.option(
    "--wiki", metavar="NAME", help="Instead of INPUT: the dump of a wiki, such as jawiki."
)
@click.option("--date", metavar="DATE", help="Date of the dump, such as 20210301, or latest.")
@click.option(
    "--mirror", metavar="URL", help="Server to download from; dumps.wikimedia.org by default."
)
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
    help="dump: a MediaWiki export. wikitext: JSON Lines with title and wikitext.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "jsonl", "txt"]),
    default="parquet",
    show_default=True,
    help="jsonl and txt: one file. parquet: one or more.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Number of processes; by default the number of cores.",
)
@click.option(
    "--markup",
    type=click.Choice(["plain", "markdown"]),
    default="plain",
    show_default=True,
    help="markdown: headings, lists, tables, formulas and code as GitHub renders them.",
)
@click.option(
    "--headings/--no-headings",
    default=True,
    show_default=True,
    help="Keep section headings as lines.",
)
@click.option(
    "--math/--no-math", default=True, show_default=True, help="Keep inline formulas as LaTeX."
)
@click.option(
    "--closing-sections",
    is_flag=True,
    help="Keep closing sections such as 脚注, 出典, 参考文献, 外部リンク, 関連項目.",
)
@click.option(
    "--citations/--no-citations",
    default=True,
    show_default=True,
    help="Keep citations in lists, such as a person's works.",
)
@click.option(
    "--tables/--no-tables", default=None, help="Keep the text of tables. [default: with markdown]"
)
@click.option(
    "--title",
    "titles",
    multiple=True,
    metavar="TITLE",
    help="Only the article with this title; repeatable.",
)
@click.option("--captions", is_flag=True, help="Keep the captions of files.")
@click.option(
    "--filters",
    is_flag=True,
    help="Apply a recipe's default filters (short articles, disambiguation pages, duplicates).",
)
@click.option("--skip-damaged", is_flag=True, help="Skip damaged parts of a dump, and count them.")
@click.option("--force", is_flag=True, help="Replace an earlier extraction in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print stats.json.")  # fmt: skip
def extract(
    source: str | None,
    wiki: str | None,
    date: str | None,
    mirror: str | None,
    output: Path,
    kind: Any,
    form: Any,
    workers: int | None,
    force: bool,
    as_json: bool,
    filters: bool,
    **options: Any,
) -> None:
    """Extract the documents of INPUT: no recipe, no splits, no filters unless asked for.

    INPUT is a file (plain or compressed), a quoted pattern for several files, or the URL of a
    dump, which is first downloaded into the cache.
    """
    from jagpt.corpus import extraction
    from jagpt.machines import available_cores

    check_name("--output", output)
    for title in options["titles"]:
        check_name("--title", title)
    progress = make_progress(as_json)
    place = _place(source, wiki, date, mirror, progress)
    if kind != "dump" and not isinstance(place, str):
        raise UsageError(f"--from {kind}: only dumps can be downloaded")
    wanted = extraction.request(place, kind, form, filters=filters, **options)
    cores = workers or available_cores()
    stats = extraction.extract_documents(wanted, output, cores, progress, force=force)
    if as_json:
        print_json(stats.as_json())
        return
    click.echo(
        f"{output}: {units.counted(stats.documents, 'document')}, "
        f"{units.counted(stats.characters, 'character')}"
    )
    for reason, count in stats.left_out.items():
        click.echo(f"left out: {count:,} ({reason})")


def _place(
    source: str | None, wiki: str | None, date: str | None, mirror: str | None, progress: Progress
) -> str | Dump:
    """The file that INPUT names, or the dump, now in the cache."""
    address = _ADDRESS.fullmatch(source or "")
    if source is not None and (wiki or date or mirror):
        raise UsageError("give either INPUT or --wiki NAME and --date DATE, not both")
    if address:
        wiki, date, mirror = address["wiki"], address["date"], address["mirror"]
    elif source is not None and "://" in source:
        raise UsageError(
            f"{source}: expected the URL of a dump, such as "
            "https://dumps.wikimedia.org/jawiki/20210301/; download any other file yourself"
        )
    elif source is not None:
        return source
    if not wiki or not date:
        raise UsageError("nothing to read: give INPUT, or --wiki NAME and --date DATE")
    return _fetched(wiki, date, mirror, progress)


def _fetched(wiki: str, date: str, mirror: str | None, progress: Progress) -> Dump:
    from jagpt.corpus import download
    from jagpt.corpus.extraction import Dump, dump_source
    from jagpt.corpus.sources import to_download

    download.check_request(wiki, date)
    if date == download.LATEST or to_download(dump_source(Dump(wiki, date))):
        plan = download.plan_download(wiki, date, mirror or download.DUMP_SERVER, progress=progress)
        if plan.missing:
            progress.say(f"{wiki}: {units.size(plan.missing)} to download ({plan.origin})")
        download.fetch(plan, progress)
        date = plan.date
    return Dump(wiki, date)
