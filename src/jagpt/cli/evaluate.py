"""The verb that measures: a run's stage, or any model on any text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jagpt.cli.common import (
    Location,
    app,
    make_progress,
    open_recipe,
    print_json,
    refuse_unused,
    run_options,
    warn_of_stale,
)
from jagpt.cli.run import Call, run_verb
from jagpt.errors import UsageError

if TYPE_CHECKING:
    from jagpt.evaluation.comparing import MeasureSettings

HELP = """Loss, perplexity, and bits per character and byte, as a stage of a run or of any model.

With RECIPE, its checkpoint is measured on its split (--checkpoint: another model; nothing is stored
in the run). With --model, a model folder, run directory or hub id is measured on
--text, on minimal pairs (--pairs), on tasks of lm-evaluation-harness (--tasks, --suite), or on
all of these; several models are shown in one table.
"""


TEXT_OPTIONS = ("layout", "column", "end_token", "windows", "block_size", "stride")
"""Parameters that say how a text is measured."""


def measure_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a text is read, cut into windows and measured."""
    decorators = (
        click.option(
            "--layout", type=click.Choice(["file", "line"]), default="file", show_default=True,
            help="Plain text: one document per file or per line.",
        ),
        click.option(
            "--column", default="text", show_default=True,
            help="JSON Lines and Parquet: the column that holds the text.",
        ),
        click.option(
            "--end-token/--no-end-token", default=True, show_default=True,
            help="Append the model's end token to each document.",
        ),
        click.option(
            "--windows", type=click.Choice(["blocks", "sliding"]), default="blocks",
            show_default=True, help="Windows without overlap (blocks) or with overlap (sliding).",
        ),
        click.option(
            "--block-size", type=click.IntRange(min=1), metavar="N",
            help="Tokens per window; by default the model's context.",
        ),
        click.option(
            "--stride", type=click.IntRange(min=1), metavar="N",
            help="Tokens by which a sliding window advances; by default half its size.",
        ),
        click.option(
            "--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto",
            show_default=True, help="Arithmetic of the model; auto is bf16 where the hardware "
                                    "supports it.",
        ),
        click.option(
            "--device", type=click.Choice(["auto", "cpu", "cuda", "mps", "xpu"]), default="auto",
            show_default=True, help="Device that the model runs on.",
        ),
    )  # fmt: skip
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


@app.command(help=HELP)
@click.argument("recipe", required=False)
@run_options
@click.option(
    "--checkpoint",
    type=Location(),
    metavar="DIR",
    help="With RECIPE: measure this checkpoint or GPT-2 folder instead, and only print the result.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="DIR|HUB_ID",
    help="A model to measure; repeatable.",
)
@click.option(
    "--ensemble",
    is_flag=True,
    help="With several --model: also measure them as one, by the mean of their probabilities.",
)
@click.option(
    "--tokenizer",
    metavar="DIR|HUB_ID",
    help="With --model: the tokenizer, if it is not in the model folder.",
)
@click.option(
    "--text",
    type=Location(),
    metavar="FILE",
    help="With --model: plain text, JSON Lines or Parquet; may be compressed.",
)
@measure_options
@click.option(
    "--pairs",
    metavar="FILE|shipped",
    help="With --model: a file of minimal pairs, or a set bundled with jagpt.",
)
@click.option(
    "--suite",
    type=click.Choice(["ja"]),
    help="With --model: JCommonsenseQA, JNLI, MARC-ja, JSQuAD and XWinograd-ja (jagpt[harness]).",
)
@click.option(
    "--tasks",
    metavar="NAME,...",
    help="With --model: tasks of lm-evaluation-harness (jagpt[harness]).",
)
def evaluate(
    recipe: str | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    force: bool,
    yes: bool,
    as_json: bool,
    checkpoint: Path | None,
    models: tuple[str, ...],
    **options: Any,
) -> None:
    if (recipe is None) == (not models):
        raise UsageError("evaluate: give either a RECIPE or --model")
    if recipe is None:
        if checkpoint is not None:
            raise UsageError("--checkpoint needs a RECIPE; --model takes any folder")
        unused = {"--set": overrides, "--run-dir": run_dir, "--force": force, "--yes": yes}
        refuse_unused("--model", unused)
        _compare(models, as_json, **options)
        return
    _refuse_model_options()
    if checkpoint is None:
        run_verb(Call(recipe, overrides, run_dir, force, yes, as_json, only="evaluate"))
    else:
        refuse_unused("--checkpoint", {"--force": force, "--yes": yes})
        _measure_checkpoint(recipe, overrides, run_dir, checkpoint, as_json)


def _refuse_model_options() -> None:
    """With RECIPE, its `[evaluate]` section says how to measure."""
    names = ("tokenizer", "text", *TEXT_OPTIONS, "pairs", "suite", "tasks", "precision",
             "device", "ensemble")  # fmt: skip
    for flag in _given(names):
        raise UsageError(
            f"{flag} needs --model; for a RECIPE see [evaluate] and [execution] "
            "(--set evaluate.windows=sliding)"
        )


def _given(names: Sequence[str]) -> Iterator[str]:
    """The flags of these parameters that stand on the command line."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            yield "--" + name.replace("_", "-")


def _measure_checkpoint(
    recipe: str, overrides: tuple[str, ...], run_dir: Path | None, folder: Path, as_json: bool
) -> None:
    from jagpt.evaluation.checkpoint import measure_checkpoint

    loaded, place = open_recipe(recipe, overrides, run_dir)
    found = measure_checkpoint(loaded, place, make_progress(as_json), folder)
    if as_json:
        print_json(found.as_json())
    else:
        from jagpt.evaluation.shown import show_split

        show_split(found)


def _compare(models: tuple[str, ...], as_json: bool, **options: Any) -> None:
    from jagpt.evaluation import comparing, texts
    from jagpt.records import plain

    text, sentences = options.pop("text"), options.pop("pairs")
    tasks = _tasks(options.pop("suite"), options.pop("tasks"))
    layout, column = options.pop("layout"), options.pop("column")
    ensemble = options.pop("ensemble")
    if ensemble and not (text or sentences):
        raise UsageError("--ensemble needs --text or --pairs: tasks measure one model at a time")
    if not (text or sentences or tasks):
        raise UsageError(
            "--model: nothing to measure it on; add --text, --pairs or --tasks (--suite)"
        )
    if not text:
        refuse_unused(
            "--pairs, --suite and --tasks alone", dict.fromkeys(_given(TEXT_OPTIONS), True)
        )
    for name in models:
        warn_of_stale(name)
    settings: MeasureSettings = comparing.MeasureSettings(**options)
    found = comparing.compare(
        models,
        settings=settings,
        progress=make_progress(as_json),
        text=texts.read(text, layout, column) if text else None,
        sentences=_pairs(sentences) if sentences else (),
        tasks=tasks,
        ensemble=ensemble,
    )
    if as_json:
        print_json(plain(found))
    else:
        from jagpt.evaluation.shown import show_models

        show_models(found)


def _tasks(suite: str | None, names: str | None) -> list[str]:
    """The suite's tasks and the named ones, each once."""
    from jagpt.evaluation import harness

    wanted = [*(harness.SUITES[suite] if suite else ()), *(names or "").split(",")]
    return list(dict.fromkeys(name for name in wanted if name))


def _pairs(name: str) -> Any:
    from jagpt.evaluation import pairs

    return pairs.read(pairs.shipped_path() if name == pairs.SHIPPED else Path(name))
