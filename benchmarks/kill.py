"""kill -9 at random moments: the final weights are bitwise those of a run that was left alone.

    python benchmarks/kill.py [--kills 20] [--seed 0] [--steps 300]

A run of a small GPT-2 (dropout on, bf16, checkpoints and validations on the way) is killed with
SIGKILL after random times, started again each time, and at last left to end. Each start goes on by
itself. Then every file of its checkpoints is compared with that of a run that nobody touched.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jagpt import files, manifests
from jagpt.models.checkpoint_folder import standing
from jagpt.recipe import Recipe, parse
from jagpt.rundir import RunDirectory
from jagpt.tokens.index import ShardSize, TokenIndex, dtype_for
from jagpt.tokens.shards import ShardWriter

VOCAB_SIZE = 512
RECIPE = """
name = "kill"
[[corpus.source]]
name = "none"
kind = "text"
path = "none.txt"
[model]
n_layer = 2
n_head = 2
n_embd = 64
n_positions = 64
[train]
batch_size = 2
grad_accum_steps = 2
learning_rate = 1e-3
warmup_steps = 10
max_steps = 300
validate_every = 15
checkpoint_every = 10
precision = "fp32"
[execution]
tensorboard = false
sample_prompts = []
threads = 1
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, compare, and print a table; leaves with 1 where a byte differs."""
    options = _options(arguments)
    recipe = parse(RECIPE, overrides=[f"train.max_steps={options.steps}"])
    with tempfile.TemporaryDirectory(prefix="jagpt-kill-") as folder:
        inputs = inputs_of(Path(folder))
        whole, broken = (RunDirectory(Path(folder) / name, inputs) for name in ("whole", "broken"))
        seconds = seconds_of(start(recipe, whole))
        moments = _killed(recipe, broken, options.kills, seconds, random.Random(options.seed))
        seconds_of(start(recipe, broken))
        sums = [sums_of(run.own("train")) for run in (whole, broken)]
    same = sums[0] == sums[1]
    print("| kill | seconds after the start | last checkpoint then |")
    print("| ---: | ---: | ---: |")
    for number, (after, step) in enumerate(moments, 1):
        print(f"| {number} | {after:.2f} | {step} |")
    print(
        f"\n{len(moments)} kills over {options.steps} steps ({seconds:.1f} s if uninterrupted): "
        f"{len(sums[0])} files {'bitwise equal' if same else 'DIFFER'}; "
        f"final weights {sums[1].get(_final(sums[1]), 'missing')[:16]}…"
    )
    if not same:
        sys.exit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="how often (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--steps", type=int, default=300, help="of the whole run (default: 300)")
    return parser.parse_args(arguments)


def _killed(
    recipe: Recipe, run: RunDirectory, kills: int, seconds: float, draw: random.Random
) -> list[tuple[float, int]]:
    """Start and kill; the moments, and which checkpoint stood then.

    A moment is drawn so that the run comes some steps further each time and never to its end.
    """
    moments: list[tuple[float, int]] = []
    while len(moments) < kills:
        process = start(recipe, run)
        after = draw.uniform(0.0, 1.5 * seconds / kills) + 0.2
        process.join(after)
        if process.exitcode is None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            moments.append((after, max(standing(run.own("train")), default=0)))
        elif process.exitcode == 0:
            print(f"the run ended after {len(moments)} kills; take more --steps", file=sys.stderr)
            break
        else:
            sys.exit(f"a run failed with {process.exitcode}")
    return moments


def start(recipe: Recipe, run: RunDirectory) -> Any:
    """The train stage in a process of a fork server, which has imported what it needs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jagpt.training.session"])
    process = context.Process(target=_train, args=(recipe.to_toml(), run))
    process.start()
    return process


def _train(recipe: str, run: RunDirectory) -> None:
    from jagpt.progress import QUIET
    from jagpt.training import session

    with files.locked(run.root):
        session.run(parse(recipe), run, QUIET)


def seconds_of(process: Any) -> float:
    """Wait for a process's end."""
    started = time.perf_counter()
    process.join()
    if process.exitcode:
        sys.exit(f"a run failed with {process.exitcode}")
    return time.perf_counter() - started


def sums_of(directory: Path) -> dict[str, str]:
    return {name: files.sha256(directory / name) for name in manifests.list_files(directory)}


def _final(sums: dict[str, str]) -> str:
    return max((name for name in sums if name.endswith("/model.safetensors")), default="")


# --- what it trains on ----------------------------------------------------------------------------


def inputs_of(folder: Path) -> dict[str, Path]:
    """Token shards and a tokenizer without text."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    pieces = {f"<{number}>": number for number in range(VOCAB_SIZE)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(pieces, unk_token="<0>")),  # noqa: S106
        bos_token="<1>", eos_token="<2>", pad_token="<3>",  # noqa: S106
    )  # fmt: skip
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    splits = {name: [_shard(folder / "tokens", name)] for name in ("train", "valid", "test")}
    TokenIndex(dtype_for(VOCAB_SIZE), VOCAB_SIZE, 2, "kill", splits).write(folder / "tokens")
    return {"tokens": folder / "tokens", "tokenizer": folder / "tokenizer"}


def _shard(directory: Path, split: str) -> ShardSize:
    documents = 400 if split == "train" else 20
    generator, tokens = np.random.default_rng(documents), 0
    files.make_directory(directory)
    with (directory / f"{split}-00000.bin").open("wb") as binary:
        writer = ShardWriter(binary, dtype_for(VOCAB_SIZE))
        for number in range(documents):
            ids = np.cumsum(generator.integers(1, 9, size=100)) % VOCAB_SIZE
            writer.add(f"{split}:{number}", "あ" * 100, [int(token) for token in ids])
            tokens += len(ids)
    writer.finish(directory / f"{split}-00000.idx")
    return ShardSize(f"{split}-00000", documents, tokens, tokens, 3 * tokens)


if __name__ == "__main__":
    main()
