"""What the benchmarks share: the cost of a command's whole process tree, tables, the machine."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import psutil
from filelock import FileLock, Timeout

from jagpt.machines import available_cores

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("JAGPT_BENCH_CACHE", ".venv/bench"))
"""Side environments and generated dumps, below `ROOT`; git ignores it, `make clean` deletes it."""
MEGABYTE = 1_000_000
SAMPLE_SECONDS = 0.05
"""Between two looks at the memory of a process tree."""


@dataclass(frozen=True)
class Cost:
    """What a command took: `cpu` is user and system seconds of it and all processes below it.

    `peak` is the largest sum of the tree's proportional set sizes in bytes, without files' pages
    where the system tells them apart; None if not watched.
    """

    wall: float
    cpu: float
    peak: int | None = None


class CommandError(RuntimeError):
    """A measured command failed; its last lines are in the message."""


def measure(command: Sequence[str | Path], *, memory: bool = False) -> Cost:
    """Run a command to its end in `ROOT`.

    Its CPU time comes from the kernel (`wait4`), which counts every process below it that its
    parent waited for, as multiprocessing and concurrent.futures do.
    """
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603
            [str(part) for part in command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        watch = _MemoryWatch(process.pid) if memory else None
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = watch.stop() if watch else None
        if process.returncode:
            raise CommandError(f"{shown(command)}: exit code {process.returncode}\n{_tail(log)}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, peak)


@contextmanager
def alone() -> Iterator[None]:
    """Two benchmarks at once would measure each other."""
    (ROOT / CACHE).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(ROOT / CACHE / ".lock", timeout=0):
            yield
    except Timeout:
        raise RuntimeError("another benchmark is running here; wait for its end") from None


def run(command: Sequence[str | Path]) -> None:
    """Run a command that is not measured."""
    measure(command)


def shown(command: Sequence[str | Path]) -> str:
    """A command as one would type it in the project's folder."""
    root = f"{ROOT}{os.sep}"
    return shlex.join(str(part).removeprefix(root) for part in command)


def python() -> Path:
    """This interpreter, as a relative path where it lies in the project's folder."""
    return Path(sys.executable.removeprefix(f"{ROOT}{os.sep}"))


class _MemoryWatch:
    """Samples a process tree in a thread."""

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._root = psutil.Process(pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self.peak

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, _tree_bytes(self._root))


def _tree_bytes(root: psutil.Process) -> int:
    """Memory of a process and all below it, shared pages counted once where the system can tell."""
    try:
        processes = [root, *root.children(recursive=True)]
    except psutil.Error:
        return 0
    return sum(map(_process_bytes, processes))


def _process_bytes(process: psutil.Process) -> int:
    if own := _own_bytes(process.pid):
        return own
    try:
        info: Any = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(info, "pss", 0) or info.uss)


def _own_bytes(pid: int) -> int:
    """The part of PSS that is no file's, 0 where the system does not tell.

    The rest is mostly libraries' code, and a process's share of it grows when another process on
    the machine that uses the same library ends: by 33 MB for pyarrow's.
    """
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except OSError:
        return 0
    own = [line.split() for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))]
    return sum(int(kilobytes) * 1024 for _, kilobytes, _ in own)


def _tail(log: IO[bytes], size: int = 2000) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - size))
    return log.read().decode("utf-8", "replace")


# --- numbers --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ratio:
    """One side against another, round by round, and what it should be."""

    what: str
    rounds: tuple[float, ...]
    goal: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def row(self) -> tuple[str, ...]:
        span = f"{min(self.rounds):.2f} to {max(self.rounds):.2f}"
        return (self.what, f"{self.median:.2f}", span, self.goal)

    def as_json(self) -> dict[str, Any]:
        return {"what": self.what, "median": self.median, "rounds": self.rounds, "goal": self.goal}


RATIO_COLUMNS = ("ratio", "median", "rounds", "goal")


def paired(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Ratios of measurements that were taken in the same round."""
    return tuple(a / b for a, b in zip(above, below, strict=True))


# --- tables ---------------------------------------------------------------------------------------


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    marks = ["---", *["---:"] * (len(columns) - 1)]
    lines = [columns, marks, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def commands_block(commands: Sequence[Sequence[str | Path]]) -> str:
    """Commands as a Markdown block."""
    lines = [f"$ {shown(command)}" for command in commands]
    return "\n".join(["```console", *lines, "```"])


def publish(text: str, script: str, page: Path | None) -> None:
    """Print Markdown and, where a page is given, put it between that script's two marks there."""
    print(text)
    if page is None:
        return
    begin, end = f"<!-- begin: {script} -->\n", "<!-- end -->"
    head, found, rest = page.read_text("utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise RuntimeError(f"{page}: the lines {begin.strip()} and {end} are wanted in it")
    page.write_text(f"{head}{begin}{text}\n{end}{tail}", "utf-8")


@contextmanager
def picture(path: Path, across: str, up: str) -> Iterator[Any]:
    """Axes with these labels, saved as `path` with a legend once curves are drawn on them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    yield axes
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def tell(text: str) -> None:
    """What happens meanwhile, on standard error."""
    print(text, file=sys.stderr, flush=True)


# --- the machine ----------------------------------------------------------------------------------


def environment(*packages: str) -> dict[str, Any]:
    """Processor, cores, load before the run, and versions."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def environment_line(facts: dict[str, Any]) -> str:
    """`environment` as a sentence; a load well above 0 says that the machine was shared."""
    versions = ", ".join(
        f"{name} {value}"
        for name, value in facts.items()
        if name not in ("processor", "cores", "load", "system")
    )
    return (
        f"Machine: {facts['processor']}, {facts['cores']} cores, {facts['system']}, load "
        f"{facts['load']} before the run. Versions: {versions}."
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
