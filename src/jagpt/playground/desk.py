"""Who is served, who waits, and who is asked to come again.

One job computes at a time. Everything except the computation runs in one event loop, so that no
lock is needed; a visitor who silently left, or does not listen, loses the place after a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from jagpt.playground.job import Job

SLICE = 0.2
"""Seconds of work between two updates of the page."""
POLL = 0.1
"""Seconds between two checks by a waiting visitor."""
GONE = 10.0
"""Seconds after which a visitor counts as gone who asks for no progress, or does not fetch it."""


class BusyError(Exception):
    """All places are taken; come back later."""


@dataclass(eq=False)
class Ticket:
    """A place in the queue.

    `seen` is when its progress was last asked for, `heard` when all of it had been fetched.
    """

    session: str
    listens: Callable[[], bool]
    seen: float
    heard: float
    working: bool = False
    stopped: bool = False


class Desk:
    """Serves jobs one after the other; `places` more may wait."""

    def __init__(self, places: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._clock = clock
        self._tickets: deque[Ticket] = deque()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="playground")

    async def serve(
        self, session: str, job: Job, listens: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[int | None]:
        """Yields how many are ahead while the job waits, then None each time it has made progress.

        Nothing begins and nothing is yielded while the visitor has not fetched what was yielded
        before (`listens`), except for the end. A session's earlier job stops. Raises `BusyError` at
        once if all places are taken.
        """
        self.stop(session)
        ticket = self._enter(session, listens)
        try:
            async for ahead in self._turn(ticket):
                yield ahead
            more = not ticket.stopped
            while more:
                more = await self._work(ticket, job)
                listening = self._listens(ticket)
                more = more and not ticket.stopped
                if listening:
                    yield None
        finally:
            job.stop()
            self._leave(ticket)
        yield None

    def stop(self, session: str) -> None:
        """End a session's job; what is done so far stays."""
        for ticket in self._tickets:
            if ticket.session == session:
                ticket.stopped = True

    def stop_all(self) -> None:
        """End every job; what is done so far stays."""
        for ticket in self._tickets:
            ticket.stopped = True

    def close(self) -> None:
        """End all jobs and the thread that computes."""
        self.stop_all()
        self._worker.shutdown(wait=True, cancel_futures=True)

    def _enter(self, session: str, listens: Callable[[], bool]) -> Ticket:
        self._drop_gone()
        if len(self._tickets) > self._places:
            raise BusyError
        now = self._clock()
        ticket = Ticket(session, listens, seen=now, heard=now)
        self._tickets.append(ticket)
        return ticket

    async def _turn(self, ticket: Ticket) -> AsyncIterator[int]:
        """The number of jobs ahead, whenever it changes, until there are none."""
        told = 0
        while not ticket.stopped:
            self._drop_gone()
            ticket.seen = self._clock()
            ahead = self._tickets.index(ticket) if ticket in self._tickets else 0
            if self._listens(ticket):
                if ahead == 0:
                    return
                if ahead != told:
                    told = ahead
                    yield ahead
            await asyncio.sleep(POLL)

    async def _work(self, ticket: Ticket, job: Job) -> bool:
        ticket.working = True
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._worker, job.advance, SLICE)
        finally:
            ticket.working, ticket.seen = False, self._clock()

    def _listens(self, ticket: Ticket) -> bool:
        """Whether the visitor has fetched everything; whoever has not for too long is stopped."""
        now = self._clock()
        if ticket.listens():
            ticket.heard = now
            return True
        ticket.stopped |= now - ticket.heard > GONE
        return False

    def _leave(self, ticket: Ticket) -> None:
        if ticket in self._tickets:
            self._tickets.remove(ticket)

    def _drop_gone(self) -> None:
        now = self._clock()
        for ticket in list(self._tickets):
            if not ticket.working and now - ticket.seen > GONE:
                ticket.stopped = True
                self._tickets.remove(ticket)
