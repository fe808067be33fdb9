"""A uvicorn server that ends at once: open pages keep a connection, which is not waited for."""

from __future__ import annotations

import logging
import socket
from typing import Any

import uvicorn

from jagpt.playground.desk import Desk

PATIENCE = 1
"""Seconds that open connections get after a signal."""


class Server(uvicorn.Server):
    """Stops the desk's jobs first, and does not complain of the connections that it cuts."""

    def __init__(self, application: Any, desk: Desk) -> None:
        super().__init__(
            uvicorn.Config(application, log_level="warning", timeout_graceful_shutdown=PATIENCE)
        )
        self._desk = desk

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._desk.stop_all()
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        await super().shutdown(sockets)
