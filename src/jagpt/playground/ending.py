"""A uvicorn server that slow or many clients cannot block, and that stops at once.

Open pages keep a connection, which is not waited for when stopping.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from jagpt.playground.desk import Desk

PATIENCE = 1
"""Seconds that open connections get after a signal."""
HEADER_SECONDS = 20.0
"""Seconds within which a connection must send a request, after it is opened or was last
answered.
"""
MOST_CONNECTIONS = 1000
BACKLOG = 100
"""Connections that are accepted at once, before any of them is counted."""
WAITING = 4096
"""Connections that the system keeps until they are accepted; of more, some visitors would get
none.
"""
OWN_FILES = 256
"""Open files that are kept for `BACKLOG` and for the server itself."""


def most_connections() -> int:
    """How many connections are held: the system's limit of open files leaves room for others."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MOST_CONNECTIONS
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return min(MOST_CONNECTIONS, max(files - OWN_FILES, files // 3))


class _Connection(H11Protocol):
    """Hangs up on a client that does not finish its request's headers, and on one of too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.opened = self.loop.time()
        self._make_room()
        self._wait(None)

    def on_response_complete(self) -> None:
        answered = self.cycle  # a request that was sent ahead takes its place
        super().on_response_complete()
        self._wait(answered)

    @property
    def address(self) -> str:
        return self.client[0] if self.client else ""

    def _make_room(self) -> None:
        """Of too many connections, the oldest goes of the address that has most.

        Refusing new ones instead would let whoever holds them keep out everyone else.
        """
        most = most_connections()
        if len(self.connections) <= most:
            return
        held = [
            each
            for each in self.connections
            if isinstance(each, _Connection) and not each.transport.is_closing()
        ]
        if len(held) > most:
            ((crowded, _),) = Counter(each.address for each in held).most_common(1)
            theirs = (each for each in held if each.address == crowded)
            min(theirs, key=lambda each: each.opened).transport.abort()

    def _wait(self, answered: Any) -> None:
        self.loop.call_later(HEADER_SECONDS, self._hang_up, answered)

    def _hang_up(self, answered: Any) -> None:
        if self.cycle is answered and not self.transport.is_closing():
            self.transport.abort()


class Server(uvicorn.Server):
    """Stops the desk's jobs first, and does not complain about the connections that it closes."""

    def __init__(self, application: Any, desk: Desk) -> None:
        super().__init__(
            uvicorn.Config(
                application,
                http=_Connection,
                ws="none",
                backlog=BACKLOG,
                log_config=None,  # `kept_short` sees what it logs
                log_level="warning",
                timeout_keep_alive=round(HEADER_SECONDS),
                timeout_graceful_shutdown=PATIENCE,
            )
        )
        self._desk = desk

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(WAITING)  # asyncio takes the number that it accepts at once for both

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.stop_all()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
