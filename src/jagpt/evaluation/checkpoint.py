"""Loss, perplexity and bits of a checkpoint on a split of its run, and what it memorized.

In fp32 unless the recipe says otherwise, whatever the training precision: this measures the model,
not its arithmetic.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jagpt import units
from jagpt.errors import DataError
from jagpt.evaluation.measures import DocumentNats
from jagpt.evaluation.result import Evaluation, TaskFigures
from jagpt.evaluation.windows import Windows
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

if TYPE_CHECKING:
    from jagpt.evaluation.scoring import Scorer
    from jagpt.models import ModelFolder
    from jagpt.tokens.dataset import TokenSplit

KEYS = ("execution.device", "evaluate.precision")


def measure_checkpoint(
    recipe: Recipe, run: RunDirectory, progress: Progress, folder: Path | None = None
) -> Evaluation:
    """The figures of the recipe's checkpoint, or of the model in `folder`.

    Raises as the stage does.
    """
    from jagpt import devices, models
    from jagpt.evaluation.scoring import Scorer, choose
    from jagpt.models import checkpoint_folder
    from jagpt.models.build import prepared
    from jagpt.tokens.dataset import TokenSplit
    from jagpt.training import checkpoints

    wanted = recipe.evaluate
    name, step = str(folder), None
    if folder is None:
        folder = checkpoint_folder.resolve(run.checkpoints, wanted.checkpoint)
        name, step = folder.name, checkpoints.read(folder).step
    split = TokenSplit.open(run.tokens, wanted.split)
    split.check()
    subject = models.open(folder)
    _check(subject, split, recipe.block_size, run)
    network = prepared(subject.network)
    windows = Windows.of(wanted.windows, recipe.block_size, wanted.stride)
    device, _ = choose(recipe.execution.device, wanted.precision, KEYS)
    if warning := devices.emulation_warning(device, wanted.precision, KEYS[1]):
        progress.say(warning)
    with devices.threads(recipe.execution.threads), devices.explained(device, KEYS[0]):
        end_id = split.end_id if recipe.train.document_mask else None
        scorer = Scorer(network, device, wanted.precision, end_id)
        found = measure_split(scorer, split, windows, progress)
        memorized = None
        if wanted.memorization_samples:
            from jagpt.evaluation import memorization

            memorized = memorization.measure(
                network.float(), split, run, wanted.memorization_samples, progress
            )
    tasks = _tasks(folder, run, wanted.suite) if wanted.suite else {}
    return Evaluation(
        split=wanted.split,
        checkpoint=name,
        step=step,
        **vars(found.figures()),
        windows=windows.kind,
        block_size=windows.block_size,
        stride=windows.stride,
        precision=wanted.precision,
        memorization=memorized,
        tasks=tasks,
    )


def _check(subject: ModelFolder, split: TokenSplit, block_size: int, run: RunDirectory) -> None:
    """`DataError` if the model does not read these tokens, or not in these windows."""
    from jagpt.models.tokenizer import fits, has_one, load_tokenizer, other_ids

    alone = f"`jagpt evaluate --model {subject.name} --text FILE` measures it in its own tokens"
    if not fits(split.vocab_size, subject.vocab_size):
        raise DataError(
            f"{run.tokens}: these tokens have a vocabulary of {split.vocab_size:,}, but "
            f"{subject.name} is a model of {subject.vocab_size:,}: {alone}"
        )
    if subject.context is not None and block_size > subject.context:
        raise DataError(
            f"{subject.name}: a context of {subject.context:,} tokens, but the recipe measures in "
            f"windows of {block_size:,}: {alone}"
        )
    words = subject.tokenizer_folder
    if words.resolve() == run.tokenizer.resolve() or not has_one(words):
        return
    if odd := other_ids(load_tokenizer(run.tokenizer), subject.tokenizer):
        raise DataError(
            f"{subject.name}: {odd:,} pieces of its tokenizer have a different id in that of "
            f"{run.tokens}: {alone}"
        )


def _tasks(folder: Path, run: RunDirectory, suite: str) -> dict[str, TaskFigures]:
    """Results of the suite's tasks for the model in `folder`, which is opened again for them."""
    from jagpt import models
    from jagpt.evaluation import harness
    from jagpt.models.tokenizer import has_one

    words = None if has_one(folder) else run.tokenizer
    subject = models.open(folder, tokenizer=words)
    return harness.measure(subject, harness.SUITES[suite], f"evaluate.suite = {suite!r}")


def measure_split(
    scorer: Scorer, split: TokenSplit, windows: Windows, progress: Progress
) -> DocumentNats:
    """Nats of every token of the split except the first."""
    from jagpt.evaluation.scoring import document_nats

    if split.n_tokens < 2:
        raise DataError(
            f"{split.directory}: the {split.split} split has "
            f"{units.counted(split.n_tokens, 'token')}, but at least 2 are needed; raise "
            f"[corpus] {split.split}_share or add text"
        )
    if not split.n_characters:
        raise DataError(f"{split.directory}: the {split.split} split has no characters")
    sizes = (
        np.concatenate([np.asarray(shard.characters) for shard in split.shards]),
        np.concatenate([np.asarray(shard.bytes) for shard in split.shards]),
    )
    with progress.bar(f"evaluate {split.split}", split.n_tokens - 1, "tokens") as bar:
        return document_nats(scorer, split, windows, sizes, bar.advance)


def sentence(result: Evaluation) -> str:
    """The figures, in one line."""
    said = (
        f"{result.split}: loss {result.loss:.4f}, perplexity {result.perplexity:,.2f}, "
        f"{result.bits_per_character:.4f} bits per character"
    )
    if (repeated := result.memorization) and repeated.spans:
        said += f"; {units.percent(repeated.share)} of what it wrote occurs in the training text"
    return said
