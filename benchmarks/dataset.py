"""The training data as the loop asks for it: tokens per second, and the first batch at any step.

    python benchmarks/dataset.py [--tokens 3_000_000_000]

A synthetic split of so many tokens in documents of random length is laid out as sparse files: its
indexes are real, its tokens take no space. Each order starts in a fresh process at several steps;
imports are left out of the clock, opening the split and shuffling its documents are not.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    CACHE,
    MEGABYTE,
    ROOT,
    alone,
    commands_block,
    environment,
    environment_line,
    publish,
    python,
    table,
    tell,
)

from jagpt.tokens.dataset import TokenSplit, TrainingOrder
from jagpt.tokens.index import FORMAT_VERSION, ShardSize, TokenIndex, dtype_for
from jagpt.tokens.shards import CHUNK

BLOCK_SIZE = 1024
SEQUENCES = 32
"""A step: the original's batch of 2 × 16 blocks of 1,024 tokens."""
VOCAB_SIZE = 32_000
MEAN_DOCUMENT = 700
SHARD_TOKENS = 20_000_000
SEED = 1000
SPLIT = CACHE / "synthetic-split"
SPEED_GOAL, FIRST_GOAL = 5e6, 1.0
EPOCHS = (0.0, 0.5, 0.999, 7.3)
"""Where processes start, in epochs; 0.999 is at the end of one, so that two orders are needed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print Markdown or JSON."""
    options = _options(arguments)
    if options.start is not None:
        print(json.dumps(_start(options.start, options.seconds)))
        return
    with alone():
        facts = environment("jagpt", "numpy")
        write_split(ROOT / SPLIT, options.tokens)
        try:
            starts = [_started(epochs, options.seconds) for epochs in EPOCHS]
        finally:
            shutil.rmtree(ROOT / SPLIT)
    if options.json:
        print(json.dumps({"environment": facts, "tokens": options.tokens, "starts": starts}))
        return
    blocks = [environment_line(facts), _markdown(options, starts)]
    publish("\n\n".join(blocks), "benchmarks/dataset.py", options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--tokens", type=int, default=3_000_000_000, help="tokens to lay out (default: 3 billion)")
    add("--seconds", type=float, default=5.0, help="so long each process reads on (default: 5)")
    add("--quick", action="store_true", help="2 M tokens: whether it works, no figures")
    add("--json", action="store_true", help="print every start as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/benchmarks.md too")
    add("--start", type=float, help=argparse.SUPPRESS)  # what a process of this benchmark runs
    options = parser.parse_args(arguments)
    if options.quick:
        options.tokens, options.seconds = 2_000_000, 0.2
    return options


def _markdown(options: argparse.Namespace, starts: Sequence[dict[str, Any]]) -> str:
    documents = starts[0]["documents"]
    command: list[str | Path] = [python(), "benchmarks/dataset.py"]
    command += ["--tokens", str(options.tokens)]
    speed = statistics.median(start["speed"] for start in starts)
    slowest = max(start["first"] for start in starts)
    rows = [
        (
            f"{start['step']:,}", f"{start['epochs']:g}", f"{start['first']:.2f} s",
            f"{start['speed'] / 1e6:.1f} M", f"{start['peak'] / MEGABYTE:.0f} MB",
        )
        for start in starts
    ]  # fmt: skip
    wanted = f"≥ {SPEED_GOAL / 1e6:.0f} M"
    goals = [
        ("tokens/s from one process, median", f"{speed / 1e6:.1f} M", wanted),
        ("first batch, slowest", f"{slowest:.2f} s", f"≤ {FIRST_GOAL:g} s"),
    ]
    return "\n\n".join(
        [
            f"### {options.tokens:,} tokens in {documents:,} documents, `order = \"documents\"`",
            commands_block([command]),
            table(("start at step", "epochs behind", "first batch", "tokens/s", "memory"), rows),
            table(("", "found", "goal"), goals),
        ]
    )  # fmt: skip


# --- the split ------------------------------------------------------------------------------------


def write_split(directory: Path, n_tokens: int) -> None:
    """A train split of `n_tokens` zeros in documents of random length, in shards of 20 M tokens."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    tell(f"laying out {n_tokens:,} tokens")
    random = np.random.default_rng(SEED)
    sizes = []
    for number, first in enumerate(range(0, n_tokens, SHARD_TOKENS)):
        size = min(SHARD_TOKENS, n_tokens - first)
        cuts = np.unique(random.integers(1, size, size // MEAN_DOCUMENT))
        starts = np.concatenate([[0], cuts, [size]])
        sizes.append(_write_shard(directory, f"train-{number:05d}", starts))
    index = TokenIndex(dtype_for(VOCAB_SIZE), VOCAB_SIZE, 3, "synthetic", {"train": sizes})
    index.write(directory)


def _write_shard(directory: Path, name: str, starts: Any) -> ShardSize:
    """The two files as `jagpt.tokens.shards` describes them; documents have no ids."""
    itemsize = np.dtype(dtype_for(VOCAB_SIZE)).itemsize
    documents, n_tokens = len(starts) - 1, int(starts[-1])
    chunks = -(-n_tokens * itemsize // CHUNK)
    with (directory / f"{name}.bin").open("wb") as binary:
        binary.truncate(n_tokens * itemsize)
    with (directory / f"{name}.idx").open("wb") as index:
        index.write(b"jagptidx")
        np.array([FORMAT_VERSION, itemsize], "<u4").tofile(index)
        np.array([documents, n_tokens, chunks, 0], "<u8").tofile(index)
        starts.astype("<i8").tofile(index)
        np.zeros(3 * documents + 1, "<i8").tofile(index)  # characters, bytes, starts of ids
        np.zeros(chunks, "<u4").tofile(index)
    return ShardSize(name, documents, n_tokens, 0, 0)


# --- what a process runs --------------------------------------------------------------------------


def _started(epochs: float, seconds: float) -> dict[str, Any]:
    tell(f"starting after {epochs:g} epochs")
    command = [sys.executable, __file__, "--start", str(epochs), "--seconds", str(seconds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _start(epochs: float, seconds: float) -> dict[str, Any]:
    """Open the split, take a first batch, then read on for so many seconds."""
    started = time.perf_counter()
    split = TokenSplit.open(ROOT / SPLIT, "train")
    order = TrainingOrder(
        split, block_size=BLOCK_SIZE, order="documents", seed=SEED, shuffle_buffer=1
    )
    step = int(epochs * order.sequences_per_epoch / SEQUENCES)
    order.sequences(step * SEQUENCES, SEQUENCES)
    first = time.perf_counter() - started
    read = list(_reading(order, step + 1, seconds))
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "documents": split.n_documents,
        "step": step,
        "epochs": epochs,
        "first": first,
        "speed": len(read) * SEQUENCES * BLOCK_SIZE / sum(read),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


def _reading(order: TrainingOrder, step: int, seconds: float) -> Iterator[float]:
    """Seconds of each batch from `step` on."""
    end = time.perf_counter() + seconds
    while (started := time.perf_counter()) < end:
        order.sequences(step * SEQUENCES, SEQUENCES)
        yield time.perf_counter() - started
        step += 1


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"benchmarks/dataset.py: {error}")
