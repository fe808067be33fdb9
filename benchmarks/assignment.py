"""Assignment (filters, duplicates, splits, shards): two workers against one, and memory at 8 times.

    python benchmarks/assignment.py --dump FILE.xml.bz2 [--size-mb 400] [--rounds 3]

Articles are made of a dump's paragraphs in another order, so that no two are equal, and left as
extraction leaves them. In turns they are filtered, split and written by one worker and by two,
with the default filters and with those that compare documents. The main process's CPU seconds are
what no number of workers shortens (Amdahl's law). Needs the extra `dedup`; what it makes is kept
below `.venv/bench`.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import (
    CACHE,
    MEGABYTE,
    RATIO_COLUMNS,
    ROOT,
    CommandError,
    Cost,
    Ratio,
    alone,
    environment,
    environment_line,
    measure,
    paired,
    publish,
    python,
    table,
    tell,
)

from jagpt import files, units
from jagpt.corpus import parts
from jagpt.corpus.assign import assign
from jagpt.corpus.convert import convert
from jagpt.corpus.documents import Article
from jagpt.corpus.filters import text_digest
from jagpt.corpus.near_duplicates import signature
from jagpt.corpus.parts import Counts, ExtractedFile, ExtractedSource, PartName
from jagpt.progress import QUIET
from jagpt.recipe import Corpus

SCRIPT = "benchmarks/assignment.py"
PART_CHARACTERS = 1_600_000
"""Text in a part, about as extraction leaves it."""
TIMES = 8
PLAIN: dict[str, Any] = {}
COMPARING = {"drop_overlap": 0.5, "drop_near_duplicates": 0.8}


@dataclass(frozen=True)
class Measured:
    """A command's cost, and the CPU seconds of its main process after imports."""

    cost: Cost
    main: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print; with `--assign`, be the process that is measured."""
    options = _options(arguments)
    if options.assign:
        _assign(options.assign, options.workers, json.loads(options.filters))
        return
    with alone():
        facts = environment("jagpt", "pyarrow", "rensa")
        small = _parts(options.dump.resolve(), options.size_mb, PLAIN)
        sections = [
            _speed("default filters", small, PLAIN, options.rounds),
            _speed(
                "overlaps and near duplicates too",
                _parts(options.dump.resolve(), options.size_mb, COMPARING),
                COMPARING,
                options.rounds,
            ),
            _memory(options.dump.resolve(), options.memory_mb),
        ]
    text = "\n\n".join([environment_line(facts), *sections])
    publish(text, SCRIPT, options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dump", type=Path, help="whose paragraphs are taken")
    parser.add_argument("--size-mb", type=int, default=400, help="of text")
    parser.add_argument("--memory-mb", type=int, default=100, help="the smaller of two sizes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--update", type=Path, help="a page that gets the tables")
    parser.add_argument("--assign", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--filters", default="{}", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not (options.dump or options.assign):
        parser.error("give --dump")
    return options


# --- what is assigned -----------------------------------------------------------------------------


def _parts(dump: Path, megabytes: int, filters: dict[str, Any]) -> Path:
    """A folder of parts with this many MB of text; made at the first call only."""
    place = ROOT / CACHE / "parts" / f"{megabytes}mb{'-signed' if filters else ''}"
    if not (place / parts.INDEX).exists():
        tell(f"making {megabytes} MB of text")
        files.remove(place)
        place.mkdir(parents=True)
        articles = _articles(_extracted(dump), megabytes * MEGABYTE, signed=bool(filters))
        count = 0
        for group in parts.groups(articles, None, PART_CHARACTERS):
            counts = Counts(pages=len(group), articles=len(group))
            parts.write_part(place, PartName(0, 0, count), str(count), group, counts)
            count += 1
        file = ExtractedFile("made", megabytes * MEGABYTE, "0" * 64, count)
        parts.write_index(place, [ExtractedSource("jawiki", (file,))])
    return place


def _extracted(dump: Path) -> list[Article]:
    """The articles of the dump that have text."""
    place = ROOT / CACHE / "parts" / "extracted"
    files.remove(place)
    place.mkdir(parents=True)
    (source,) = convert(_corpus({"path": str(dump)}), place, 1, QUIET)
    found = [a for name in parts.part_names(0, source) for a in parts.read_articles(place, name)]
    files.remove(place)
    return [article for article in found if article.text]


def _articles(models: Sequence[Article], size: int, *, signed: bool) -> Iterator[Article]:
    """As long as the models, of paragraphs drawn from all; no sentence stands in two of them."""
    draw, number = random.Random(0), 0
    paragraphs = [line for model in models for line in model.text.split("\n")]
    while size > 0:
        model = models[number % len(models)]
        number += 1
        drawn = draw.choices(paragraphs, k=model.text.count("\n") + 1)
        text = "\n".join([*drawn, "これは頁である。"]).replace("。", f"{number}。")
        size -= len(text.encode())
        yield Article(
            str(number), f"頁{number}", None, number, text, digest=text_digest(text),
            signature=signature(text) if signed else b"",
        )  # fmt: skip


def _corpus(source: dict[str, str], **filters: Any) -> Corpus:
    named = {"name": "wiki", "kind": "dump", **source}
    return Corpus.model_validate({"source": [named], **filters})


# --- measuring ------------------------------------------------------------------------------------


def _assign(place: Path, workers: int, filters: dict[str, Any]) -> None:
    """Assign the parts at `place`; print the CPU seconds of this process alone."""
    sources = parts.read_index(place, 1) or []
    output = place.with_name(f"{place.name}-corpus")
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    started = time.process_time()
    assign(_corpus({"path": "made"}, **filters), sources, place, output, QUIET, workers)
    (place / "main").write_text(str(time.process_time() - started), "utf-8")
    shutil.rmtree(output)


def _measured(
    place: Path, workers: int, filters: dict[str, Any], *, memory: bool = False
) -> Measured:
    command: list[str | Path] = [python(), ROOT / SCRIPT, "--assign", place]
    command += ["--workers", str(workers), "--filters", json.dumps(filters)]
    cost = measure(command, memory=memory)
    return Measured(cost, float((place / "main").read_text("utf-8")))


def _speed(title: str, place: Path, filters: dict[str, Any], rounds: int) -> str:
    found: dict[int, list[Measured]] = {1: [], 2: []}
    for number in range(rounds):
        for workers, measurements in found.items():
            tell(f"{title}: round {number + 1}, {units.counted(workers, 'worker')}")
            measurements.append(_measured(place, workers, filters))
    rows = [
        (
            units.counted(workers, "worker"),
            f"{min(one.cost.cpu for one in measurements):.1f}",
            f"{min(one.main for one in measurements):.2f}",
            f"{min(one.cost.wall for one in measurements):.1f}",
        )
        for workers, measurements in found.items()
    ]
    one, two = ([m.cost.wall for m in found[workers]] for workers in (1, 2))
    bound = [a.cost.cpu / (b.main + (b.cost.cpu - b.main) / 2)
             for a, b in zip(found[1], found[2], strict=True)]  # fmt: skip
    ratios = [
        Ratio("wall time of one worker / of two", paired(one, two), "≥ 1.7"),
        Ratio("CPU time of one / (two's main process + half of its workers')", tuple(bound)),
    ]
    size = place.name.removesuffix("-signed").removesuffix("mb")
    return "\n\n".join([
        f"### {title.capitalize()}, {size} MB of text, {units.counted(rounds, 'round')} in turns",
        table(("", "CPU s", "of them the main process", "wall s"), rows),
        table(RATIO_COLUMNS, [ratio.row() for ratio in ratios]),
    ])  # fmt: skip


def _memory(dump: Path, megabytes: int) -> str:
    sizes = (megabytes, TIMES * megabytes)
    peaks = {}
    for workers in (1, 2):
        for size in sizes:
            tell(f"memory: {size} MB, {units.counted(workers, 'worker')}")
            cost = _measured(_parts(dump, size, PLAIN), workers, PLAIN, memory=True).cost
            peaks[workers, size] = cost.peak or 0
    rows = [
        (
            units.counted(workers, "worker"),
            *(f"{peaks[workers, size] / MEGABYTE:.0f} MB" for size in sizes),
        )
        for workers in (1, 2)
    ]
    ratios = [
        Ratio(f"peak at {sizes[1]} MB / at {sizes[0]} MB, {units.counted(workers, 'worker')}",
              (peaks[workers, sizes[1]] / peaks[workers, sizes[0]],), "≤ 1.2")
        for workers in (1, 2)
    ]  # fmt: skip
    return "\n\n".join([
        "### Peak memory of the process tree, default filters",
        table(("", *(f"{size} MB of text" for size in sizes)), rows),
        table(RATIO_COLUMNS, [ratio.row() for ratio in ratios]),
    ])  # fmt: skip


if __name__ == "__main__":
    try:
        main()
    except (CommandError, RuntimeError) as error:
        sys.exit(f"{SCRIPT}: {error}")
