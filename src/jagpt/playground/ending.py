"""A uvicorn server that slow clients cannot block, and that stops at once.

Open pages keep a connection, which is not waited for when stopping.
"""

from __future__ import annotations

import asyncio
import logging
import socket
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


class _Connection(H11Protocol):
    """Hangs up on a client that does not finish its request's headers."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        self.loop.call_later(HEADER_SECONDS, self._hang_up, self.cycle)

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
                log_config=None,  # `kept_short` sees what it logs
                log_level="warning",
                timeout_keep_alive=round(HEADER_SECONDS),
                timeout_graceful_shutdown=PATIENCE,
            )
        )
        self._desk = desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.stop_all()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
