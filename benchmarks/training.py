"""Training speed and memory: jagpt beside transformers' Trainer and the original's loop.

    python benchmarks/training.py [--model tiny|small|quickstart] [--rounds 5]
        [--device auto|cpu|cuda] [--precision auto|fp32|bf16|fp16]

Ours and Trainer's train in the precision that the machine multiplies, if no other is asked for.
Each side is a process with its own network, which takes whole optimizer steps (data, forward,
backward, update) in turns with the side that it is compared with, one at a time; so do the
matrix products that say what the machine can do. The pairs follow each other, as all sides at once
need more memory than a small machine has. Rows (b) and (c) need accelerate: pip install
"jagpt[bench]".

A step of the original has 16 micro-batches. Here it has `--micro-batches`, timed apart from the
optimizer's part: tokens/s = 16 · tokens / (16 · t_micro + t_optimizer). The quickstart's has one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from common import (
    MEGABYTE,
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
from speed import MICRO_BATCHES_A_STEP
from training_sides import PRODUCTS, SHAPES, SIDES, product_shapes
from turns import Process

from jagpt import devices, machines

PAIRS = (
    ("muon", "original"),
    ("dropout", "trainer-dropout"),
    ("adamw", "trainer"),
    ("muon-dropout", "plain"),
)
GOALS = {
    ("bf16", "muon"): "≥ 7.5",
    ("bf16", "dropout"): "≥ 1.5",
    ("bf16", "adamw"): "≥ 1",
    ("fp32", "dropout"): "≥ 1.5",
    ("fp32", "adamw"): "≥ 1.05",
    ("fp32", "muon-dropout"): "≥ 1.3",
}
"""Of speed, by the comparison's precision and our side."""
MEMORY_GOAL = "≤ 0.6"
QUICKSTARTS = ("muon-dropout", "plain", "dropout", "trainer-dropout")
"""What the recipe of that name is compared with, and its optimizer's part in it."""


@dataclass(frozen=True)
class Measured:
    """A side's rounds, its largest memory, and the products' FLOP/s in the same rounds."""

    micro: tuple[float, ...]
    optimizer: tuple[float, ...]
    peak: int
    products: tuple[dict[str, float], ...]

    @property
    def best(self) -> list[float]:
        """FLOP/s of the best product of each round."""
        return [max(found.values()) for found in self.products]

    def rates(self, tokens: int, count: int) -> tuple[float, ...]:
        """Tokens/s of a whole step of `count` micro-batches, round by round."""
        pairs = zip(self.micro, self.optimizer, strict=True)
        return tuple(count * tokens / (count * micro + rest) for micro, rest in pairs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, then print Markdown or JSON."""
    options = _options(arguments)
    with alone():
        facts = environment("jagpt", "torch", "transformers")
        measured: dict[str, Measured] = {}
        for sides in _groups(options.sides):
            measured |= _measured(sides, options)
    if options.json:
        print(json.dumps(_as_json(options, facts, measured), indent=1))
        return
    blocks = [
        f"{environment_line(facts)} Instructions: {_units()}.",
        f"### {_title(options)}",
        commands_block([_command(options)]),
        table(
            ("", "t_micro", "t_optimizer", "tokens/s", "rounds", "MFU", "peak memory"),
            [_row(options, side, measured[side]) for side in options.sides],
        ),
        table(RATIO_COLUMNS, [ratio.row() for ratio in _ratios(options, measured)]),
        _products_table(options, measured),
    ]
    publish("\n\n".join(blocks), "benchmarks/training.py", options.update)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--model", choices=SHAPES, default="tiny", help="tiny: 5 M weights; small: GPT-2 small")
    add("--rounds", type=int, default=5, help="steps of each side that count (default: 5)")
    add("--warmup", type=int, default=1, help="steps before them that do not (default: 1)")
    add("--micro-batches", type=int, help="of a step that is taken (default: 2; quickstart: 1)")
    add("--sides", nargs="+", choices=SIDES, help="default: all (quickstart: its own)")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--json", action="store_true", help="print every round as JSON")
    add("--update", type=Path, metavar="PAGE", help="put the tables into docs/benchmarks.md too")
    options = parser.parse_args(arguments)
    quick = options.model == "quickstart"
    options.micro_batches = options.micro_batches or (1 if quick else 2)
    options.of_a_step = 1 if quick else MICRO_BATCHES_A_STEP
    options.every_side = list(QUICKSTARTS if quick else SIDES)
    options.sides = options.sides or list(options.every_side)
    if options.precision == "auto":
        options.precision, _ = devices.best_precision(devices.choose(options.device))
    if any(SIDES[side].kind == "trainer" for side in options.sides) and not find_spec("accelerate"):
        tell('accelerate is missing, so rows (b) and (c) are left out: pip install "jagpt[bench]"')
        options.sides = [side for side in options.sides if SIDES[side].kind != "trainer"]
    return options


def _title(options: argparse.Namespace) -> str:
    shape = SHAPES[options.model]
    return (
        f"{shape.n_layer} layers of width {shape.n_embd}, vocabulary {shape.vocab_size:,}, "
        f"micro-batches of {shape.batch_size} × {shape.block_size:,} tokens, {options.precision}, "
        f"{options.rounds} rounds in turns"
    )


def _command(options: argparse.Namespace) -> list[str | Path]:
    command: list[str | Path] = [
        python(), "benchmarks/training.py", "--model", options.model,
        "--rounds", str(options.rounds), "--device", options.device,
        "--precision", options.precision,
    ]  # fmt: skip
    every = options.sides == options.every_side
    return command if every else [*command, "--sides", *options.sides]


def _groups(sides: Sequence[str]) -> list[list[str]]:
    """The sides in pairs that are compared, and the rest one by one."""
    groups = [[side for side in pair if side in sides] for pair in PAIRS]
    paired_off = {side for group in groups for side in group}
    return [group for group in groups if group] + [[s] for s in sides if s not in paired_off]


def _measured(sides: Sequence[str], options: argparse.Namespace) -> dict[str, Measured]:
    """Each side's rounds, with the products' in between."""
    rounds: dict[str, list[dict[str, float]]] = {side: [] for side in (PRODUCTS, *sides)}
    processes: dict[str, Process] = {}
    serve = [sys.executable, str(Path(__file__).parent / "training_sides.py")]
    try:
        for number in range(options.warmup + options.rounds):
            tell(f"{', '.join(sides)}: round {number + 1} of {options.warmup + options.rounds}")
            for side, found in rounds.items():
                if side not in processes:
                    command = [*serve, side, options.model, options.device]
                    command += [str(options.micro_batches), options.precision]
                    processes[side] = Process(side, command)
                numbers = processes[side].work()
                if number >= options.warmup:
                    found.append(numbers)
        peaks = {side: process.peak() for side, process in processes.items()}
    finally:
        for process in processes.values():
            process.end()
    products = tuple(rounds.pop(PRODUCTS))
    return {
        side: Measured(
            tuple(numbers["micro"] for numbers in found),
            tuple(numbers["optimizer"] for numbers in found),
            peaks[side],
            products,
        )
        for side, found in rounds.items()
    }


def _flops_a_token(options: argparse.Namespace) -> int:
    """6N + 12 · n_layer · n_embd · T (Chowdhery et al. 2022, PaLM, appendix B)."""
    shape = SHAPES[options.model]
    width = shape.n_embd
    block = 12 * width * width + 13 * width
    weights = (shape.vocab_size + shape.block_size) * width + shape.n_layer * block + 2 * width
    return 6 * weights + 12 * shape.n_layer * width * shape.block_size


def _row(options: argparse.Namespace, side: str, found: Measured) -> tuple[str, ...]:
    rates = found.rates(SHAPES[options.model].tokens, options.of_a_step)
    flops = _flops_a_token(options)
    shares = [rate * flops / best for rate, best in zip(rates, found.best, strict=True)]
    return (
        SIDES[side].shown(options.precision),
        f"{statistics.median(found.micro):.3f} s",
        f"{statistics.median(found.optimizer):.3f} s",
        f"{statistics.median(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{statistics.median(shares):.2f}",
        f"{found.peak / MEGABYTE:,.0f} MB",
    )


def _ratios(options: argparse.Namespace, measured: dict[str, Measured]) -> list[Ratio]:
    tokens = SHAPES[options.model].tokens
    speeds = {side: found.rates(tokens, options.of_a_step) for side, found in measured.items()}
    ratios = []
    for above, below in PAIRS:
        if not (above in speeds and below in speeds):
            continue
        names = f"of {_short(options, above)} / of {_short(options, below)}"
        goal = GOALS.get((options.precision, above), "")
        ratios.append(Ratio(f"speed {names}", paired(speeds[above], speeds[below]), goal))
        if below.startswith("trainer"):
            share = measured[above].peak / measured[below].peak
            ratios.append(Ratio(f"peak memory {names}", (share,), MEMORY_GOAL))
    return ratios


def _short(options: argparse.Namespace, side: str) -> str:
    name = SIDES[side].shown(options.precision)
    return name[:3] if name.startswith("(") else name


def _units() -> str:
    """What the processor multiplies with, as far as it tells: PyTorch's kernels, bf16, VNNI."""
    import torch

    kernels = torch.backends.cpu.get_cpu_capability()
    bf16 = "bf16" if machines.cpu_bf16() else "no bf16"
    return f"{kernels}, {bf16}, {'VNNI' if machines.cpu_vnni() else 'no VNNI'}"


def _products_table(options: argparse.Namespace, measured: dict[str, Measured]) -> str:
    """The products that MFU is a share of: in each round, the best of them."""
    groups = {id(found.products): found.products for found in measured.values()}
    products = [taken for group in groups.values() for taken in group]
    rows = []
    for name, (m, k, n) in product_shapes(SHAPES[options.model]).items():
        rates = [found[name] / 1e9 for found in products]
        span = f"{min(rates):,.0f} to {max(rates):,.0f}"
        rows.append((f"{name}: {m:,} × {k:,} × {n:,}", f"{statistics.median(rates):,.0f}", span))
    return table((f"{options.precision} product", "GFLOP/s", "rounds"), rows)


def _as_json(
    options: argparse.Namespace,
    facts: dict[str, object],
    measured: dict[str, Measured],
) -> dict[str, object]:
    return {
        "environment": {**facts, "units": _units()},
        "model": options.model,
        "precision": options.precision,
        "flops_a_token": _flops_a_token(options),
        "sides": {side: vars(found) for side, found in measured.items()},
        "ratios": [ratio.as_json() for ratio in _ratios(options, measured)],
    }


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(f"benchmarks/training.py: {error}")
