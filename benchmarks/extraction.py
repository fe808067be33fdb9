"""Text extraction: jagpt beside WikiExtractor 3.1.0 and beside decoding bzip2 alone.

    python benchmarks/extraction.py [--dump FILE.xml.bz2] [--size-mb 300] [--rounds 3]

The pages of a dump are repeated, with new ids and titles, to the size asked for. Then, in turns:
CPU time of the whole process tree with one worker each, two workers against one, and peak memory
of a dump and of one 8 times as large. Nothing is filtered out of either side's pages. The
files that this makes are kept below `.venv/bench`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import (
    CACHE,
    MEGABYTE,
    RATIO_COLUMNS,
    ROOT,
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
from repeated_dump import BenchDump, make_dump

from jagpt import sample

WIKIEXTRACTOR = "3.1.0"
OUTPUTS = CACHE / "outputs"
NO_TEMPLATES = "--no-templates"
GROWTH = 8
"""How much larger the dump is at the second look at memory."""
DECODE = "import bz2, sys; f = bz2.open(sys.argv[1]); all(iter(lambda: f.read(1 << 20), bytes()))"

Command = list[str | Path]


@dataclass(frozen=True)
class Side:
    """One of the programs that are compared: its name, and its command for a dump."""

    name: str
    command: Command
    output: Path | None = None


@dataclass(frozen=True)
class Result:
    """A part of the benchmark, ready to be printed."""

    title: str
    commands: list[Command]
    columns: Sequence[str]
    rows: list[tuple[str, ...]]
    ratios: list[Ratio]
    costs: dict[str, list[Cost]]

    def markdown(self) -> str:
        blocks = [f"### {self.title}", commands_block(self.commands)]
        blocks.append(table(self.columns, self.rows))
        if self.ratios:
            blocks.append(table(RATIO_COLUMNS, [ratio.row() for ratio in self.ratios]))
        return "\n\n".join(blocks)

    def as_json(self) -> dict[str, Any]:
        costs = {name: [asdict(cost) for cost in some] for name, some in self.costs.items()}
        return {
            "title": self.title,
            "commands": [[str(part) for part in command] for command in self.commands],
            "costs": costs,
            "ratios": [ratio.as_json() for ratio in self.ratios],
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print Markdown or JSON."""
    options = _options(arguments)
    with alone():
        facts = environment("jagpt", "pyarrow")
        results = _results(options)
    if options.json:
        parts = [result.as_json() for result in results]
        print(json.dumps({"environment": facts, "results": parts}, ensure_ascii=False, indent=1))
        return
    blocks = [environment_line(facts), *(result.markdown() for result in results)]
    publish("\n\n".join(blocks), "benchmarks/extraction.py", options.update)


def _results(options: argparse.Namespace) -> list[Result]:
    source = options.dump or sample.path()
    dump = make_dump(source, options.size_mb)
    interpreter = None if options.without_wikiextractor else _wikiextractor()
    (ROOT / OUTPUTS).mkdir(exist_ok=True)
    results = [compare(dump, interpreter, options.rounds), scale(dump, options.rounds)]
    if not options.without_memory:
        sizes = (options.memory_mb, options.memory_mb * GROWTH)
        results.append(memory(*(make_dump(source, size) for size in sizes)))
    shutil.rmtree(ROOT / OUTPUTS)
    return results


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--dump", type=Path, help="a .xml.bz2 to repeat (default: the bundled sample, which says "
        "little about a real wiki: its short pages repeat within one block of bzip2)")  # fmt: skip
    add("--size-mb", type=int, default=300, help="MB of XML to repeat it to (default: 300)")
    add("--rounds", type=int, default=3, help="measurements of each side (default: 3)")
    add("--memory-mb", type=int, default=75, help="MB of the smaller dump whose memory is watched; "
        "the larger one has 8 times that (default: 75)")  # fmt: skip
    add("--without-memory", action="store_true", help="do not watch memory")
    add("--without-wikiextractor", action="store_true", help="do not install and run it")
    add("--json", action="store_true", help="print every round as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/benchmarks.md too")
    return parser.parse_args(arguments)


# --- the sides ------------------------------------------------------------------------------------


def _jagpt(dump: Path, workers: int) -> Side:
    output = OUTPUTS / f"jagpt-{workers}"
    command: Command = [python(), "-m", "jagpt", "extract", dump, "--output", output]
    command += ["--format", "jsonl", "--workers", str(workers)]
    return Side(f"jagpt, {_workers(workers)}", command, output)


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count > 1 else ''}"


def _wikiextractor_sides(dump: Path, interpreter: Path) -> list[Side]:
    """As one runs it, and without its pass over the dump for template definitions."""
    output = OUTPUTS / "wikiextractor"
    command: Command = [interpreter, "-m", "wikiextractor.WikiExtractor", dump, "--output", output]
    command += ["--json", "--processes", "1", "--quiet"]
    return [
        Side(name, [*command, *more], output)
        for name, more in (("WikiExtractor", []), ("WikiExtractor, no templates", [NO_TEMPLATES]))
    ]


def _decoding(dump: Path) -> Side:
    return Side("decoding bzip2 alone", [python(), "-c", DECODE, dump])


def _wikiextractor() -> Path:
    """The interpreter of a side environment with WikiExtractor, made at the first call."""
    folder = CACHE / f"wikiextractor-{WIKIEXTRACTOR}"
    interpreter = folder / "bin" / "python"
    done = ROOT / folder / "installed"
    if not done.exists():
        tell(f"installing WikiExtractor {WIKIEXTRACTOR} into {folder}")
        venv.create(ROOT / folder, clear=True, with_pip=True)
        run([interpreter, "-m", "pip", "install", f"wikiextractor=={WIKIEXTRACTOR}"])
        done.touch()
    return interpreter


# --- the measurements -----------------------------------------------------------------------------


def compare(dump: BenchDump, interpreter: Path | None, rounds: int) -> Result:
    """CPU time with one worker each."""
    decoding, ours = _decoding(dump.plain), _jagpt(dump.plain, 1)
    theirs = _wikiextractor_sides(dump.plain, interpreter) if interpreter else []
    sides = [decoding, ours, *theirs]
    costs = _in_turns(sides, rounds)
    cpu = {name: [cost.cpu for cost in some] for name, some in costs.items()}
    goals = [(decoding, "≤ 2.6"), *zip(theirs, ("≤ 0.4", ""), strict=False)]
    ratios = [
        Ratio(f"CPU of jagpt / of {side.name}", paired(cpu[ours.name], cpu[side.name]), goal)
        for side, goal in goals
    ]
    return Result(
        title=f"One worker, {dump.megabytes:.0f} MB of XML, {rounds} rounds in turns",
        commands=[side.command for side in sides],
        columns=("", "CPU s", "wall s", "MB of XML / CPU s", "documents", "MB of text"),
        rows=[_compared(side, costs[side.name], dump) for side in sides],
        ratios=ratios,
        costs=costs,
    )


def _compared(side: Side, costs: Sequence[Cost], dump: BenchDump) -> tuple[str, ...]:
    cpu, wall = _medians(costs)
    count, size = _texts(side.output)
    texts = (f"{count:,}", f"{size / MEGABYTE:.1f}") if count else ("", "")
    return (side.name, f"{cpu:.1f}", f"{wall:.1f}", f"{dump.megabytes / cpu:.1f}", *texts)


def scale(dump: BenchDump, rounds: int) -> Result:
    """Two workers against one, on the multistream form."""
    sides = [_jagpt(dump.multistream, workers) for workers in (1, 2)]
    costs = _in_turns(sides, rounds)
    digests = {_digest(side.output) for side in sides}
    if len(digests) > 1:
        raise RuntimeError("two workers wrote other documents than one")
    one, two = ([cost.wall for cost in costs[side.name]] for side in sides)
    rows: list[tuple[str, ...]] = []
    for side in sides:
        cpu, wall = _medians(costs[side.name])
        speed = dump.megabytes / wall
        rows.append((side.name, f"{cpu:.1f}", f"{wall:.1f}", f"{speed:.1f}"))
    return Result(
        title=f"Two workers, {dump.megabytes:.0f} MB of XML in the multistream form",
        commands=[side.command for side in sides],
        columns=("", "CPU s", "wall s", "MB of XML / s"),
        rows=rows,
        ratios=[Ratio("speed of two workers / of one", paired(one, two), "≥ 1.8")],
        costs=costs,
    )


def memory(small: BenchDump, large: BenchDump) -> Result:
    """Peak memory of the process tree at both sizes."""
    commands: list[Command] = []
    rows: list[tuple[str, ...]] = []
    ratios: list[Ratio] = []
    costs: dict[str, list[Cost]] = {}
    for form, workers in (("plain", 1), ("multistream", 2)):
        peaks = []
        for dump in (small, large):
            side = _jagpt(getattr(dump, form), workers)
            cost = _measured(side, memory=True)
            commands.append(side.command)
            peaks.append(cost.peak or 0)
            costs[f"{side.name}, {form}, {dump.megabytes:.0f} MB"] = [cost]
        shown = [f"{peak / MEGABYTE:.0f} MB" for peak in peaks]
        rows.append((f"{_workers(workers)}, {form} form", *shown))
        what = f"peak at {large.megabytes:.0f} MB / at {small.megabytes:.0f} MB, {rows[-1][0]}"
        ratios.append(Ratio(what, (peaks[1] / peaks[0],), "0.90 to 1.10"))
    return Result(
        title="Peak memory of the process tree",
        commands=commands,
        columns=("", *(f"{dump.megabytes:.0f} MB of XML" for dump in (small, large))),
        rows=rows,
        ratios=ratios,
        costs=costs,
    )


def _in_turns(sides: Sequence[Side], rounds: int) -> dict[str, list[Cost]]:
    """Every side once a round, so that what else the machine does falls on all alike."""
    costs: dict[str, list[Cost]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in sides:
            tell(f"round {number + 1} of {rounds}: {side.name}")
            costs[side.name].append(_measured(side))
    return costs


def _measured(side: Side, *, memory: bool = False) -> Cost:
    if side.output:
        shutil.rmtree(ROOT / side.output, ignore_errors=True)
    return measure(side.command, memory=memory)


def _medians(costs: Sequence[Cost]) -> tuple[float, float]:
    cpu, wall = ([getattr(cost, name) for cost in costs] for name in ("cpu", "wall"))
    return statistics.median(cpu), statistics.median(wall)


# --- what came out --------------------------------------------------------------------------------


def _texts(output: Path | None) -> tuple[int, int]:
    """Documents that have text, and the bytes of it in UTF-8, in an output's JSON lines."""
    count = size = 0
    for path in _outputs(output):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"]
                count += bool(text)
                size += len(text.encode())
    return count, size


def _digest(output: Path | None) -> str:
    digest = hashlib.sha256()
    for path in _outputs(output):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _outputs(output: Path | None) -> list[Path]:
    """The files of documents: `NAME.jsonl` of ours, `AA/wiki_00` of WikiExtractor's."""
    if output is None:
        return []
    found = [*(ROOT / output).rglob("*.jsonl"), *(ROOT / output).rglob("wiki_*")]
    return sorted(path for path in found if path.is_file())


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, subprocess.SubprocessError) as error:
        sys.exit(f"benchmarks/extraction.py: {error}")
