"""The ranks of a run: from the environment, or started on one machine (no torch)."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from jagpt import safepath
from jagpt.errors import JagptError, UsageError
from jagpt.machines import available_cores

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What `torchrun` sets for each process, and each process must find."""

COMMAND = (sys.executable, "-P", "-m", "jagpt")
"""What a rank runs."""

_PR_SET_PDEATHSIG = 1  # sys/prctl.h

GRACE = 20.0
"""Seconds that the others get to exit by themselves after a rank has failed."""


@dataclass(frozen=True)
class Ranks:
    """This process among the `size` that train together; `local` counts on its machine."""

    rank: int = 0
    size: int = 1
    local: int = 0

    @property
    def name(self) -> str:
        """How messages name this process; empty if it is the only one or speaks for all."""
        return f"rank {self.rank}: " if self.rank else ""


def read(environment: Mapping[str, str]) -> Ranks:
    """This process's rank as set by `torchrun`; a single process if nothing is set.

    `UsageError` names the variables that are missing or not numbers.
    """
    if not (environment.get("RANK") or environment.get("WORLD_SIZE")):
        return Ranks()
    if environment.get("WORLD_SIZE") == "1" and environment.get("RANK", "0") == "0":
        return Ranks()
    missing = [name for name in VARIABLES if not environment.get(name)]
    if missing:
        there = [f"{name}={environment[name]}" for name in VARIABLES if environment.get(name)]
        raise UsageError(
            f"{', '.join(missing)}: missing from the environment, though it has "
            f"{', '.join(there)}: start several processes with `torchrun … -m jagpt train RECIPE` "
            "or `jagpt train RECIPE --nproc N`, which set them, or unset those for one process"
        )
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    _number(environment, "MASTER_PORT")
    local = _number(environment, "LOCAL_RANK") if environment.get("LOCAL_RANK") else rank
    if not 0 <= rank < size:
        raise UsageError(f"RANK={rank}: with WORLD_SIZE={size}, allowed is 0 to {size - 1}")
    return Ranks(rank, size, local)


def _number(environment: Mapping[str, str], name: str) -> int:
    value = environment[name]
    if not value.isdigit():
        raise UsageError(f"{name}={value}: expected an integer")
    return int(value)


# --- starting them on this machine ----------------------------------------------------------------


def launch(arguments: Sequence[str], count: int) -> int:
    """Run `jagpt ARGUMENTS` as `count` ranks on this machine; returns the overall exit code.

    Signals are passed on. If one rank fails, the others get some seconds to exit, then are killed.
    The code is rank 0's if it failed, else that of the first that failed.
    """
    port = _free_port()
    children = [_start(arguments, rank, count, port) for rank in range(count)]
    try:
        with _passed_on(children):
            codes = _wait(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    if killed := [rank for rank, code in enumerate(codes) if code < 0]:
        name = signal.Signals(-codes[killed[0]]).name
        raise JagptError(
            f"rank {killed[0]} died ({name}), and the others were stopped; "
            "the same command continues from the last checkpoint"
        )
    return next((code for code in codes if code), 0)


def _start(arguments: Sequence[str], rank: int, count: int, port: int) -> subprocess.Popen[bytes]:
    environment = {
        "OMP_NUM_THREADS": str(max(1, available_cores() // count)),
        **os.environ,
        **safepath.variables(),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return subprocess.Popen(  # noqa: S603  # this very program
        [*COMMAND, *arguments],
        env=environment,
        stdout=None if rank == 0 else subprocess.DEVNULL,
        start_new_session=True,  # a terminal's Ctrl-C comes once, from here
        preexec_fn=_terminate_with_parent if sys.platform == "linux" else None,  # no threads here
    )


def _terminate_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies, for whatever reason: an orphaned rank would wait
    for ever.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def _passed_on(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """SIGTERM and Ctrl-C go to every rank, which save and exit."""

    def pass_on(wish: int, _frame: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(wish)

    before: dict[int, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, pass_on)
    try:
        yield
    finally:
        for key, handler in before.items():
            signal.signal(key, handler)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """The ranks' exit codes; those still running `GRACE` seconds after a failure count as 0."""
    deadline = None
    while any(child.poll() is None for child in children):
        if deadline is None and any(child.poll() for child in children):
            deadline = time.monotonic() + GRACE
        if deadline is not None and time.monotonic() > deadline:
            break
        time.sleep(0.05)
    return [child.poll() or 0 for child in children]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
