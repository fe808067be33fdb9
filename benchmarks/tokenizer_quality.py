"""The default tokenizer beside the original's settings, and a small model trained on each.

    python benchmarks/tokenizer_quality.py [FILE] [--vocab-sizes 32000 8000] [--steps 400]

All share one corpus (the documents of FILE, or of the bundled sample). Every model has the same
layers and sees the same text: the same number of steps, each of the same number of characters, so
that a denser tokenizer has fewer tokens per step. The runs are kept; what is done is not done
again.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common import (
    CommandError,
    alone,
    commands_block,
    environment,
    environment_line,
    publish,
    python,
    table,
)
from texts import SENTENCES, corpus_section, make_run, open_made, source_name

from jagpt.corpus.shards import iter_documents
from jagpt.errors import JagptError
from jagpt.progress import Progress
from jagpt.summary import collect
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokenizer.stats import measure
from jagpt.tokens.dataset import TokenSplit

VOCAB_SIZES = (32_000, 8_000)
SAMPLE_VOCAB_SIZES = (4_000, 3_000)
PRESETS = {
    "default": "",
    "original": """
normalization = "nmt_nfkc"
byte_fallback = false
keep_newlines = false
split_digits = false
""",
}
BLOCK_SIZE = 128
STEP_CHARACTERS = 4096
WARMUP_SHARE = 0.05


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is not trained yet, then print Markdown or JSON."""
    options = _options(arguments)
    with alone():
        facts = environment("jagpt", "torch", "sentencepiece")
        corpus = _make_corpus(options)
        results = [
            _result(options, corpus, preset, vocab_size)
            for vocab_size in options.vocab_sizes
            for preset in PRESETS
        ]
    if options.json:
        values = {"environment": facts, "results": [asdict(result) for result in results]}
        print(json.dumps(values, ensure_ascii=False, indent=1))
        return
    blocks = [environment_line(facts), commands_block([_command(options)]), _table(results)]
    publish("\n\n".join(blocks), "benchmarks/tokenizer_quality.py", options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("file", nargs="?", type=Path, help="a dump, or text whose documents are parted by blank "
        "lines (default: the bundled sample, which says little)")  # fmt: skip
    add("--vocab-sizes", nargs="+", type=int, metavar="N", help="pieces (default: 32000 8000; on "
        "the sample 4000 3000)")  # fmt: skip
    add("--steps", type=int, default=400, help=f"optimizer steps of {STEP_CHARACTERS:,} characters "
        "(default: 400)")  # fmt: skip
    add("--quick", action="store_true", help="two steps, one vocabulary: whether it works, no "
        "figures")  # fmt: skip
    add("--json", action="store_true", help="print the figures as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the table into docs/experiments.md too")
    options = parser.parse_args(arguments)
    options.vocab_sizes = options.vocab_sizes or (
        VOCAB_SIZES if options.file else SAMPLE_VOCAB_SIZES
    )
    if options.quick:
        options.vocab_sizes, options.steps = options.vocab_sizes[-1:], 2
    return options


def _command(options: argparse.Namespace) -> list[str | Path]:
    file = [options.file] if options.file else []
    sizes = ["--vocab-sizes", *map(str, options.vocab_sizes)]
    return [
        python(),
        "benchmarks/tokenizer_quality.py",
        *file,
        *sizes,
        "--steps",
        str(options.steps),
    ]


# --- the runs -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """A tokenizer and the model trained on it, measured on the test split.

    `lost` are characters that decoding does not give back; `bits` is of the tokens alone, a
    character, and `bits_with_lost` charges a blind guess for each lost one besides.
    """

    preset: str
    vocab_size: int
    characters_per_token: float
    unknown_share: float
    lost_share: float
    parameters: int
    step_tokens: int
    bits: float
    bits_with_lost: float


def _make_corpus(options: argparse.Namespace) -> Path:
    name = f"tokenizers-{source_name(options.file)}"
    settings = f"{corpus_section(options.file)}[train]\nmax_steps = 1\n"
    return make_run(name, settings, "corpus", Progress())


def _result(options: argparse.Namespace, corpus: Path, preset: str, vocab_size: int) -> Result:
    name = f"{corpus.name}-{preset}-{vocab_size}"
    made = make_run(name, _recipe(options, corpus, preset, vocab_size), "tokens", Progress())
    recipe, run = open_made(made)
    split = TokenSplit.open(run.tokens, "train")
    sequences = round(STEP_CHARACTERS / (split.n_characters / split.n_tokens) / BLOCK_SIZE)
    settings = _recipe(options, corpus, preset, vocab_size, max(1, sequences))
    made = make_run(name, settings, "export", Progress())
    recipe, run = open_made(made)
    found = collect(run)
    if found.evaluation is None or found.parameters is None:
        raise RuntimeError(f"{made}: not evaluated")
    texts = [document.text for document in iter_documents(run.corpus, "test")]
    encoder = Encoder.open(run.tokenizer)
    stats = measure(encoder, texts, "test")
    lost, guess = _lost(encoder, texts), math.log2(len(set("".join(texts))))
    bits = found.evaluation.bits_per_character
    return Result(
        preset=preset,
        vocab_size=vocab_size,
        characters_per_token=stats.characters_per_token,
        unknown_share=stats.unknown_share,
        lost_share=lost / stats.characters,
        parameters=found.parameters,
        step_tokens=recipe.tokens_per_step,
        bits=bits,
        bits_with_lost=bits + lost * guess / stats.characters,
    )


def _lost(encoder: Encoder, texts: Sequence[str]) -> int:
    """Characters of the texts that are not among those of the decoded ones."""
    lost: Counter[str] = Counter()
    for text in texts:
        lost += Counter(text) - Counter(encoder.decode(encoder.encode_array(text)))
    return lost.total()


def _recipe(
    options: argparse.Namespace, corpus: Path, preset: str, vocab_size: int, sequences: int = 1
) -> str:
    """The recipe: what differs is the tokenizer and, so that texts are equal, the batch."""
    steps = options.steps
    return f"""
[corpus]
from = "{corpus}"
[tokenizer]
vocab_size = {vocab_size}
sentences = {SENTENCES}
{PRESETS[preset]}
[model]
n_layer = 4
n_head = 4
n_embd = 128
n_positions = {BLOCK_SIZE}
dropout = 0.0
[train]
batch_size = {sequences}
grad_accum_steps = 1
max_steps = {steps}
learning_rate = 2e-3
beta2 = 0.95
schedule = "cosine"
warmup_steps = {round(WARMUP_SHARE * steps)}
clip_norm = 1.0
validate_every = {steps}
checkpoint_every = {steps}
validate_tokens = 20_000
[execution]
tensorboard = false
"""


# --- the table ------------------------------------------------------------------------------------

COLUMNS = (
    "tokenizer",
    "pieces",
    "characters per token",
    "unknown tokens",
    "characters lost",
    "weights",
    "tokens per step",
    "bits per character",
    "… with the lost ones",
)


def _table(results: Sequence[Result]) -> str:
    return table(COLUMNS, [_row(result) for result in results])


def _row(result: Result) -> tuple[str, ...]:
    return (
        result.preset,
        f"{result.vocab_size:,}",
        f"{result.characters_per_token:.3f}",
        f"{result.unknown_share:.2%}",
        f"{result.lost_share:.2%}",
        f"{result.parameters / 1e6:.1f} M",
        f"{result.step_tokens:,}",
        f"{result.bits:.3f}",
        f"{result.bits_with_lost:.3f}",
    )


if __name__ == "__main__":
    try:
        main()
    except (CommandError, JagptError, RuntimeError) as error:
        sys.exit(f"benchmarks/tokenizer_quality.py: {error}")
