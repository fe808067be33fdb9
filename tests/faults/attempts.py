"""Break a command at one durable operation, run it again, and compare what it leaves.

Everything happens in children of a *nursery*: a process that has imported all of jagpt and started
no threads, so that an attempt costs a fork and no start. A killed child gets SIGKILL from itself,
at the gate of `jagpt.files`, just before its Nth operation; a failing one gets an `OSError` there.
Further kinds of faults stand in `writing` and `planted`.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import importlib
import itertools
import json
import os
import pkgutil
import random
import re
import resource
import shutil
import signal
import stat
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from .order import Order

ATTEMPT_CPU_SECONDS, ATTEMPT_SECONDS = 60, 600
"""A command that computes or waits for longer hangs: by the clock alone, a busy machine would end
sound ones."""
STORAGE_EXIT_CODE = 4
NOT_COMPARED = ("run/logs/", "run/.lock", "run/.owner.json", "run/report.html")
"""Clock, facts of the machine, and the lock; the page shows the clock, see `_stale_page`."""
_WHERE = re.compile(r"/[^\s<>\"]*/run\b")
"""A tree that was copied has a page that says where it was made."""
HARMLESS_THREADS = frozenset({"jemalloc_bg_thd"})
"""pyarrow's allocator starts one when it is imported, and starts it again after a fork."""

Observer = Callable[[str, Path], None]


@dataclass(frozen=True)
class Command:
    """A command line that works on the tree `start`; `{}` stands for the tree of an attempt.

    `may_replace` names finished work (by the start of its path) that it is there to replace. One
    that only `reads` a run is not tried without what is planted there.
    """

    name: str
    start: Path
    arguments: tuple[str, ...]
    may_replace: tuple[str, ...] = ()
    reads: bool = False


@dataclass(frozen=True)
class Fault:
    """What goes wrong at the gate: SIGKILL where there is no `error` (an errno), else that error.

    `lasting`: every later operation fails too, as on a disk that stays full.
    """

    name: str
    error: int | None = None
    lasting: bool = False

    def numbers(self, whole: Unbroken) -> Sequence[int]:
        """What `tried` takes, each number an attempt of its own."""
        return range(1, len(whole.operations) + 1)

    def at(self, whole: Unbroken, number: int) -> str:
        """Where it happens, for people."""
        operation, path = whole.operations[number - 1]
        return f"{operation} {os.path.relpath(path, whole.end)}"

    def ground(self, tree: Path) -> AbstractContextManager[None]:
        """What the attempt's tree stands on."""
        del tree
        return contextlib.nullcontext()

    def tried(self, whole: Unbroken, number: int, tree: Path) -> str | None:
        """Let it happen to the command, and run that again; what was wrong."""
        return self.broken(whole, number, tree) or run_again(whole, tree)

    def broken(self, whole: Unbroken, number: int, tree: Path) -> str | None:
        """Run with the fault; what is wrong with how the command left."""
        code, said = in_child(lambda: jagpt(on(whole.command, tree), breaking(self, number)))
        if self.error is None:
            return None if code == -signal.SIGKILL else f"not killed: exit code {code}\n{said}"
        return self.told(code, said) or lost(whole.command, tree)

    def told(self, code: int, said: str) -> str | None:
        """What is wrong with how the error was told."""
        if code != STORAGE_EXIT_CODE:
            return f"exit code {code}, expected {STORAGE_EXIT_CODE}\n{said}"
        if "Traceback" in said or os.strerror(self.error or 0) not in said or "again" not in said:
            return f"no clear message:\n{said}"
        return None


class RandomKill(Fault):
    """Ended by the system, unasked, at a moment that the number decides."""

    def at(self, whole: Unbroken, number: int) -> str:
        del whole, number
        return ""

    def broken(self, whole: Unbroken, number: int, tree: Path) -> str | None:
        moment = random.Random(f"{whole.command.name} {number}").uniform(0.001, whole.seconds)

        def work() -> int:
            signal.setitimer(signal.ITIMER_REAL, moment)  # SIGALRM kills what does not handle it
            return jagpt(on(whole.command, tree))

        code, said = in_child(work)
        return None if code in (0, -signal.SIGALRM) else f"exit code {code}\n{said}"


KILL = Fault("SIGKILL")
RANDOM_KILL = RandomKill("random SIGKILL")
FULL = Fault("ENOSPC", errno.ENOSPC, lasting=True)
BROKEN = Fault("EIO", errno.EIO)
FORBIDDEN = Fault("EACCES", errno.EACCES)
READ_ONLY = Fault("EROFS", errno.EROFS, lasting=True)
AT_THE_GATE = (KILL, FULL, BROKEN, FORBIDDEN)


@dataclass(frozen=True)
class Unbroken:
    """A command's run without faults: its operations (what, place), its seconds, and the tree."""

    command: Command
    operations: tuple[tuple[str, str], ...]
    seconds: float
    tree: dict[str, str]
    end: Path
    disorder: tuple[str, ...]
    """What was not done in the order that makes it durable."""


@dataclass(frozen=True)
class Result:
    """One attempt. `problem` is None if the command survived."""

    command: str
    fault: str
    number: int
    operation: str
    problem: str | None
    kept: str | None = None


# --- the nursery ----------------------------------------------------------------------------------


def prepare_nursery() -> None:
    """Import all of jagpt and what it uses later, without a thread; fix its clock."""
    import torch

    torch.set_num_threads(1)
    import jagpt

    for module in pkgutil.walk_packages(jagpt.__path__, "jagpt."):
        if not module.name.endswith("__main__"):
            with contextlib.suppress(ImportError):  # optional packages
                importlib.import_module(module.name)
    for name in (
        "matplotlib.backends.backend_agg", "matplotlib.figure", "pandas", "pyarrow.compute",
        "pyarrow.parquet", "sentencepiece",
        "sentencepiece.sentencepiece_model_pb2", "tokenizers", "safetensors.torch",
        "transformers.models.gpt2.modeling_gpt2", "transformers.models.auto.tokenization_auto",
        "transformers.models.bert_generation.tokenization_bert_generation",
    ):  # fmt: skip
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    _learn_in_process()
    _try_programs_in_process()
    _compile_pages_once()
    fix_clock()
    gc.collect()
    gc.freeze()  # what the children share stays shared
    if names := _threads() - HARMLESS_THREADS:
        raise RuntimeError(f"the nursery must not have threads, and it has {sorted(names)}")


def _threads() -> set[str]:
    tasks = Path("/proc/self/task")
    return {
        (task / "comm").read_text().strip()
        for task in tasks.iterdir()
        if int(task.name) != os.getpid()
    }


def _learn_in_process() -> None:
    """SentencePiece's own process makes no durable operation; its start would cost seconds."""
    from jagpt.tokenizer import learning
    from jagpt.tokenizer.sample import draw_sentences

    def learn(corpus: Path, settings: Any, report: Any) -> bytes:
        return learning.train(draw_sentences(corpus, settings.sentences, settings.seed), settings)

    learning.learn = learn


def _try_programs_in_process() -> None:
    """Nor does the process in which a card's programs are run."""
    from programs import tried

    from jagpt.release import usage

    usage.tried = tried


def _compile_pages_once() -> None:
    """Keep compiled templates for the children; pictures, which nobody compares, are not drawn."""
    import tempfile

    import jinja2
    from matplotlib.figure import Figure

    from jagpt import report
    from jagpt.rundir import RunDirectory

    compiled: dict[Any, Any] = {}
    compile_template = jinja2.Environment.compile

    def cached(self: Any, source: Any, *place: Any, **options: Any) -> Any:
        key = (source, *place)
        if key not in compiled:
            compiled[key] = compile_template(self, source, *place, **options)
        return compiled[key]

    jinja2.Environment.compile = cached  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as empty:
        report.render([RunDirectory(Path(empty))])
    Figure.savefig = lambda _figure, path, **_options: Path(path).write_bytes(b"picture")  # type: ignore[method-assign]


def fix_clock(seconds: float = 0.0) -> None:
    """Let every module of jagpt read the same time always, `seconds` after 2026 began.

    Each reading of the stopwatch (`perf_counter`) is a tick after the one before.
    """
    at = datetime(2026, 1, 1, tzinfo=UTC).timestamp() + seconds

    class Fixed(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Fixed:
            return cls.fromtimestamp(at, tz)

    clock = SimpleNamespace(**vars(time))
    clock.time, clock.time_ns = lambda: at, lambda: int(at * 1e9)
    clock.monotonic = lambda: seconds
    ticks = itertools.count()  # what measures speed in a loop must see time pass
    clock.perf_counter = lambda: float(next(ticks))
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "jagpt":
            if getattr(module, "time", None) is time:
                module.time = clock  # type: ignore[attr-defined]
            if getattr(module, "datetime", None) is datetime:
                module.datetime = Fixed  # type: ignore[attr-defined]


# --- children -------------------------------------------------------------------------------------


def in_child(work: Callable[[], int]) -> tuple[int, str]:
    """What a forked child's `work` returns, or minus the signal that ended it; what it said."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (ATTEMPT_CPU_SECONDS, ATTEMPT_CPU_SECONDS))
            signal.alarm(ATTEMPT_SECONDS)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(writing)
            sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
            code = work()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as said:
        text = said.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def jagpt(arguments: Iterable[str], observer: Observer | None = None) -> int:
    """The exit code of a command line that runs in this process."""
    from jagpt import files
    from jagpt.cli import main

    with contextlib.ExitStack() as stack:
        if observer is not None:
            stack.enter_context(files.observed(observer))
        try:
            main(list(arguments))
        except SystemExit as leave:
            return int(leave.code or 0)


def breaking(fault: Fault, number: int) -> Observer:
    """Let the fault happen at operation `number`, counted from 1."""
    count = 0

    def observe(_operation: str, path: Path) -> None:
        nonlocal count
        count += 1
        if fault.error is None and count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.error is not None and (count == number or (fault.lasting and count > number)):
            raise OSError(fault.error, os.strerror(fault.error), str(path))

    return observe


def on(command: Command, tree: Path) -> list[str]:
    """The command line for a tree."""
    return [argument.replace("{}", str(tree)) for argument in command.arguments]


# --- the unbroken run -----------------------------------------------------------------------------


def unbroken(command: Command, scratch: Path) -> Unbroken:
    """Run the command as it should run."""
    if command.reads:
        return Unbroken(command, (), 0.0, tree_of(command.start), command.start, ())
    end = scratch / "ends" / command.name
    copy_tree(command.start, end)
    recorded = end.with_suffix(".json")

    def work() -> int:
        order, operations = Order(), []

        def observe(operation: str, path: Path) -> None:
            operations.append((operation, str(path)))
            order(operation, path)

        code = jagpt(on(command, end), observe)
        recorded.write_text(json.dumps([operations, order.end()]))
        return code

    started = time.monotonic()
    code, said = in_child(work)
    if code != 0:
        raise RuntimeError(f"{command.name} without a fault: exit code {code}\n{said}")
    seconds = time.monotonic() - started
    operations, disorder = json.loads(recorded.read_text())
    pairs = tuple((operation, path) for operation, path in operations)
    return Unbroken(command, pairs, seconds, tree_of(end), end, tuple(disorder))


# --- attempts -------------------------------------------------------------------------------------


def attempt(whole: Unbroken, fault: Fault, number: int, scratch: Path) -> Result:
    """Break the command, run it again, compare."""
    command = whole.command
    tree = scratch / "tries" / f"{command.name}-{fault.name}-{number}".replace(" ", "-")
    with fault.ground(tree):
        copy_tree(command.start, tree)
        try:
            problem = fault.tried(whole, number, tree)
        except OSError as error:
            problem = f"the attempt itself failed: {error}"
    if problem is None:
        shutil.rmtree(tree)
    kept = None if problem is None else str(tree)
    return Result(command.name, fault.name, number, fault.at(whole, number), problem, kept)


def lost(command: Command, tree: Path) -> str | None:
    """What a failed command took away of the work that was finished before."""
    there = tree_of(tree)
    aside = (name.split("/", 3) for name in there if name.startswith("run/superseded/"))
    moved = {f"run/{name[3]}": there["/".join(name)] for name in aside if len(name) > 3}
    for name, value in tree_of(command.start).items():
        finished = name.count("/") > 1 and not name.startswith(command.may_replace)
        if finished and value not in (there.get(name), moved.get(name)):
            return f"{name} was finished, and is no longer there"
    return None


def run_again(whole: Unbroken, tree: Path) -> str | None:
    """Run as it should run; how what is left differs from the unbroken run's."""
    code, said = in_child(lambda: jagpt(on(whole.command, tree)))
    if code != 0:
        return f"the next run: exit code {code}\n{said}"
    return difference(whole.tree, tree_of(tree)) or _stale_page(tree / "run")


def _stale_page(run: Path) -> str | None:
    """The report must tell of the run as it stands; how long the stages took is not compared."""
    from jagpt import pipeline
    from jagpt.cli.common import open_run
    from jagpt.report import render

    page = run / "report.html"
    if not page.exists():
        return None
    wanted = render([pipeline.as_it_stands(*open_run(run))])
    there, here = (_WHERE.sub("{}/run", text) for text in (page.read_text("utf-8"), wanted))
    return None if there == here else "report.html is not about the run as it stands"


# --- trees ----------------------------------------------------------------------------------------


def copy_tree(source: Path, target: Path) -> None:
    """A copy with the times of the original, so that the ledger still knows its files."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)


def tree_of(root: Path) -> dict[str, str]:
    """Name → kind, mode and content of everything below `root` that is compared."""
    found = {}
    for folder, folders, names in os.walk(root):
        for name in (*folders, *names):
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if not f"{relative}/".startswith(tuple(n.rstrip("/") + "/" for n in NOT_COMPARED)):
                found[relative] = _described(path, root)
    return dict(sorted(found.items()))


def _described(path: Path, root: Path) -> str:
    status = path.lstat()
    mode = stat.filemode(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        content = path.read_bytes()
        if path.suffix == ".html":  # a page says where its run stands
            content = content.replace(os.fsencode(root), b"{}")
        return f"{mode} {hashlib.sha256(content).hexdigest()}"
    return f"{mode} {path.readlink()}" if stat.S_ISLNK(status.st_mode) else mode


def difference(wanted: dict[str, str], found: dict[str, str]) -> str | None:
    """How two trees differ; None if they do not."""
    problems = [f"missing: {name}" for name in wanted.keys() - found.keys()]
    problems += [f"left over: {name}" for name in found.keys() - wanted.keys()]
    problems += [f"other: {name}" for name in wanted.keys() & found.keys()
                 if wanted[name] != found[name]]  # fmt: skip
    return "; ".join(sorted(problems)) or None


# --- many attempts --------------------------------------------------------------------------------


def attempts(
    plan: Sequence[tuple[Unbroken, Fault, int]], scratch: Path, jobs: int
) -> Iterator[Result]:
    """The results of all attempts of the plan, `jobs` at a time, as they come."""
    (scratch / "tries").mkdir(parents=True, exist_ok=True)
    waiting, running = list(reversed(plan)), {}
    while waiting or running:
        while waiting and len(running) < jobs:
            whole, fault, number = waiting.pop()
            answer = scratch / f"answer-{len(waiting)}.json"
            running[_start(whole, fault, number, scratch, answer)] = answer
        ended, _ = os.wait()
        if ended in running:
            answer = running.pop(ended)
            yield Result(**json.loads(answer.read_text()))
            answer.unlink()


def _start(whole: Unbroken, fault: Fault, number: int, scratch: Path, answer: Path) -> int:
    child = os.fork()
    if child == 0:
        result = Result(whole.command.name, fault.name, number, "", "the attempt itself failed")
        try:
            result = attempt(whole, fault, number, scratch)
        except BaseException:
            traceback.print_exc()
        finally:
            answer.write_text(json.dumps(asdict(result)))
            os._exit(0)
    return child
