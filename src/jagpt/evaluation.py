"""Loss, perplexity, bits per character and per byte of a checkpoint on a split.

Measured in consecutive windows of `block_size` tokens without overlap, as the original's `test.py`
did, without dropout and in fp32 whatever the training's precision: the model's figure, not that of
its arithmetic. The nats of all tokens are summed first; the mean and its exp are taken last.

The split's first token follows nothing, so no model can be asked for it. Loss and perplexity are
over the other N − 1 tokens, as in the original. Bits per character and per byte must pay for the
whole text: there the first token is charged log(vocab_size), what a blind guess costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jagpt import files
from jagpt.errors import DataError, JagptError
from jagpt.progress import Bar, Progress
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from jagpt.tokens.dataset import TokenSplit
    from jagpt.tokens.shards import Ints
    from jagpt.training.validation import Nats

RESULT = "test.json"
BATCH_TOKENS = 8192
"""Tokens a forward pass, about; fixed, so that the sums do not depend on the recipe's batch."""


def run(recipe: Recipe, run: RunDirectory, progress: Progress) -> None:
    """Measure the recipe's checkpoint on the recipe's split and write `test.json`.

    Raises `UsageError` for a checkpoint that is not kept, `DataError` where it is damaged, or the
    split has no two tokens or is not of the model's vocabulary.
    """
    from jagpt import model
    from jagpt.tokens.dataset import TokenSplit
    from jagpt.training import checkpoints, machine

    wanted = recipe.evaluate
    folder = checkpoints.resolve(run.checkpoints, wanted.checkpoint)
    step = checkpoints.read(folder).step
    split = TokenSplit.open(run.tokens, wanted.split)
    split.check()
    network = model.load(folder)
    _move(network, machine.choose_device(recipe.execution.device, "fp32"))
    if split.vocab_size != network.config.vocab_size:
        raise DataError(
            f"{run.tokens}: tokens of a vocabulary of {split.vocab_size:,}, but {folder} is a "
            f"model of {network.config.vocab_size:,}: train it on these tokens"
        )
    with _threads(recipe.execution.threads):
        found = measure_split(
            network,
            split,
            recipe.block_size,
            progress,
            document_mask=recipe.train.document_mask,
        )
    result = {
        "split": wanted.split,
        "checkpoint": folder.name,
        "step": step,
        **figures(found, split),
    }
    files.write_json(run.own("evaluate") / RESULT, result)
    progress.say(
        f"{wanted.split}: loss {found.loss:.4f}, perplexity {found.perplexity:,.2f}, "
        f"{result['bits_per_character']:.4f} bits per character"
    )


def measure_split(
    network: PreTrainedModel,
    split: TokenSplit,
    block_size: int,
    progress: Progress,
    *,
    document_mask: bool = False,
) -> Nats:
    """Nats of every token of the split but its first, in fp32.

    With `document_mask`, no document is seen from another one, as in a training of that kind.
    """
    from jagpt.tokens.dataset import validation_windows
    from jagpt.training.parallel import Learner
    from jagpt.training.validation import measure

    windows = validation_windows(split, block_size)
    with progress.bar(f"evaluate {split.split}", max(split.n_tokens - 1, 0), "tokens") as bar:
        found = measure(
            Learner(network, end_id=split.end_id if document_mask else None),
            _counted(windows, bar),
            batch_size=max(1, BATCH_TOKENS // block_size),
            precision="fp32",
        )
    if found is None or not math.isfinite(found.loss):
        raise JagptError(f"the loss on the {split.split} split is not finite: the model is broken")
    return found


def figures(found: Nats, split: TokenSplit) -> dict[str, Any]:
    """The measured nats and what follows from them, as plain JSON values."""
    if not split.n_characters:
        raise DataError(f"{split.directory}: the {split.split} split has no characters")
    bits = (found.nats + math.log(split.vocab_size)) / math.log(2)
    return {
        "documents": split.n_documents,
        "tokens": found.tokens,
        "characters": split.n_characters,
        "bytes": split.n_bytes,
        "nats": found.nats,
        "loss": found.loss,
        "perplexity": found.perplexity,
        "bits_per_character": bits / split.n_characters,
        "bits_per_byte": bits / split.n_bytes,
    }


def _move(network: torch.nn.Module, device: torch.device) -> None:
    network.to(device)


def _counted(windows: Iterable[Ints], bar: Bar) -> Iterator[Ints]:
    """The windows, with the bar moved on by the labels of each."""
    for window in windows:
        yield window
        bar.advance(len(window) - 1)


@contextmanager
def _threads(wanted: int | None) -> Iterator[None]:
    """PyTorch on so many threads inside the block."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(wanted or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
