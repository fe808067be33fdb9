"""The exhaustive loops: every operation of every command, every fault (`make faults`)."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

# before numpy and torch are imported: the nursery must not have threads
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "src")]

from faults import attempts, planted, projects, writing  # noqa: E402
from faults.attempts import AT_THE_GATE, KILL, RANDOM_KILL, Fault, Result, Unbroken  # noqa: E402
from jagpt.rundir import STAGE_DIRECTORIES  # noqa: E402

FAULTS = (*AT_THE_GATE, writing.LONG_FILE, writing.SMALL_DISK, planted.LINK, planted.PIPE)
SUPERSEDED = "superseded"
Plan = list[tuple[Unbroken, Fault, int]]


def numbers(whole: Unbroken, fault: Fault, every: Sequence[str] | None) -> Sequence[int]:
    """What to try of a fault: all where `every` is not given.

    Else SIGKILL comes at all operations in the folder that a stage of `every` writes (in
    `superseded/` for what is made anew), and at the first, a middle and the last operation of the
    other stages. The middle one must do for what else goes wrong, and for commands that are no
    stage. The last of `every` has links everywhere.
    """
    name = whole.command.name
    if whole.command.reads and not isinstance(fault, planted.Planted):
        return []
    numbers = fault.numbers(whole)
    if every is None or (fault is planted.LINK and name in every[-1:]):
        return numbers
    middle = numbers[(len(numbers) - 1) // 2 :][:1]
    if name not in STAGE_DIRECTORIES and fault in AT_THE_GATE[1:]:
        return []
    if fault is not KILL or name not in {*STAGE_DIRECTORIES, *every}:
        return middle
    few = {numbers[0], *middle, numbers[-1]}
    if name not in every:
        return sorted(few)
    folder = f"{whole.end / 'run' / STAGE_DIRECTORIES.get(name, SUPERSEDED)}"
    inside = {n for n, (_, path) in enumerate(whole.operations, 1) if path.startswith(folder)}
    return sorted(inside | few)


def main() -> int:
    options = _options()
    scratch = Path(tempfile.mkdtemp(prefix="jagpt-faults-", dir=options.scratch))
    started = time.monotonic()
    attempts.prepare_nursery()
    projects.small_pieces()
    wholes = _wholes(options, scratch)
    plan = _plan(options, wholes)
    results = []
    for result in attempts.attempts(plan, scratch, options.jobs):
        results.append(result)
        if result.problem is not None:
            print(f"{result.command}, {result.fault} at {result.number} ({result.operation}): "
                  f"{result.problem}", file=sys.stderr, flush=True)  # fmt: skip
    disorder = [f"{w.command.name}: {problem}" for w in wholes for problem in w.disorder]
    for problem in disorder:
        print(problem, file=sys.stderr)
    failed = [*disorder, *(result for result in results if result.problem is not None)]
    if options.json:
        print(json.dumps(_as_json(wholes, results), indent=2))
    else:
        _show(wholes, results, time.monotonic() - started)
    if not failed or not options.keep:
        shutil.rmtree(scratch)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", nargs="*", help="only these; all if not given")
    parser.add_argument("--faults", nargs="*", help="only these; all if not given")
    parser.add_argument("--every", nargs="*", default=None, metavar="COMMAND",
                        help="SIGKILL at all operations in the stages' folders of these, first, "
                        "middle and last elsewhere; all of all if not given")  # fmt: skip
    parser.add_argument("--random", type=int, default=0, metavar="N", help="kills at random times")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--scratch", type=Path, help="where to work; the system's place if not given"
    )
    parser.add_argument("--keep", action="store_true", help="keep what an attempt left that failed")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def _wholes(options: argparse.Namespace, scratch: Path) -> list[Unbroken]:
    project = projects.make_project(scratch / "project")
    projects.fill_caches(project)
    (scratch / "ends").mkdir()
    chosen = projects.commands(
        project, scratch, lambda name: not options.commands or name in options.commands
    )
    return [attempts.unbroken(command, scratch) for command in chosen]


def _plan(options: argparse.Namespace, wholes: Sequence[Unbroken]) -> Plan:
    plan: Plan = []
    for whole in wholes:
        for fault in FAULTS:
            if options.faults and fault.name not in options.faults:
                continue
            plan += [(whole, fault, n) for n in numbers(whole, fault, options.every)]
        if not whole.command.reads:
            plan += [(whole, RANDOM_KILL, n) for n in range(1, options.random + 1)]
    return plan


def _as_json(wholes: Sequence[Unbroken], results: Sequence[Result]) -> dict[str, object]:
    return {
        "commands": [
            {"name": w.command.name, "operations": len(w.operations), "disorder": w.disorder}
            for w in wholes
        ],
        "results": [vars(result) for result in results],
    }


def _show(wholes: Sequence[Unbroken], results: Sequence[Result], seconds: float) -> None:
    """Commands down, faults across: survived of tried."""
    names = [f.name for f in (*FAULTS, RANDOM_KILL) if any(r.fault == f.name for r in results)]
    tried = Counter((r.command, r.fault) for r in results)
    survived = Counter((r.command, r.fault) for r in results if r.problem is None)
    widths = {name: max(len(name), len("00 of 00")) + 2 for name in names}
    header = "".join(f"{name:>{width}}" for name, width in widths.items())
    print(f"{'command':<17} {'operations':>10}{header}")
    for whole in wholes:
        name = whole.command.name
        cells = (
            f"{survived[name, fault]} of {count}" if (count := tried[name, fault]) else ""
            for fault in names
        )
        row = "".join(f"{c:>{width}}" for c, width in zip(cells, widths.values(), strict=True))
        print(f"{name:<17} {len(whole.operations):>10}{row}".rstrip())
    total = sum(result.problem is None for result in results)
    print(f"survived {total:,} of {len(results):,} faults in {seconds:,.0f} s")


if __name__ == "__main__":
    sys.exit(main())
