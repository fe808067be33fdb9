"""The verb that exports: a run's model, or any GPT-2 folder."""

from __future__ import annotations

from pathlib import Path

import click

from jagpt import files
from jagpt.cli.common import (
    Location,
    app,
    make_progress,
    print_json,
    refuse_unused,
    run_options,
    warn_of_stale,
)
from jagpt.cli.run import Call, run_verb
from jagpt.errors import DataError, UsageError
from jagpt.progress import Progress

HELP = """The Hugging Face folder that from_pretrained loads, and other formats.

With RECIPE, a stage of a run: RUN/model, and each format of `export.formats` in RUN/export;
--format adds one to these. With --model, any GPT-2 folder is exported. Each export is
run in its own runtime, compared with PyTorch, and kept only if the difference is within bounds.

Formats: huggingface, pytorch, tensorflow, flax, onnx, onnx-fp16, onnx-int8, ctranslate2,
ctranslate2-int8, gguf-f32, gguf-f16, gguf-q8_0 (or gguf), gguf-q5_k_m, gguf-q4_k_m, openvino; all
for those that can be made here, and it is told what is left out and why.
"""


@app.command(help=HELP)
@click.argument("recipe", required=False)
@run_options
@click.option("--format", "formats", multiple=True, metavar="NAME", help="A format; repeatable.")
@click.option(
    "--model", "model_dir", type=Location(), metavar="DIR",
    help="A model to export instead of RECIPE: a folder, run, checkpoint or hub id.",
)  # fmt: skip
@click.option(
    "--output", type=Location(), metavar="DIR",
    help="With --model: where the folders of the formats go; DIR/export by default. A folder there "
    "is replaced only if it is an earlier export.",
)  # fmt: skip
@click.option(
    "--text", type=Location(), metavar="FILE",
    help="With --model: text to compare on; the bundled sample by default.",
)  # fmt: skip
def export(
    recipe: str | None,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    force: bool,
    yes: bool,
    as_json: bool,
    formats: tuple[str, ...],
    model_dir: Path | None,
    output: Path | None,
    text: Path | None,
) -> None:
    if (recipe is None) == (model_dir is None):
        raise UsageError("export: give either a RECIPE or --model")
    if model_dir is not None:
        unused = {"--set": overrides, "--run-dir": run_dir, "--force": force, "--yes": yes}
        refuse_unused("--model", unused)
        _export_folder(model_dir, formats, output, text, as_json)
        return
    if output is not None or text is not None:
        flag = "--output" if output is not None else "--text"
        raise UsageError(f"{flag} goes with --model; a run's formats stand in RUN/export")
    overrides = _with_formats(str(recipe), overrides, formats, make_progress(as_json))
    run_verb(Call(str(recipe), overrides, run_dir, force, yes, as_json, only="export"))


def _with_formats(
    recipe: str, overrides: tuple[str, ...], formats: tuple[str, ...], progress: Progress
) -> tuple[str, ...]:
    """The overrides, and one that adds `formats` to those of the recipe."""
    if not formats:
        return overrides
    from jagpt import recipe as recipes
    from jagpt.formats.table import chosen

    known = recipes.load(recipe, overrides)
    wanted = chosen(
        [*known.export.formats, *formats], lambda one: one.check_recipe(known), progress.say
    )
    both = ", ".join(f'"{one.name}"' for one in wanted)
    return (*overrides, f"export.formats=[{both}]")


def _run_of(model_dir: Path) -> Path | None:
    """The run that a folder is, or of which it is a finished stage."""
    from jagpt.manifests import MANIFEST
    from jagpt.rundir import is_run

    if is_run(model_dir):
        return model_dir
    above = model_dir.absolute().parent
    return above if (model_dir / MANIFEST).is_file() and is_run(above) else None


def _export_folder(
    model_dir: Path,
    formats: tuple[str, ...],
    output: Path | None,
    text: Path | None,
    as_json: bool,
) -> None:
    from jagpt.formats import making
    from jagpt.formats.table import chosen

    if not formats:
        raise UsageError("--model: no format given; add --format")
    chosen(formats)
    if output is None and (run := _run_of(model_dir)) is not None:
        raise UsageError(
            f"--model {model_dir}: the run {run} holds its own exports: give it as RECIPE, or "
            "name another folder with --output"
        )
    if model_dir.exists() and not model_dir.is_dir():
        raise DataError(f"{model_dir}: expected a directory, found {files.sort_of(model_dir)}")
    if output is None and not model_dir.is_dir():
        raise UsageError(f"--model {model_dir}: no such folder; a hub id needs --output")
    warn_of_stale(model_dir)
    found = making.export_folder(
        model_dir, formats, output or model_dir / "export", make_progress(as_json), text
    )
    if as_json:
        print_json([parity.as_json() for parity in found])
