"""Hours and disk of a run, roughly, before anything runs."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from jagpt.errors import DataError
from jagpt.files import MANIFEST
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory
from jagpt.summary import collect

TOKENS_PER_DUMP_BYTE = 0.165
"""Tokens a byte of a bz2 dump: about 540 M train tokens (the published model's card) of 3.2 GB."""

TOKENS_PER_TEXT_BYTE = 1 / 6
"""Japanese text: 3 bytes a character, about 2 characters a token at 32,000 pieces."""

EFFICIENCY = 0.6
"""Share of the measured matrix product that training reaches."""

CHARACTERS_PER_TOKEN = 1.4
"""Of the default tokenizer on Japanese encyclopedic text at 8,000 pieces."""

PRODUCT_SIZE = 1024
PRODUCT_SECONDS = 0.2


@dataclass(frozen=True)
class Estimate:
    """What a run will take; `tokens` are those trained on, over all epochs."""

    parameters: int
    tokens: int
    steps: int
    hours: float
    disk: int

    def sentence(self) -> str:
        """The estimate for people."""
        return (
            f"about {_duration(self.hours)} of training "
            f"({_count(self.parameters)} parameters, {_count(self.tokens)} tokens, "
            f"{self.steps:,} steps) "
            f"and {_bytes(self.disk)} of disk"
        )


def estimate(recipe: Recipe, run: RunDirectory) -> Estimate:
    """Measure a matrix product on the device and do the sums of the recipe."""
    train_tokens = _train_tokens(recipe, run)
    steps = _steps(recipe, train_tokens)
    parameters = _parameters(recipe)
    shape = recipe.model
    flops_a_token = 6 * parameters + 12 * shape.n_layer * shape.n_embd * recipe.block_size
    tokens = steps * recipe.tokens_per_step
    hours = tokens * flops_a_token / (_measured_speed(recipe) * EFFICIENCY) / 3600
    checkpoints = (recipe.train.keep_checkpoints + 2) * 3 * 4 * parameters
    disk = checkpoints + 3 * 4 * parameters + train_tokens * (4 + 6)
    return Estimate(parameters, tokens, steps, hours, disk)


def _parameters(recipe: Recipe) -> int:
    """Parameters of a GPT-2 of this shape, tied embeddings counted once."""
    width, layers = recipe.model.n_embd, recipe.model.n_layer
    block = 12 * width * width + 13 * width
    embeddings = (recipe.tokenizer.vocab_size + recipe.model.n_positions) * width
    return embeddings + layers * block + 2 * width


def _steps(recipe: Recipe, train_tokens: int) -> int:
    limits = []
    if recipe.train.max_steps is not None:
        limits.append(recipe.train.max_steps)
    if recipe.train.max_epochs is not None:
        steps = recipe.train.max_epochs * train_tokens / recipe.tokens_per_step
        limits.append(max(1, math.floor(steps)))
    return min(limits)


def _train_tokens(recipe: Recipe, run: RunDirectory) -> int:
    """Tokens of the train split: counted, or from the corpus, or from the sources' sizes."""
    with suppress(DataError):  # what is damaged is told by the stage that reads it
        if (run.tokens / MANIFEST).is_file():
            from jagpt.tokens.dataset import TokenSplit

            return TokenSplit.open(run.tokens, "train").n_tokens
        if (run.corpus / MANIFEST).is_file() and (corpus := collect(run).corpus) is not None:
            return max(1, round(corpus.splits["train"].characters / CHARACTERS_PER_TOKEN))
    from jagpt.corpus.sources import source_files

    tokens = 0.0
    for source in recipe.corpus.source:
        for path in source_files(source):
            tokens += path.stat().st_size * _tokens_a_byte(path)
    return max(1, round(tokens))


def _tokens_a_byte(path: Path) -> float:
    if ".xml" in path.name:
        return TOKENS_PER_DUMP_BYTE if path.suffix == ".bz2" else TOKENS_PER_DUMP_BYTE / 4
    packed = path.suffix in (".gz", ".xz", ".zst")
    return TOKENS_PER_TEXT_BYTE * (3 if packed else 1)


def _measured_speed(recipe: Recipe) -> float:
    """FLOP/s of a square product on the recipe's device in its precision."""
    import torch

    wanted: str = recipe.execution.device
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wanted)
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    kind = kinds[recipe.train.precision]
    if device.type == "cpu" and kind is torch.float16:
        kind = torch.float32
    left = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, dtype=kind, device=device)
    left @ left
    started, count = time.perf_counter(), 0
    while (seconds := time.perf_counter() - started) < PRODUCT_SECONDS:
        product = left @ left
        count += 1
        if device.type == "cuda":
            product.sum().item()
    return count * 2 * PRODUCT_SIZE**3 / seconds


def _count(number: int) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:,.1f} {letter}"
    return str(number)


def _duration(hours: float) -> str:
    if hours < 1 / 30:
        return f"{max(2, round(hours * 3600))} seconds"
    if hours < 1:
        return f"{round(hours * 60)} minutes"
    return f"{hours:,.1f} hours"


def _bytes(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
