"""Encoding: the tokens stage's encoder beside three others that one would take.

    python benchmarks/tokens.py [FILE] [--size-mb 100] [--rounds 3]

The documents of FILE (a dump, or text whose documents are parted by blank lines) are repeated to
the size asked for. Each side is a process that has them and the same SentencePiece model in memory
before the clock starts, and encodes all of them once a round, in turns. Then the tokens stage
itself makes shards of a corpus of that size and of one twice as large, and its memory is watched.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import shutil
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from common import (
    CACHE,
    MEGABYTE,
    RATIO_COLUMNS,
    ROOT,
    CommandError,
    Cost,
    Ratio,
    alone,
    commands_block,
    environment,
    environment_line,
    measure,
    paired,
    publish,
    python,
    run,
    table,
    tell,
)
from texts import (
    PIECES,
    SAMPLE_PIECES,
    SENTENCES,
    corpus_section,
    make_run,
    open_made,
    repeated,
    repeated_corpus,
    source_name,
)
from turns import Process, serve

from jagpt.progress import QUIET
from jagpt.rundir import RunDirectory
from jagpt.tokenizer import model as pieces
from jagpt.tokenizer.encoder import Encoder
from jagpt.tokenizer.folder import MODEL_FILE
from jagpt.tokens import encoding

DATASETS = "5.2.0"
PROCESSES = 2
WARM_UP = 200
"""Documents that each side encodes before it is ready."""
SIDES = {
    "ours": f"jagpt, {PROCESSES} processes",
    "shards": f"jagpt, {PROCESSES} processes, tokens made ready for the disk too",
    "bare": f"bare SentencePiece, {PROCESSES} C++ threads",
    "datasets": f"`datasets.map`, fast tokenizer, {PROCESSES} processes",
    "lines": "line by line, slow tokenizer (the original's way)",
}
GOALS = {"lines": "≥ 12", "datasets": "≥ 3.5", "bare": "≥ 0.85"}
OUTPUT = CACHE / "outputs" / "tokens"

Command = list[str | Path]
Turns = dict[str, list[dict[str, float]]]
"""Side → what each of its turns took, `seconds`, and how many tokens it made, `count`."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print Markdown or JSON."""
    options = _options(arguments)
    if options.serve:
        _SERVED[options.serve](options.run, options.size_mb * MEGABYTE)
        return
    if options.stage:
        _run_stage(options.run, options.stage)
        return
    with alone():
        facts = environment("jagpt", "sentencepiece", "transformers", "tokenizers")
        made = _made(options)
        speed, memory = _speed(options, made), _memory(options, made)
    if options.json:
        values = {"environment": facts, "speed": speed.as_json(), "memory": memory.as_json()}
        print(json.dumps(values, ensure_ascii=False, indent=1))
        return
    blocks = [environment_line({**facts, "datasets": DATASETS}), speed.markdown(options)]
    blocks.append(memory.markdown())
    publish("\n\n".join(blocks), "benchmarks/tokens.py", options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("file", nargs="?", type=Path, help="a dump, or text whose documents are parted by blank "
        "lines (default: the bundled sample, which gives a small vocabulary)")  # fmt: skip
    add("--size-mb", type=int, default=100, help="MB of text to repeat it to (default: 100)")
    add("--rounds", type=int, default=3, help="turns of each side (default: 3)")
    add("--vocab-size", type=int, help=f"pieces of the tokenizer (default: {PIECES:,}; "
        f"{SAMPLE_PIECES:,} on the sample)")  # fmt: skip
    add("--without-datasets", action="store_true", help="do not install and run it")
    add("--quick", action="store_true", help="2 MB and one round: whether it works, no figures")
    add("--json", action="store_true", help="print every round as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/benchmarks.md too")
    # what the processes of this benchmark run
    add("--serve", choices=[*_SERVED], help=argparse.SUPPRESS)
    add("--stage", type=Path, help=argparse.SUPPRESS)
    add("--run", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.quick:
        options.size_mb, options.rounds = 2, 1
    return options


def _made(options: argparse.Namespace) -> Path:
    """The run with the corpus and the tokenizer that all sides use."""
    vocab_size = options.vocab_size or (PIECES if options.file else SAMPLE_PIECES)
    name = f"tokens-{source_name(options.file)}-{vocab_size}"
    tokenizer = f"[tokenizer]\nvocab_size = {vocab_size}\nsentences = {SENTENCES}\n"
    recipe = f"{corpus_section(options.file)}{tokenizer}[train]\nmax_steps = 1\n"
    return make_run(name, recipe, "tokenizer")


# --- speed ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """Turns of each side in MB of text a second."""

    megabytes: float
    pieces: int
    turns: Turns

    def rates(self, side: str) -> list[float]:
        return [self.megabytes / turn["seconds"] for turn in self.turns[side]]

    def ratios(self) -> list[Ratio]:
        ours = self.rates("ours")
        return [
            Ratio(f"speed of jagpt / of {SIDES[side]}", paired(ours, self.rates(side)), goal)
            for side, goal in GOALS.items()
            if side in self.turns
        ]

    def markdown(self, options: argparse.Namespace) -> str:
        rows = []
        for side in self.turns:
            rates = self.rates(side)
            span = f"{min(rates):.1f} to {max(rates):.1f}"
            rows.append((SIDES[side], f"{statistics.median(rates):.1f}", span))
        title = f"{self.megabytes:.0f} MB of text, {self.pieces:,} pieces, {options.rounds} rounds"
        return "\n\n".join(
            [
                f"### {title} in turns",
                commands_block([_command(options)]),
                table(("", "MB/s", "rounds"), rows),
                table(RATIO_COLUMNS, [ratio.row() for ratio in self.ratios()]),
            ]
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "megabytes": self.megabytes,
            "pieces": self.pieces,
            "turns": self.turns,
            "ratios": [ratio.as_json() for ratio in self.ratios()],
        }


def _command(options: argparse.Namespace) -> Command:
    file = [options.file] if options.file else []
    sizes = ["--size-mb", str(options.size_mb), "--rounds", str(options.rounds)]
    return [python(), "benchmarks/tokens.py", *file, *sizes]


def _speed(options: argparse.Namespace, made: Path) -> Speed:
    _, found = open_made(made)
    texts = repeated(found.corpus, options.size_mb * MEGABYTE)
    megabytes = sum(len(text.encode()) for text in texts) / MEGABYTE
    breaks = sum(text.count("\n") for text in texts)
    del texts
    turns = _turns(options, made, found)
    _check_counts(turns, breaks)
    return Speed(megabytes, Encoder.open(found.tokenizer).vocab_size, turns)


def _turns(options: argparse.Namespace, made: Path, found: RunDirectory) -> Turns:
    n_bytes = options.size_mb * MEGABYTE
    command: Command = [sys.executable, __file__, "--run", made]
    command += ["--size-mb", str(options.size_mb), "--serve"]
    commands: dict[str, Command] = {side: [*command, side] for side in _SERVED}
    if not options.without_datasets:
        script = Path(__file__).with_name("datasets_map.py")
        arguments: Command = [found.corpus, found.tokenizer, str(n_bytes), str(PROCESSES)]
        commands["datasets"] = [_datasets(), script, *arguments]
    turns: Turns = {side: [] for side in SIDES if side in commands}
    sides: dict[str, Process] = {}
    try:
        for name in turns:  # one after the other, as each needs both cores to get ready
            sides[name] = Process(SIDES[name], [str(part) for part in commands[name]])
            sides[name].wait()
        for number in range(options.rounds):
            for name, side in sides.items():
                tell(f"round {number + 1} of {options.rounds}: {SIDES[name]}")
                turns[name].append(side.work())
    finally:
        for side in sides.values():
            side.end()
    return turns


def _check_counts(turns: Turns, breaks: int) -> None:
    """All sides must have made the same tokens; one that takes lines sees no line breaks."""
    counts = {name: {turn["count"] for turn in some} for name, some in turns.items()}
    counts["lines"] = {count + breaks for count in counts["lines"]}
    if len(set.union(*counts.values())) > 1:
        raise RuntimeError(f"the sides made different numbers of tokens: {counts}")


def _datasets() -> Path:
    """The interpreter of a side environment with `datasets`, made at the first call."""
    versions = {name: metadata.version(name) for name in ("transformers", "tokenizers", "numpy")}
    folder = CACHE / f"datasets-{DATASETS}-{'-'.join(versions.values())}"
    interpreter, done = ROOT / folder / "bin" / "python", ROOT / folder / "installed"
    if not done.exists():
        tell(f"installing datasets {DATASETS} into {folder}")
        venv.create(ROOT / folder, clear=True, with_pip=True)
        wanted = [f"{name}=={version}" for name, version in versions.items()]
        run([interpreter, "-m", "pip", "install", f"datasets=={DATASETS}", *wanted])
        done.touch()
    return interpreter


# --- what the sides run ---------------------------------------------------------------------------


def _serve_ours(made: Path, n_bytes: int, *, shards: bool = False) -> None:
    """Processes that have their share in memory, as a worker of the stage has its shard."""
    context = multiprocessing.get_context("spawn")
    pipes: list[Connection] = []
    for number in range(PROCESSES):
        here, there = context.Pipe()
        arguments = (there, made, n_bytes, number, shards)
        context.Process(target=_encode_share, args=arguments, daemon=True).start()
        there.close()
        here.recv()
        pipes.append(here)

    def work() -> list[int]:
        for pipe in pipes:
            pipe.send("go")
        return [pipe.recv() for pipe in pipes]

    serve(work, lambda counts: sum(counts))


def _encode_share(pipe: Connection, made: Path, n_bytes: int, number: int, shards: bool) -> None:
    """What a worker does with a shard but for reading it; with `shards`, but for the disk."""
    recipe, found = open_made(made)
    texts = repeated(found.corpus, n_bytes)[number::PROCESSES]
    encoder = Encoder.open(found.tokenizer)
    job = encoding.make_job(Path("unused"), recipe, found, encoder)
    encode = _make_shard if shards else _encode
    encode(texts[:WARM_UP], encoder, job)
    pipe.send("ready")
    with suppress(EOFError):  # the parent has left
        while pipe.recv():
            pipe.send(encode(texts, encoder, job))


def _encode(texts: list[str], encoder: Encoder, job: encoding.ShardJob) -> int:
    batches = encoding.batches(zip(map(str, count()), texts, strict=False))
    encoded = [encoding.encode_batch(encoder, batch, job) for batch in batches]
    return sum(len(ids) for batch in encoded for ids in batch)


def _make_shard(texts: list[str], encoder: Encoder, job: encoding.ShardJob) -> int:
    binary = io.BytesIO()
    encoding.write_documents(zip(map(str, count()), texts, strict=False), encoder, job, binary)
    n_tokens = binary.tell() // np.dtype(job.dtype).itemsize
    return n_tokens - len(texts)  # without the end tokens: no other side has them


def _serve_bare(made: Path, n_bytes: int) -> None:
    import sentencepiece

    _, found = open_made(made)
    texts = repeated(found.corpus, n_bytes)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(found.tokenizer / MODEL_FILE))

    def encode(some: list[str]) -> Any:
        return processor.encode(some, num_threads=PROCESSES, return_type="numpy")

    encode(texts[:WARM_UP])
    serve(lambda: encode(texts), lambda ids: sum(map(len, ids)))


def _serve_lines(made: Path, n_bytes: int) -> None:
    from transformers import BertGenerationTokenizer

    _, found = open_made(made)
    texts = repeated(found.corpus, n_bytes)
    lines = [line for text in texts for line in text.split("\n")]
    path = str(found.tokenizer / MODEL_FILE)
    tokenizer = BertGenerationTokenizer(path, sep_token=pieces.SEP)  # or it would add an id

    def encode(some: list[str]) -> list[list[int]]:
        return [tokenizer.encode(line) for line in some]

    encode(lines[:WARM_UP])
    serve(lambda: encode(lines), lambda ids: sum(map(len, ids)))


_SERVED: dict[str, Callable[[Path, int], None]] = {
    "ours": _serve_ours,
    "shards": partial(_serve_ours, shards=True),
    "bare": _serve_bare,
    "lines": _serve_lines,
}


# --- memory ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Memory:
    """What the tokens stage took for a corpus and for one twice as large: MB of text → cost."""

    costs: dict[int, Cost]

    def ratio(self) -> Ratio:
        small, large = self.costs
        peaks = [cost.peak or 0 for cost in self.costs.values()]
        what = f"peak at {large} MB / at {small} MB of text"
        return Ratio(what, (peaks[1] / peaks[0],), "0.90 to 1.10")

    def markdown(self) -> str:
        rows = [
            (f"{size} MB of text", f"{(cost.peak or 0) / MEGABYTE:.0f} MB", f"{cost.wall:.1f} s")
            for size, cost in self.costs.items()
        ]
        title = f"### The tokens stage, {PROCESSES} workers, from Parquet to shards on disk"
        columns = ("", "peak memory of the process tree", "wall time, start-up included")
        blocks = [title, table(columns, rows), table(RATIO_COLUMNS, [self.ratio().row()])]
        return "\n\n".join(blocks)

    def as_json(self) -> dict[str, Any]:
        costs = {size: {"wall": cost.wall, "peak": cost.peak} for size, cost in self.costs.items()}
        return {"costs": costs, "ratio": self.ratio().as_json()}


def _memory(options: argparse.Namespace, made: Path) -> Memory:
    _, found = open_made(made)
    costs = {}
    for size in (options.size_mb, 2 * options.size_mb):
        corpus = repeated_corpus(found.corpus, made.name, size * MEGABYTE)
        tell(f"tokens stage: {size} MB")
        shutil.rmtree(ROOT / OUTPUT, ignore_errors=True)
        command: Command = [python(), __file__, "--run", made, "--stage", corpus]
        costs[size] = measure(command, memory=True)
    shutil.rmtree(ROOT / OUTPUT)
    return Memory(costs)


def _run_stage(made: Path, corpus: Path) -> None:
    recipe, found = open_made(made)
    execution = recipe.execution.model_copy(update={"workers": PROCESSES})
    shared = {"corpus": corpus, "tokenizer": found.tokenizer}
    output = RunDirectory(ROOT / OUTPUT, shared)
    encoding.run(recipe.model_copy(update={"execution": execution}), output, QUIET)


if __name__ == "__main__":
    try:
        main()
    except (CommandError, RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"benchmarks/tokens.py: {error}")
