"""What the checks compare with: PyTorch's answers, and SentencePiece's ids of many lines."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jagpt import models
from jagpt.formats import material
from jagpt.formats.source import ModelSource
from jagpt.runtimes.reference import Reference
from jagpt.tokenizer.awkward import AWKWARD, joins, needs_bytes, spells_special
from jagpt.tokenizer.encoder import Encoder

LINES = 10_000
SEED = 1000
GREEDY = 24


def write_model(model_dir: Path, tokens: Path, place: Path) -> None:
    """`material.npz` for a model folder and the test split of its tokens."""
    source = ModelSource.open(model_dir)
    tokenizer = models.load_tokenizer(model_dir)
    text = material.of_split(tokens, "test", tokenizer, source.n_positions)
    reference = Reference(source.network)
    whole = [window for window in text.windows if len(window) == len(text.windows[0])]
    greedy, preferred = [], []
    short = [list(map(int, prompt)) for prompt in text.prompts[:6]]
    answers = [reference.greedy(prompt, GREEDY) for prompt in short]
    (place / "prompts.json").write_text(json.dumps({"prompts": short, "greedy": answers}), "utf-8")
    for prompt in text.prompts:
        found = reference.greedy(prompt, text.greedy_tokens)
        rows = range(len(prompt) - 1, len(prompt) + len(found) - 1)
        best = np.sort(reference.logits([*prompt, *found], list(rows)), axis=-1)
        greedy.append(found)
        preferred.append(best[:, -1] - best[:, -2])
    np.savez(
        place / "material.npz",
        windows=np.array(whole, dtype=np.int64),
        logits=np.stack([reference.all_logits(window) for window in whole]),
        prompts=np.array(text.prompts, dtype=np.int64),
        greedy=np.array(greedy, dtype=np.int64),
        preferred=np.array(preferred),
    )


def write_texts(tokenizer: Path, file: Path | None, place: Path) -> None:
    """`texts.json`: lines of `file`, or of the bundled sample's sentences, and awkward ones."""
    encoder = Encoder.open(tokenizer)
    texts = [*(_lines(file) if file else _sample_lines()), *AWKWARD]
    rows = [{"text": text, "ids": encoder.encode(text)} for text in texts]
    (place / "texts.json").write_text(json.dumps(rows, ensure_ascii=False), "utf-8")
    awkward = [
        {
            **row,
            "bytes": needs_bytes(encoder, text),
            "special": spells_special(text),
            "joins": joins(text),
        }
        for text, row in zip(AWKWARD, rows[-len(AWKWARD) :], strict=True)
    ]
    (place / "awkward.json").write_text(json.dumps(awkward, ensure_ascii=False), "utf-8")


def _lines(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as opened:
        found = (line.rstrip("\n") for line in opened)
        return [line for _, line in zip(range(LINES), filter(None, found), strict=False)]


def _sample_lines() -> Iterator[str]:
    """One to four sentences of the sample's pages a line, in a fixed random order."""
    pages = "\n".join(material.sample_texts())
    sentences = [part for part in re.split(r"(?<=。)|\n", pages) if part.strip()]
    drawn = random.Random(SEED)
    for _ in range(LINES):
        yield "".join(drawn.choices(sentences, k=drawn.randint(1, 4)))
