"""A tiny split of tokens, a tokenizer's folder and recipes that train in a second."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from jagpt import files, manifests
from jagpt.manifests import Manifest
from jagpt.progress import Progress
from jagpt.recipe import Recipe, Train, parse
from jagpt.rundir import RunDirectory
from jagpt.tokens.index import ShardSize, TokenIndex, dtype_for
from jagpt.tokens.shards import ShardWriter
from jagpt.training.metrics import METRICS
from jagpt.training.trainer import Trainer

VOCAB = 64
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", "<cls>", "<sep>"]


class Heard(Progress):
    """Remembers what was said."""

    def __init__(self) -> None:
        super().__init__("quiet")
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(text)


def write_tokens(directory: Path, documents: dict[str, int], vocab_size: int = VOCAB) -> None:
    """Token shards with so many documents a split, of tokens that are partly predictable."""
    splits = {}
    for number, (split, count) in enumerate(documents.items()):
        generator = np.random.default_rng(number)
        name, tokens, characters = f"{split}-00000", 0, 0
        files.make_directory(directory)
        with (directory / f"{name}.bin").open("wb") as binary:
            writer = ShardWriter(binary, dtype_for(vocab_size))
            for document in range(count):
                steps = generator.integers(1, 4, size=int(generator.integers(20, 60)))
                ids = [*(len(SPECIAL) + np.cumsum(steps) % (vocab_size - len(SPECIAL))), 3]
                writer.add(f"{split}:{document}", "あ" * len(ids), ids)
                tokens, characters = tokens + len(ids), characters + len(ids)
        writer.finish(directory / f"{name}.idx")
        splits[split] = [ShardSize(name, count, tokens, characters, 3 * characters)]
    TokenIndex(dtype_for(vocab_size), vocab_size, 3, "tiny", splits).write(directory)


def write_tokenizer(directory: Path) -> None:
    """The folder of a finished tokenizer, which `AutoTokenizer` loads."""
    vocabulary = {piece: number for number, piece in enumerate(SPECIAL)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    ).save_pretrained(str(directory))
    made = Manifest("tokenizer", 1, "f" * 64, {}, {}, manifests.entries(directory))
    made.write(directory)


def make_recipe(**train: Any) -> Recipe:
    """Two layers, 12 steps, dropout on; keys of `[train]`, and dicts `model` and `execution`."""
    execution = {"tensorboard": False, "log_every": 1, "threads": 1, **train.pop("execution", {})}
    shape = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 16, "dropout": 0.1}
    shape |= train.pop("model", {})
    values = {
        "seed": 7,
        "batch_size": 2,
        "grad_accum_steps": 2,
        "max_steps": 12,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "clip_norm": 1.0,
        "precision": "fp32",
        "validate_every": 4,
        "checkpoint_every": 3,
        **train,
    }
    settings = [f"model.{key}={value}" for key, value in shape.items()]
    settings += [f"train.{key}={value}" for key, value in values.items() if value is not None]
    settings += [f"execution.{key}={str(value).lower()}" for key, value in execution.items()]
    settings = [text.replace("=True", "=true").replace("=False", "=false") for text in settings]
    text = 'name = "tiny"\n[[corpus.source]]\nname = "none"\nkind = "text"\npath = "none.txt"\n'
    return parse(text, overrides=settings)


def weighted(recipe: Recipe, weight: float) -> Recipe:
    """The recipe with a weight for the source of all documents in the train split."""
    sources = (recipe.corpus.source[0].model_copy(update={"name": "train", "weight": weight}),)
    corpus = recipe.corpus.model_copy(update={"source": sources})
    return recipe.model_copy(update={"corpus": corpus})


def contents(directory: Path) -> dict[str, str]:
    """SHA-256 of every file below `directory`."""
    return {name: files.sha256(directory / name) for name in manifests.list_files(directory)}


def train_section(**values: Any) -> Train:
    """A `[train]` of ten steps with the given keys."""
    return Train(**{"max_steps": 10, **values})


@contextmanager
def signalled_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int) -> Iterator[None]:
    """Send this process a signal when step `step` begins."""
    gradient = Trainer.gradient

    def signal_and_gradient(self: Trainer, state: Any, break_off: Any) -> Any:
        if state.step + 1 == step:
            os.kill(os.getpid(), number)
        return gradient(self, state, break_off)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "gradient", signal_and_gradient)
        yield


def logged_rows(run: RunDirectory) -> list[dict[str, Any]]:
    """The rows of the metrics' log, as they stand there."""
    return [json.loads(line) for line in (run.logs / METRICS).read_text("utf-8").splitlines()]
