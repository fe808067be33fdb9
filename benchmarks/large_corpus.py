"""A large dump through every stage: peak memory and time of each, at one size and at a larger one.

    python benchmarks/large_corpus.py --dump FILE.xml.bz2 [--sizes-mb 20 4000] [--workers 2]

The articles are made of a dump's sections in another order, so that no two are equal and none is
dropped. The network is tiny and takes a few steps: what is watched is what grows with the text.
Each stage is a command of its own (`jagpt run --until STAGE`), and its process tree is measured.
Needs some 2 bytes of disk for each byte of XML, below `.venv/bench`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from common import (
    CACHE,
    MEGABYTE,
    ROOT,
    CommandError,
    Cost,
    alone,
    environment,
    environment_line,
    measure,
    publish,
    python,
    table,
    tell,
)
from repeated_dump import make_shuffled

from jagpt.rundir import STAGE_DIRECTORIES

SCRIPT = "benchmarks/large_corpus.py"
RECIPE = """
name = "large"
[[corpus.source]]
name = "wiki"
kind = "dump"
path = "{dump}"
wiki = "jawiki"
date = "20260101"
licence = "cc-by-sa-4.0"
[tokenizer]
vocab_size = 8000
[model]
n_layer = 2
n_head = 2
n_embd = 64
n_positions = 256
[train]
batch_size = 8
grad_accum_steps = 1
max_steps = 50
learning_rate = 1e-3
warmup_steps = 10
validate_every = 50
validate_tokens = 100_000
checkpoint_every = 50
[release]
licence = "cc-by-sa-4.0"
[execution]
device = "cpu"
tensorboard = false
workers = {workers}
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    options = _options(arguments)
    with alone():
        facts = environment("jagpt", "pyarrow", "torch")
        dumps = [make_shuffled(options.dump.resolve(), size) for size in options.sizes_mb]
        rows = [_run(dump, options.workers) for dump in dumps]
    publish(_page(facts, dumps, rows, options.workers), SCRIPT, options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dump", type=Path, required=True, help="whose pages are repeated")
    parser.add_argument("--sizes-mb", type=int, nargs="+", default=[20, 4000])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--update", type=Path, help="a page that gets the tables")
    return parser.parse_args(arguments)


def _run(dump: Path, workers: int) -> dict[str, tuple[Cost, int]]:
    """Each stage's cost, and the bytes that it left."""
    place = ROOT / CACHE / "large"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    recipe = place / "large.toml"
    recipe.write_text(RECIPE.format(dump=dump, workers=workers), "utf-8")
    found: dict[str, tuple[Cost, int]] = {}
    for stage, folder in STAGE_DIRECTORIES.items():
        tell(f"{dump.name}: {stage}")
        command: list[str | Path] = [python(), "-m", "jagpt", "run", recipe]
        command += ["--run-dir", place / "run", "--until", stage]
        cost = measure(command, memory=True)
        found[stage] = (cost, _size(place / "run" / folder))
        tell(f"  {(cost.peak or 0) / MEGABYTE:,.0f} MB, {cost.cpu:,.0f} CPU s, {cost.wall:,.0f} s")
    shutil.rmtree(place)
    return found


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _page(
    facts: dict[str, str],
    dumps: Sequence[Path],
    rows: Sequence[dict[str, tuple[Cost, int]]],
    workers: int,
) -> str:
    columns = ["stage"]
    for dump in dumps:
        size = f"{dump.stat().st_size / MEGABYTE:,.0f} MB of XML"
        columns += [f"{size}: peak memory", "CPU s", "wall s", "left on disk"]
    cells = []
    for stage in STAGE_DIRECTORIES:
        row = [stage]
        for found in rows:
            cost, left = found[stage]
            row += [f"{(cost.peak or 0) / MEGABYTE:,.0f} MB", f"{cost.cpu:,.0f}"]
            row += [f"{cost.wall:,.0f}", f"{left / MEGABYTE:,.1f} MB"]
        cells.append(row)
    return f"{environment_line(facts)}\n\n{workers} workers.\n\n{table(columns, cells)}"


if __name__ == "__main__":
    try:
        main()
    except (CommandError, RuntimeError) as error:
        sys.exit(f"{SCRIPT}: {error}")
