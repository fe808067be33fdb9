"""A function run on many jobs in worker processes or on a cluster, with few jobs waiting and a
fast stop.

Workers are started afresh (spawn), so that macOS, Windows and threaded parents behave alike. They
ignore Ctrl-C, which the parent handles, and leave when their parent dies, whatever killed it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from multiprocessing.connection import wait as wait_for_sentinels
from types import TracebackType
from typing import Generic, Self, TypeVar

from jagpt import safepath
from jagpt.errors import JagptError

Job = TypeVar("Job")
Result = TypeVar("Result")

WAITING_JOBS = 2
"""Jobs submitted beyond one per worker: enough to keep all busy, few enough to hold in memory."""


class Workers(Generic[Job, Result]):
    """`submit` jobs, then `finish`; or take the `results` of jobs. With one worker, or a single
    job, all happens in this process, unless an `executor` was given (it is shut down at the end).

    `submit` blocks while enough jobs wait and raises what a job raised; leaving the block by an
    exception stops the workers at once.
    """

    def __init__(
        self,
        function: Callable[[Job], Result],
        count: int,
        executor: Executor | None = None,
    ) -> None:
        self._function = function
        self._count = count
        self._executor = executor
        self._here = count == 1 and executor is None
        self._running: set[Future[Result]] = set()
        self._first: list[Job] = []  # starting processes does not pay for a single job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._executor is None:
            return
        if kind is not None:
            _stop(self._executor)
        self._executor.shutdown(wait=True, cancel_futures=True)

    def submit(self, job: Job) -> None:
        """Run the function on `job`, now or soon."""
        if self._here:
            self._function(job)
        elif self._executor is None and not self._first:
            self._first.append(job)
        else:
            for waiting in (*self._first, job):
                self._send(waiting)
            self._first.clear()

    def finish(self) -> None:
        """Return when all jobs are done."""
        for job in self._first:
            self._function(job)
        self._first.clear()
        self._collect(0)

    def results(self, jobs: Iterable[Job]) -> Generator[Result, None, None]:
        """What the function makes of each job, in the order of the jobs.

        Jobs are taken only as workers come free. Closing it waits for those under way.
        """
        jobs = iter(jobs)
        first = list(islice(jobs, 1 if self._here else 2))
        if self._here or (len(first) < 2 and self._executor is None):
            yield from map(self._function, chain(first, jobs))
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for job in chain(first, jobs):
                waiting.append(self._send(job))
                while waiting and waiting[0].done():
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            wait(waiting)

    def _send(self, job: Job) -> Future[Result]:
        try:
            with safepath.inherited():  # processes start with the first jobs
                future = self._pool().submit(self._function, job)
        except BrokenProcessPool:
            raise lost_worker() from None
        self._running.add(future)
        self._collect(self._count + WAITING_JOBS - 1)
        return future

    def _pool(self) -> Executor:
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self._count,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=serve_parent,
            )
        return self._executor

    def _collect(self, allowed: int) -> None:
        """Wait until at most so many jobs are under way."""
        while len(self._running) > allowed:
            done, self._running = wait(self._running, return_when=FIRST_COMPLETED)
            for future in done:
                self._result(future)

    def _result(self, future: Future[Result]) -> Result:
        try:
            return future.result()
        except BrokenProcessPool:
            raise lost_worker() from None


def lost_worker() -> JagptError:
    """The message for a worker that ended before its job did."""
    return JagptError(
        "a worker process died (killed, or out of memory); finished work is kept: run the same "
        "command again, with fewer workers if memory was short (--set execution.workers=1)"
    )


def _stop(executor: Executor) -> None:
    """End the workers without waiting for their jobs."""
    # Python 3.14 has terminate_workers(); before, only the private table knows them
    for process in list((getattr(executor, "_processes", None) or {}).values()):
        process.terminate()


def serve_parent() -> None:
    """Let only the parent decide when this process ends: it handles Ctrl-C, and its own end, even
    by `kill -9`, is this one's too (else a worker would wait for jobs for ever)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_sentinels([parent.sentinel])
        os._exit(1)
