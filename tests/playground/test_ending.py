"""Connections of all kinds, in the real server in front of a small application."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from jagpt.playground import Desk

pytest.importorskip("uvicorn", reason="needs the extra jagpt[playground]")

from jagpt.playground import ending

LATE = 0.6
"""Seconds that a slow answer takes."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """`/` is answered at once, `/slow` in two parts, `/endless` for as long as anyone listens."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    if scope["path"] == "/slow":
        await asyncio.sleep(LATE)
    if scope["path"] == "/endless":
        while (await receive())["type"] != "http.disconnect":
            pass
    await send({"type": "http.response.body", "body": b"ended"})


def served(scene: Callable[[int], Awaitable[None]]) -> None:
    """Play a scene with the server's port."""

    async def play() -> None:
        desk = Desk(1)
        server = ending.Server(application, desk)
        listening = socket.create_server(("127.0.0.1", 0))
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)
        try:
            await asyncio.wait_for(scene(listening.getsockname()[1]), 60)
        finally:
            server.should_exit = True
            await running
            desk.close()

    asyncio.run(play())


def test_a_crowd_may_wait_to_be_accepted() -> None:
    async def scene(port: int) -> None:
        visitors = [socket.socket() for _ in range(3 * ending.BACKLOG)]
        for visitor in visitors:  # the server accepts none meanwhile
            visitor.settimeout(5)
            visitor.connect(("127.0.0.1", port))
        for visitor in visitors:
            visitor.close()

    served(scene)


async def asking(
    port: int, *paths: str, own: str = "127.0.0.1"
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which paths were asked for, all at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(own, 0))
    writer.writelines(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode() for path in paths)
    return reader, writer


async def hung_up(*writers: asyncio.StreamWriter) -> None:
    for writer in writers:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def test_an_answer_to_a_request_sent_ahead_may_take_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "HEADER_SECONDS", LATE / 3)

    async def scene(port: int) -> None:
        reader, writer = await asking(port, "/", "/slow")
        assert (await reader.read()).count(b"ended") == 2  # to the end: nothing follows in time
        await hung_up(writer)

    served(scene)


@pytest.mark.parametrize("path", ["/endless", ""])
def test_of_too_many_connections_the_oldest_of_the_crowd_goes(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(ending, "most_connections", lambda: 8)

    async def scene(port: int) -> None:
        quiet, held = await asking(port, "/endless", own="127.0.0.2")
        await quiet.readuntil(b"begun")
        crowd = [await asking(port, *[path] * bool(path)) for _ in range(20)]
        await crowd[0][0].read()  # to its end
        reader, asked = await asking(port, "/")
        await reader.readuntil(b"ended")
        assert not quiet.at_eof()
        await hung_up(held, asked, *(each for _, each in crowd))

    served(scene)


@pytest.mark.parametrize(
    ("files", "most"), [(100, 33), (256, 85), (1024, 768), (20_000, 1000), (-1, 1000)]
)
def test_connections_leave_open_files_for_the_rest(
    monkeypatch: pytest.MonkeyPatch, files: int, most: int
) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limit of open files")
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (files, files))
    assert ending.most_connections() == most
