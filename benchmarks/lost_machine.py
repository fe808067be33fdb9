"""A machine is lost at random moments: another one goes on in an empty folder, to the same bytes.

    python benchmarks/lost_machine.py [--lives 20] [--seed 0] [--steps 300] [--place PLACE]

A run of a small GPT-2 is copied to a place (`execution.remote`), killed with SIGKILL after a random
time, its folder deleted, and begun again with the same command in an empty one. One more life gets
SIGTERM, as on a spot machine, and the last one is left to end. Then every file of corpus,
tokenizer, tokens and checkpoints is compared with that of a run that nobody touched. The place is a
folder, or the bucket given (AWS_* in the environment).
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kill import sums_of

from jagpt.models.checkpoint_folder import standing, step_name
from jagpt.remote.copies import step_keys
from jagpt.remote.store import Store

SAID = "said.txt"
EVERY = 10
"""Steps between two checkpoints."""
STAGES = ("corpus", "tokenizer", "tokens", "checkpoints")
RECIPE = f"""
name = "lost"
[[corpus.source]]
name = "numbers"
kind = "text"
path = "numbers.txt"
layout = "block"
[corpus]
valid_share = 0.1
test_share = 0.1
min_characters = 10
[tokenizer]
vocab_size = 306
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
checkpoint_every = {EVERY}
keep_checkpoints = 2
precision = "fp32"
[execution]
tensorboard = false
sample_prompts = []
workers = 1
threads = 1
device = "cpu"
"""


@dataclass(frozen=True)
class Project:
    """A recipe in a folder, and where its runs are copied."""

    folder: Path
    steps: int
    place: str

    def process(self, run: Path, *, copied: bool = True) -> Any:
        """`jagpt run` in a process of a fork server, which has imported what it needs."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["jagpt.training.session", "jagpt.remote", "jagpt.cli"])
        arguments = ["run", str(self.folder / "lost.toml"), "--until", "train", "--yes"]
        arguments += ["--run-dir", str(run), "--set", f"train.max_steps={self.steps}"]
        arguments += ["--set", f"execution.remote={self.place}"] if copied else []
        store = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        process = context.Process(target=_run, args=(arguments, store, self.folder / SAID))
        process.start()
        return process


def main(arguments: Sequence[str] | None = None) -> None:
    """Kill, begin again, compare, and print a table; leaves with 1 where a byte differs."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="jagpt-lost-") as name:
        folder = Path(name)
        project = _project(folder, options.steps, options.place or str(folder / "elsewhere"))
        first, seconds = _unbroken(project)
        lives = _lost(project, options.lives, first, seconds, random.Random(options.seed))
        said = _terminated(project)
        _end(project, project.process(folder / "last"))
        found = [[sums_of(folder / run / stage) for stage in STAGES] for run in ("whole", "last")]
    same = found[0] == found[1]
    print("| life | seconds | last checkpoint here | whole ones there |")
    print("| ---: | ---: | ---: | --- |")
    for number, (after, here, there) in enumerate(lives, 1):
        print(f"| {number} | {after:.2f} | {here} | {', '.join(map(str, there)) or 'none'} |")
    print(f"\n{said}")
    print(
        f"{len(lives)} machines lost over {options.steps} steps "
        f"({seconds:.1f} s if uninterrupted): "
        f"{sum(map(len, found[0]))} files {'bitwise equal' if same else 'DIFFER'}"
    )
    if not same:
        sys.exit(1)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--lives", type=int, default=20, help="machines that are lost")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--steps", type=int, default=300, help="of the whole run (default: 300)")
    parser.add_argument("--place", help="where the run is copied; a temporary folder if not given")
    return parser.parse_args(arguments)


def _project(folder: Path, steps: int, place: str) -> Project:
    lines = [f"第{n}の行には数{n * n % 9973}と数{n * 7 % 1009}がある。" for n in range(2000)]
    texts = ["\n".join(lines[k : k + 10]) for k in range(0, len(lines), 10)]
    (folder / "numbers.txt").write_text("\n\n".join(texts), "utf-8")
    (folder / "lost.toml").write_text(RECIPE, "utf-8")
    return Project(folder, steps, place)


def _unbroken(project: Project) -> tuple[float, float]:
    """Seconds to the first checkpoint and to the end of a run that nobody touches."""
    started, first = time.perf_counter(), 0.0
    process = project.process(project.folder / "whole", copied=False)
    while process.exitcode is None:
        process.join(0.02)
        if not first and standing(project.folder / "whole" / "checkpoints"):
            first = time.perf_counter() - started
    _end(project, process)
    return first, time.perf_counter() - started


def _lost(
    project: Project, lives: int, first: float, seconds: float, draw: random.Random
) -> list[tuple[float, int, list[int]]]:
    """Begin and kill; the moments, the last checkpoint here, and those that were whole there.

    A machine is lost before its first checkpoint, or at any moment after its first or second.
    """
    between = (seconds - first) * EVERY / project.steps
    found: list[tuple[float, int, list[int]]] = []
    while len(found) < lives:
        run, there = project.folder / f"life-{len(found)}", _newest(project)
        made = draw.randint(0, 2)
        process, started = project.process(run), time.perf_counter()
        wait, moment = draw.uniform(0.0, between if made else first), None
        while process.exitcode is None and _here(run) < there + (made + 1) * EVERY:
            now = time.perf_counter()
            if moment is None and (not made or _here(run) >= there + made * EVERY):
                moment = now + wait
            if moment is not None and now >= moment:
                break
            process.join(0.02)
        if process.exitcode is not None:
            print(f"it ended after {len(found)} lives; take more --steps", file=sys.stderr)
            break
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        after = time.perf_counter() - started
        found.append((after, _here(run), sorted(step_keys(Store(project.place).names()))))
        shutil.rmtree(run, ignore_errors=True)
    return found


def _here(run: Path) -> int:
    """The step of the last checkpoint in a run."""
    return max(standing(run / "checkpoints"), default=0)


def _newest(project: Project) -> int:
    """The step of the last checkpoint that is whole elsewhere."""
    return max(step_keys(Store(project.place).names()), default=0)


def _terminated(project: Project) -> str:
    """Send SIGTERM once a checkpoint of this life stands; how long the last one took to be safe."""
    run = project.folder / "terminated"
    process = project.process(run)
    before = _newest(project)
    while process.exitcode is None and _here(run) <= before:
        process.join(0.02)
    if process.exitcode is not None:
        return "SIGTERM: the run had ended; take more --steps"
    started = time.perf_counter()
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    seconds = time.perf_counter() - started
    here, there = _here(run), _newest(project)
    folder = run / "checkpoints" / step_name(here)
    size = sum(path.stat().st_size for path in folder.iterdir()) if here else 0
    return (
        f"SIGTERM: exited with {process.exitcode} after {seconds:.1f} s; last checkpoint here: "
        f"step {here} ({size / 1e6:.1f} MB), there: step {there}"
    )


def _run(arguments: list[str], store: dict[str, str], said: Path) -> None:
    from jagpt.cli import main as jagpt

    os.environ.update(store)  # the fork server has the environment in which it began
    with (
        said.open("a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        jagpt(arguments)


def _end(project: Project, process: Any) -> None:
    """Wait for a process that is left alone."""
    process.join()
    if process.exitcode:
        said = (project.folder / SAID).read_text("utf-8")
        sys.exit(f"a run failed with {process.exitcode}: {said[-2000:]}")


if __name__ == "__main__":
    main()
