"""Ranks as processes of a fork server, which has imported what they need."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import processes
from tiny_training import make_recipe

from jagpt.errors import JagptError
from jagpt.progress import QUIET
from jagpt.recipe import Recipe
from jagpt.rundir import RunDirectory


@dataclass(frozen=True)
class Fate:
    """What befalls one rank when a step begins; `exchanges` counts DDP's into a file."""

    rank: int = 0
    step: int = 0
    signal: int = 0
    exchanges: Path | None = None


def train(
    recipe: Recipe,
    run: RunDirectory,
    size: int = 2,
    fate: Fate | None = None,
    elsewhere: RunDirectory | None = None,
) -> tuple[list[int | None], list[str], float]:
    """Exit codes and last words of the ranks, and seconds from the first's end to the last's.

    All ranks but the first read `elsewhere`, if given, each as the first of its machine.
    """
    context = processes.context()
    port, words = _free_port(), run.root.with_suffix(".words")
    words.mkdir(exist_ok=True)
    others = [(rank, run) if elsewhere is None else (0, elsewhere) for rank in range(1, size)]
    places = [(0, run), *others]
    started = [
        context.Process(
            target=_rank,
            args=(rank, local, size, port, recipe.to_toml(), place, words, fate or Fate()),
        )
        for rank, (local, place) in enumerate(places)
    ]
    for process in started:
        process.start()
    ends = _ends(started)
    said = [words / str(rank) for rank in range(size)]
    texts = [path.read_text() if path.exists() else "" for path in said]
    return [process.exitcode for process in started], texts, max(ends) - min(ends)


def _ends(started: list[Any]) -> list[float]:
    """When each process ended; those that do not are killed."""
    ends: dict[int, float] = {}
    deadline = time.monotonic() + 240
    while len(ends) < len(started) and time.monotonic() < deadline:
        for number, process in enumerate(started):
            if number not in ends and not process.is_alive():
                ends[number] = time.monotonic()
        time.sleep(0.02)
    for process in started:
        process.kill()
        process.join()
    return list(ends.values()) or [0.0]


def _rank(
    rank: int, local: int, size: int, port: int, recipe: str, run: RunDirectory, words: Path,
    fate: Fate,
) -> None:  # fmt: skip
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(local)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    from jagpt.recipe import parse
    from jagpt.training import distributed, ranks, session

    _await_fate(rank, fate)
    try:
        with distributed.connected(ranks.read(os.environ)) as group:
            if not group.main:
                assert group.await_order() == distributed.TRAIN
            session.run(parse(recipe), run, QUIET)
    except JagptError as error:
        (words / str(rank)).write_text(str(error))
        os._exit(error.exit_code)


def _await_fate(rank: int, fate: Fate) -> None:
    from jagpt.training import parallel
    from jagpt.training.trainer import Trainer

    gradient = Trainer.gradient

    def gradient_with_fate(self: Trainer, state: Any, break_off: Any) -> Any:
        if fate.signal and state.step + 1 == fate.step and rank == fate.rank:
            os.kill(os.getpid(), fate.signal)
        return gradient(self, state, break_off)

    Trainer.gradient = gradient_with_fate  # type: ignore[method-assign]
    if fate.exchanges is not None and rank == fate.rank:
        _count_exchanges(parallel, fate.exchanges)


def _count_exchanges(parallel: Any, path: Path) -> None:
    """Write a mark into `path` for each bucket of gradients that DDP exchanges."""
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    replicate = parallel._replicated

    def counted(root: Any, device: Any, idle: bool) -> Any:
        module = replicate(root, device, idle)

        def hook(group: Any, bucket: Any) -> Any:
            if bucket.is_last():
                with path.open("a") as marks:
                    marks.write("x")
            return allreduce_hook(group, bucket)

        hook.__annotations__.clear()  # PyTorch wants its own types there, or nothing
        module.register_comm_hook(None, hook)
        return module

    parallel._replicated = counted


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def shared_recipe(**values: Any) -> Recipe:
    """A tiny recipe whose steps two ranks can share."""
    execution = {"threads": 1, "log_every": 1, **values.pop("execution", {})}
    return make_recipe(grad_accum_steps=4, execution=execution, **values)
