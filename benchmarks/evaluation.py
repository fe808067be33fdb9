"""Evaluation speed: jagpt beside the original's test loop, on the same model and tokens.

    python benchmarks/evaluation.py [--model DIR --text FILE] [--blocks 16] [--rounds 3] [--quick]

The original's loop: batches of 2 blocks of 1,024 tokens in fp32, all logits at once, the mean loss
of the batches, and its exp. jagpt measures the same blocks in fp32 and in bf16. The sides take
turns in one process. Without --model it is a GPT-2 small with random weights on random tokens.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import (
    RATIO_COLUMNS,
    Ratio,
    alone,
    commands_block,
    environment,
    environment_line,
    paired,
    publish,
    python,
    table,
    tell,
)

from jagpt.errors import JagptError

if TYPE_CHECKING:
    import torch

    from jagpt.evaluation.texts import Encoded

VOCAB_SIZE = 32_000
SEED = 1000
WEIGHTS = 0.06
"""Standard deviation of the random weights: three times the usual, so that the model's guesses
differ from token to token and a wrong product would show."""
ORIGINAL_BATCH = 2
SAME_DIGITS = 5
MOST_BF16_ERROR = 0.001
SIDES = {
    "original": "the original's loop, fp32",
    "fp32": "jagpt, fp32",
    "bf16": "jagpt, bf16",
}

GOALS = {"bf16": "≥ 3", "fp32": "≥ 1.3"}
"""Times the original's speed; bf16 is left out where the machine only emulates it."""


@dataclass(frozen=True)
class Shape:
    """A random network and the blocks it reads."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int


SMALL = Shape(12, 12, 768, 1024)
TINY = Shape(4, 4, 128, 256)


@dataclass(frozen=True)
class Subject:
    """What is measured: a model, and tokens (blocks · T + 1) in whole batches of the original's."""

    name: str
    model: Any
    text: Encoded
    block_size: int
    device: torch.device

    @property
    def labels(self) -> int:
        return self.text.n_tokens - 1


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print Markdown or JSON."""
    options = _options(arguments)
    with alone():
        facts = environment("jagpt", "torch", "transformers")
        subject = _subject(options)
        seconds, perplexities = _measured(subject, options.rounds)
    ratios = [
        Ratio(f"speed of jagpt in {side} / of the original's loop",
              paired(seconds["original"], seconds[side]), goal)
        for side, goal in GOALS.items() if side in seconds
    ]  # fmt: skip
    if options.json:
        values = {"environment": facts, "model": subject.name, "labels": subject.labels}
        values |= {"seconds": seconds, "perplexities": perplexities}
        print(json.dumps({**values, "ratios": [ratio.as_json() for ratio in ratios]}, indent=1))
        return
    rows = [_row(subject, side, seconds[side], perplexities[side]) for side in seconds]
    blocks = [
        environment_line(facts),
        f"### {subject.name}: {subject.labels:,} tokens in blocks of {subject.block_size:,}, "
        f"{options.rounds} rounds in turns on {subject.device}",
        commands_block([_command(options)]),
        table(("", "tokens/s", "rounds", "perplexity"), rows),
        table(RATIO_COLUMNS, [ratio.row() for ratio in ratios]),
        _verdict(perplexities),
    ]
    publish("\n\n".join(blocks), "benchmarks/evaluation.py", options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--model", type=Path, help="a model folder (default: random weights)")
    add("--text", type=Path, help="with --model: the text to measure")
    add("--blocks", type=int, default=16, help="blocks of each measurement (default: 16)")
    add("--rounds", type=int, default=3, help="measurements of each side (default: 3)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--quick", action="store_true", help="a tiny network and short blocks, in seconds")
    add("--json", action="store_true", help="print every round as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/benchmarks.md too")
    options = parser.parse_args(arguments)
    if (options.model is None) != (options.text is None):
        parser.error("--model and --text go together")
    return options


def _command(options: argparse.Namespace) -> list[str | Path]:
    chosen: list[str | Path] = ["--model", options.model, "--text", options.text]
    return [
        python(), "benchmarks/evaluation.py", *(chosen if options.model else []),
        *(["--quick"] if options.quick else ["--blocks", str(options.blocks)]),
        "--rounds", str(options.rounds), "--device", options.device,
    ]  # fmt: skip


def _row(
    subject: Subject, side: str, seconds: Sequence[float], perplexity: float
) -> tuple[str, ...]:
    rates = [subject.labels / some for some in seconds]
    span = f"{min(rates):,.0f} to {max(rates):,.0f}"
    return (SIDES[side], f"{statistics.median(rates):,.0f}", span, f"{perplexity:.6g}")


def _verdict(perplexities: dict[str, float]) -> str:
    """How far the perplexities differ, and how far they may."""
    theirs = perplexities["original"]
    digits = (
        "the same" if _rounded(theirs) == _rounded(perplexities["fp32"]) else "**not the same**"
    )
    exact = f"Perplexity in fp32 and the original's: {digits} to {SAME_DIGITS} significant digits."
    if "bf16" not in perplexities:
        return f"{exact} bf16 is left out: this machine only emulates it."
    error = abs(perplexities["bf16"] / theirs - 1)
    bound = "within" if error <= MOST_BF16_ERROR else "**beyond**"
    return f"{exact} In bf16 it differs by {error:.3%}, {bound} the {MOST_BF16_ERROR:.1%} allowed."


def _rounded(value: float) -> str:
    return f"{value:.{SAME_DIGITS}g}"


# --- the subject ----------------------------------------------------------------------------------


def _subject(options: argparse.Namespace) -> Subject:
    from jagpt import devices

    device = devices.choose(options.device)
    if options.model is None:
        shape = TINY if options.quick else SMALL
        blocks = 8 if options.quick else options.blocks
        return _random_subject(shape, blocks + blocks % ORIGINAL_BATCH, device)
    return _given_subject(options, device)


def _random_subject(shape: Shape, blocks: int, device: torch.device) -> Subject:
    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(SEED)
    factory: Any = GPT2LMHeadModel
    model = factory(
        GPT2Config(
            vocab_size=VOCAB_SIZE,
            n_positions=shape.block_size,
            n_embd=shape.n_embd,
            n_layer=shape.n_layer,
            n_head=shape.n_head,
            initializer_range=WEIGHTS,
            bos_token_id=2,
            eos_token_id=3,
        )
    )
    count = blocks * shape.block_size + 1
    tokens = np.random.default_rng(SEED).integers(6, VOCAB_SIZE, count)
    name = f"{shape.n_layer} layers of width {shape.n_embd}, random weights"
    return Subject(name, model, _stream(tokens), shape.block_size, device)


def _given_subject(options: argparse.Namespace, device: torch.device) -> Subject:
    from jagpt import models
    from jagpt.evaluation import texts

    loaded = models.open(options.model)
    block_size = loaded.context or SMALL.block_size
    tokens = texts.encode(texts.read(options.text), loaded, end_token=True).tokens
    blocks = min(options.blocks, (len(tokens) - 1) // block_size)
    blocks -= blocks % ORIGINAL_BATCH
    if not blocks:
        raise RuntimeError(f"{options.text}: too short for two blocks of {block_size:,} tokens")
    stream = _stream(tokens[: blocks * block_size + 1])
    return Subject(options.model.name, loaded.network, stream, block_size, device)


def _stream(tokens: Any) -> Encoded:
    import numpy as np

    from jagpt.evaluation.texts import Encoded

    return Encoded(tokens.astype(np.uint32), np.array([0, len(tokens)], dtype=np.int64))


# --- the sides ------------------------------------------------------------------------------------


def _measured(subject: Subject, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Seconds of each round and the perplexity, by side; a round before them does not count."""
    from jagpt import devices

    sides = {"original": _original(subject), "fp32": _ours(subject, "fp32")}
    if devices.multiplies_bf16(subject.device):
        sides["bf16"] = _ours(subject, "bf16")
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    perplexities: dict[str, float] = {}
    for number in range(rounds + 1):
        for side, measure in sides.items():
            tell(f"{'warm-up' if number == 0 else f'round {number} of {rounds}'}: {SIDES[side]}")
            started = time.perf_counter()
            perplexities[side] = measure()
            if number:
                seconds[side].append(time.perf_counter() - started)
    return seconds, perplexities


def _original(subject: Subject) -> Callable[[], float]:
    """What the original's `test.py` does: the mean of the batches' mean losses, and its exp."""
    import copy

    import torch

    model = copy.deepcopy(subject.model).to(subject.device).eval()
    size, wide = subject.block_size, ORIGINAL_BATCH
    tokens = torch.from_numpy(subject.text.tokens.astype("int64"))
    inputs, labels = tokens[:-1].view(-1, wide, size), tokens[1:].view(-1, wide, size)

    def measure() -> float:
        losses = []
        with torch.no_grad():
            for some, wanted in zip(inputs, labels, strict=True):
                logits = model(input_ids=some.to(subject.device)).logits
                loss = torch.nn.functional.cross_entropy(
                    logits.view(-1, logits.size(-1)), wanted.to(subject.device).view(-1)
                )
                losses.append(loss.item())
        return math.exp(sum(losses) / len(losses))

    return measure


def _ours(subject: Subject, precision: str) -> Callable[[], float]:
    import copy

    import numpy as np

    from jagpt.evaluation.scoring import Scorer, document_nats
    from jagpt.evaluation.windows import Windows
    from jagpt.units import perplexity

    scorer = Scorer(copy.deepcopy(subject.model), subject.device, precision)
    windows = Windows(subject.block_size, subject.block_size)
    one = np.ones(1, dtype=np.int64)

    def measure() -> float:
        return perplexity(document_nats(scorer, subject.text, windows, (one, one)).loss)

    return measure


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, JagptError) as error:
        sys.exit(f"benchmarks/evaluation.py: {error}")
