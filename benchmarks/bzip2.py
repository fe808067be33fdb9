"""Decoding a bzip2 stream: Python's bz2, jagpt's reader, and libraries that decode blocks at once.

    python benchmarks/bzip2.py FILE.bz2 [--rounds 3]

The libraries are installed into an environment of their own below `.venv/bench`. Each side reads
the file from beginning to end, in turns; MB are those of the decoded bytes.
"""

from __future__ import annotations

import argparse
import bz2
import statistics
import sys
import venv
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
    python,
    run,
    table,
    tell,
)

from jagpt import units

LIBRARIES = ("indexed_bzip2==1.7.0", "rapidgzip==0.16.2")
READ = "; all(iter(lambda: f.read(1 << 20), b''))"
SIDES = {
    "Python's bz2": f"import bz2, sys; f = bz2.open(sys.argv[1]){READ}",
    "jagpt's reader": "import sys; from pathlib import Path; from jagpt.compressed import Reader; "
    "sum(map(len, Reader(Path(sys.argv[1]))))",
    **{
        f"{library}, {units.counted(threads, 'thread')}": f"import {library}, sys; "
        f"f = {library}.IndexedBzip2File(sys.argv[1], parallelization={threads}){READ}"
        for library in ("indexed_bzip2", "rapidgzip")
        for threads in (1, 2)
    },
}
"""Programs that take the file; those of a library run in the side environment."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    with bz2.open(options.file) as file:
        size = sum(map(len, iter(lambda: file.read(1 << 20), b"")))
    costs: dict[str, list[Cost]] = {name: [] for name in SIDES}
    with alone():
        facts, libraries = environment("jagpt"), _libraries()
        for _ in range(options.rounds):
            for name, program in SIDES.items():
                tell(name)
                interpreter = python() if name in list(SIDES)[:2] else libraries
                command = [interpreter, "-c", program, options.file.resolve()]
                costs[name].append(measure(command, memory=True))
    print(f"{environment_line(facts)} {', '.join(LIBRARIES)}.\n")
    print(table(("", "CPU s", "wall s", "MB / CPU s", "peak memory"), _rows(costs, size)))


def _rows(costs: dict[str, list[Cost]], size: int) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, some in costs.items():
        cpu, wall = (statistics.median(values) for values in zip(*((c.cpu, c.wall) for c in some),
                                                                strict=True))  # fmt: skip
        peak = max(cost.peak or 0 for cost in some)
        rows.append((name, f"{cpu:.2f}", f"{wall:.2f}", f"{size / MEGABYTE / cpu:.1f}",
                     f"{peak / MEGABYTE:.0f} MB"))  # fmt: skip
    return rows


def _libraries() -> Path:
    """The interpreter of the side environment, made at the first call."""
    folder = CACHE / "bzip2"
    done = ROOT / folder / "installed"
    if not done.exists():
        venv.create(ROOT / folder, clear=True, with_pip=True)
        run([ROOT / folder / "bin" / "python", "-m", "pip", "install", *LIBRARIES])
        done.touch()
    return folder / "bin" / "python"


if __name__ == "__main__":
    try:
        main()
    except (CommandError, RuntimeError) as error:
        sys.exit(f"benchmarks/bzip2.py: {error}")
