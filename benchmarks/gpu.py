"""Everything that only a GPU can show, in one command: `make gpu`.

    python benchmarks/gpu.py [--device auto|cuda|cpu] [--checks NAME ...] [--minutes 8]
        [--json FILE]

Checks (losses and gradients in each precision beside a processor's, fp16's scaler, dropout, equal
bits after a SIGKILL, DDP and FSDP2, memory that runs out, compiled blocks, batches fetched ahead,
the memory that `plan` foretells), then the speed of GPT-2 small beside transformers' and a loop as
nanoGPT's. Nothing beyond jagpt and PyTorch is needed; the row of transformers' `Trainer` needs
accelerate.

On a processor the same code runs on a tiny network; what needs a GPU is named as skipped. Leaves
with 1 where a check fails.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gpu_checks
import gpu_speed
import torch
from common import environment, environment_line, table, tell
from gpu_rows import Bench, Row

from jagpt import devices, units

CHECKS = {**gpu_checks.CHECKS, **gpu_speed.CHECKS}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the checks; print tables, and write JSON where that is wanted."""
    options = _options(arguments)
    device = devices.choose(options.device, key="--device")
    facts = _facts(device)
    with tempfile.TemporaryDirectory(prefix="jagpt-gpu-") as folder:
        bench = Bench(device, Path(folder))
        rows = list(_run(bench, options.checks, time.monotonic() + 60 * options.minutes))
    if options.json:
        value = {"machine": facts, "rows": [vars(row) for row in rows]}
        options.json.write_text(json.dumps(value, indent=1), "utf-8")
    print(_shown(facts, rows))
    if any(row.outcome == "FAILED" for row in rows):
        sys.exit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--device", choices=("auto", "cuda", "cpu"), default="auto")
    add("--checks", nargs="+", choices=CHECKS, default=list(CHECKS), help="default: all")
    add("--minutes", type=float, default=8.0, help="after which no check begins (default: 8)")
    add("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args(arguments)


def _run(bench: Bench, names: Sequence[str], deadline: float) -> Iterator[Row]:
    """The rows of each check; one that breaks does not keep the others from running."""
    for name in names:
        if time.monotonic() > deadline:
            yield Row(name, "", "", "", "skipped: no time left")
            continue
        tell(f"{name} …")
        started = time.monotonic()
        try:
            yield from CHECKS[name](bench)
        except Exception as error:  # whatever breaks is a finding
            yield Row(name, type(error).__name__, str(error).split("\n")[0][:200], "", "FAILED")
        bench.seconds[name] = time.monotonic() - started
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def _facts(device: torch.device) -> dict[str, Any]:
    facts = environment("jagpt", "torch", "transformers")
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        facts |= {
            "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "capability": f"{properties.major}.{properties.minor}",
            "gpu_memory": properties.total_memory,
            "cuda": torch.version.cuda,
            "rocm": torch.version.hip,
            "peak_flops": {p: devices.peak(device, p) for p in ("fp32", "bf16", "fp16")},
        }
    return facts


def _shown(facts: dict[str, Any], rows: Sequence[Row]) -> str:
    host = {key: value for key, value in facts.items() if not isinstance(value, list | dict)}
    for key in ("capability", "gpu_memory", "cuda", "rocm"):
        host.pop(key, None)
    gpu = "GPU: none, so the checks ran in small on the processor."
    if "gpus" in facts:
        memory = units.size(facts["gpu_memory"])
        gpu = f"GPU: {', '.join(facts['gpus'])}, {memory}, capability {facts['capability']}."
    ran = [row for row in rows if not row.outcome.startswith("skipped")]
    skipped = [
        f"- {row.check}: {row.outcome.removeprefix('skipped: ')}" for row in rows if row not in ran
    ]
    blocks = [
        environment_line(host),
        gpu,
        table(("check", "what", "found", "wanted", ""), [row.cells() for row in ran]),
    ]
    if skipped:
        blocks.append("\n".join(["Skipped here:", "", *skipped]))
    return "\n\n".join(blocks)


if __name__ == "__main__":
    main()
