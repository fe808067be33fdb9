"""What gradio keeps for each visitor until it is fetched: so much, and no more.

gradio puts each update of the page in a queue of the visitor's session, whether or not anyone is
there to read it, and forgets no session before 2,000 others came. Here a session has a small box,
boxes that nobody empties go, and whoever serves can see whether the visitor listens.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from jagpt.playground import desk

SESSIONS = 256
"""Visitors whose last request and messages gradio keeps; a stranger can create one per request."""
MESSAGES = 32
"""Messages that wait in a box; whoever listens has one or two."""


class Box(asyncio.Queue[Any]):
    """The messages of a session; those that do not fit are dropped."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._since = clock()

    def unread(self) -> float:
        """Seconds for which there was something to fetch and nobody fetched anything."""
        return 0.0 if self.empty() else self._clock() - self._since

    def put_nowait(self, item: Any) -> None:
        if self.empty():
            self._since = self._clock()
        if self.qsize() < MESSAGES:
            super().put_nowait(item)

    def _get(self) -> Any:
        self._since = self._clock()
        return super()._get()


class Boxes(dict[str, Box]):
    """The boxes by session, in the place of gradio's own mapping."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._events: dict[str, set[str]] = {}

    def replace(self, queue: Any) -> None:
        """Keep the messages of gradio's queue from now on."""
        self._events = queue.pending_event_ids_session
        queue.pending_messages_per_session = self
        queue.ANALYTICS_MAX_EVENTS = SESSIONS  # it keeps 10,000, with their sessions' names

    def listens(self, session: str) -> Callable[[], bool]:
        """Whether the session's visitor has fetched everything, each time it is asked.

        A request that is answered directly has no box.
        """
        box = self.get(session)
        return lambda: box is None or (self.get(session) is box and box.empty())

    def __setitem__(self, session: str, _queue: object) -> None:
        for known in [known for known, box in self.items() if box.unread() > desk.GONE]:
            del self[known]
        while len(self) >= SESSIONS:
            del self[min(self, key=self._worth)]
        super().__setitem__(session, Box(self._clock))

    def __delitem__(self, session: str) -> None:
        super().__delitem__(session)
        self._events.pop(session, None)

    def __missing__(self, _session: str) -> Box:
        """What is still sent to a session whose box is gone is lost, and no error."""
        return Box(self._clock)

    def _worth(self, session: str) -> tuple[bool, float]:
        """First go those that wait for nothing, then those that have not listened for longest."""
        return bool(self._events.get(session)), -self[session].unread()
