"""The other formats: each is made, verified, and only then put in place.

`export/<format>/` holds the format's files and `parity.json`; it appears as a whole or not at all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jagpt import files, manifests
from jagpt.errors import DataError, JagptError, UsageError
from jagpt.formats import material, parity
from jagpt.formats.bounds import TENSORS, Parity
from jagpt.formats.material import Material
from jagpt.formats.source import CONFIG_FILES, WEIGHTS, ModelSource
from jagpt.formats.table import Format, chosen, divided
from jagpt.models import load_tokenizer
from jagpt.models.tokenizer import other_ids, token_ids
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

if TYPE_CHECKING:
    from jagpt.runtimes import Runtime

TEXT_SPLIT = "test"


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Make the recipe's formats from the run's model folder; finished ones are kept.

    Raises `MissingExtraError`, `DataError` if the model folder is missing, `JagptError` if an
    export is out of bounds.
    """
    wanted = chosen(recipe.export.formats)
    directory = run.own("formats")
    files.make_directory(directory)
    missing = [one for one in wanted if not (directory / one.name / Parity.FILE).is_file()]
    if not missing:
        return
    if not (run.model / WEIGHTS).is_file():
        raise DataError(f"{run.model}: no exported model here; `jagpt export RECIPE` makes it")
    source = ModelSource.open(run.model)

    def text(tokenizer: Any) -> Material:
        return material.of_split(run.tokens, TEXT_SPLIT, tokenizer, source.n_positions)

    make(source, missing, directory, text, progress, recipe.execution.threads)


def export_folder(
    model_dir: Path,
    names: Sequence[str],
    output: Path,
    progress: Progress,
    text_file: Path | None = None,
) -> list[Parity]:
    """Export any GPT-2 folder, with one folder per format in `output`; returns what parity found
    for each.

    The texts to compare on are those of `text_file`, or the bundled sample's. Raises as `run` does,
    `UsageError` for a format that does not exist or cannot hold this model, and for a folder in
    `output` that would be replaced and is not an export.
    """
    source = ModelSource.open(model_dir)
    formats = chosen(names, lambda one: one.check_source(source), progress.say)
    for one in formats:
        _refuse_foreign(output / one.name)

    def text(tokenizer: Any) -> Material:
        if text_file is not None:
            return material.of_file(text_file, tokenizer, source.n_positions)
        return material.of_sample(tokenizer, source.n_positions)

    return make(source, formats, output, text, progress)


def make(
    source: ModelSource,
    formats: Sequence[Format],
    output: Path,
    text: Callable[[Any], Material],
    progress: Progress,
    threads: int | None = None,
) -> list[Parity]:
    """Each format into its folder in `output`; an existing one is replaced.

    `text` gives what to compare on, for the source's tokenizer. If a format fails, the others are
    made before its error is raised.
    """
    from jagpt.runtimes.reference import Reference

    able, refused = divided(formats, lambda one: one.check_source(source))
    failed = [reason for _, reason in refused]
    found: list[Parity] = []
    if able:
        for reason in failed:
            progress.say(f"error: {reason}; the other formats are made")
        tokenizer = source.model.tokenizer
        chosen_text = text(tokenizer)
        reference = Reference(source.network)
    for one in able:
        files.remove_leftovers(output, of=one.name)
        try:
            with files.staged_directory(output / one.name) as folder:
                one.write(source, folder)
                told = _proof(one, source, folder, chosen_text, tokenizer, reference, threads)
                told.write(folder)
        except JagptError as error:
            failed.append(error)
            continue
        progress.say(f"{one.name}: {sentence(told)}")
        found.append(told)
    for other in failed[1:]:
        progress.say(f"error: {other}")
    if failed:
        raise failed[0]
    return found


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace what is not an earlier export of the same format."""
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return
    with suppress(DataError):  # a record that is not jagpt's
        if folder.is_dir() and (told := Parity.find(folder)) and told.format == folder.name:
            return
    raise UsageError(
        f"{folder}: would be replaced, but is not an export that jagpt made: move it away, or name "
        "another folder with --output"
    )


def _size(folder: Path, source: ModelSource) -> int:
    """Bytes of the format's own files."""
    copied = {*CONFIG_FILES, *(path.name for path in source.tokenizer_files)}
    own = set(manifests.list_files(folder)) - copied
    return sum((folder / name).stat().st_size for name in own)


def _check_tokenizer(one: Format, folder: Path, text: Material, tokenizer: Any) -> None:
    """`JagptError` unless the tokenizer beside the weights gives the ids that the model's gives."""
    if one.carries_tokenizer:  # parity compares it
        return
    found = load_tokenizer(folder)
    ours, theirs = (token_ids(each, text.texts) for each in (found, tokenizer))
    if other_ids(found, tokenizer) or ours != theirs:
        raise JagptError(
            f"{one.name}: the tokenizer's files alone give other ids than in "
            f"{tokenizer.name_or_path}; nothing was kept"
        )


def _proof(
    one: Format,
    source: ModelSource,
    folder: Path,
    text: Material,
    tokenizer: Any,
    reference: Runtime,
    threads: int | None,
) -> Parity:
    """What was compared; `JagptError` if the export is not the same model."""
    compared = partial(
        Parity,
        format=one.name,
        weights=one.weights,
        source=source.fingerprint,
        precision=one.bounds.precision,
        size=_size(folder, source),
    )
    _check_tokenizer(one, folder, text, tokenizer)
    if one.check is not None:
        one.check(source, folder)
        return compared(compared=TENSORS, equal=True)
    if one.runtime is None:
        raise AssertionError(f"{one.name} has neither a runtime nor a check")
    runtime = one.runtime(source, folder, threads)
    try:
        measured = parity.measure(runtime, reference, text, tokenizer)
        normalized = runtime.normalized
    finally:
        runtime.close()
    parity.require(one.name, measured, one.bounds)
    return compared(
        text=text.origin,
        compared="log-probabilities" if normalized else "logits",
        **vars(measured),
        bounds=one.bounds,
    )


def sentence(told: Parity) -> str:
    """What was compared, in one line."""
    if told.compared == TENSORS:
        return "every tensor read back is the model's"
    parts = [
        f"{told.compared} within {told.logit_difference:.1e}",
        f"greedy {told.greedy_equal} of {told.prompts} prompts equal"
        + (f" and {told.greedy_ties} tied" if told.greedy_ties else ""),
        f"perplexity {told.perplexity:.4f} (PyTorch {told.perplexity_pytorch:.4f})",
    ]
    if told.texts:
        parts.append(f"token ids {told.texts_equal} of {told.texts} lines equal")
    if told.byte_texts:
        parts.append(f"with byte pieces {told.byte_texts_equal} of {told.byte_texts} lines equal")
    return ", ".join(parts)
