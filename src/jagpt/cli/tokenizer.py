"""The verb of tokenizers: the stage, and several of them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from jagpt.cli.common import (
    Location,
    app,
    open_recipe,
    open_run,
    print_json,
    refuse_unused,
    run_options,
)
from jagpt.cli.run import Call, run_verb
from jagpt.errors import DataError, UsageError
from jagpt.rundir import is_run


@app.command()
@click.argument("names", nargs=-1, required=True, metavar="RECIPE | --compare DIR...")
@run_options
@click.option("--compare", is_flag=True, help="Compare tokenizers instead of training one.")
@click.option(
    "--text", type=Location(), metavar="FILE",
    help="With --compare: text to measure on; may be compressed.",
)  # fmt: skip
def tokenizer(
    names: tuple[str, ...],
    overrides: tuple[str, ...],
    run_dir: Path | None,
    force: bool,
    yes: bool,
    as_json: bool,
    compare: bool,
    text: Path | None,
) -> None:
    """Train SentencePiece and write the folder that transformers loads. One stage of a run.

    With --compare, show several tokenizers side by side: each DIR is a tokenizer folder, a run, a
    bare .model file or a hub id. The text is --text, or the test split of the first run among them.
    """
    if compare:
        refuse_unused("--compare", {"--force": force, "--yes": yes})
        if text is not None:
            refuse_unused("--compare --text", {"--set": overrides, "--run-dir": run_dir})
        _compare(names, overrides, run_dir, text, as_json)
        return
    if text is not None:
        raise UsageError("--text needs --compare")
    if len(names) > 1:
        raise UsageError(
            f"expected one RECIPE, found {len(names)}; to compare tokenizers add --compare"
        )
    run_verb(Call(names[0], overrides, run_dir, force, yes, as_json, only="tokenizer"))


def _compare(
    names: Sequence[str],
    overrides: Sequence[str],
    run_dir: Path | None,
    text: Path | None,
    as_json: bool,
) -> None:
    from jagpt import console
    from jagpt.tokenizer.comparison import compare, file_texts
    from jagpt.tokenizer.stats import first_texts

    if text is not None:
        origins, what, texts = _origins(names), str(text), partial(file_texts, text)
    else:
        _, run = open_recipe(names[0], overrides, run_dir)
        if not run.tokenizer.is_dir():
            raise DataError(
                f"{run.root}: this run has no tokenizer yet; train it (jagpt tokenizer "
                f"{names[0]}), or compare on a text with --text FILE"
            )
        origins = {names[0]: str(run.tokenizer), **_origins(names[1:])}
        what, texts = f"test split of {run.root}", partial(first_texts, run.corpus, "test")
    found = compare(list(origins.values()), texts, what)
    rows = {name: found[origin] for name, origin in origins.items()}
    if as_json:
        print_json([{"tokenizer": name, **stats.as_json()} for name, stats in rows.items()])
    else:
        console.show_tokenizers(rows, what)


def _origins(names: Sequence[str]) -> dict[str, str]:
    """Each name with its place: the name of a run means its tokenizer."""
    return {
        name: str(open_run(Path(name))[1].tokenizer) if is_run(name) else name for name in names
    }
