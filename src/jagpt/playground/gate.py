"""What a request must look like before gradio sees it, and what every answer carries.

A page without a login is open to whoever reaches its port, and one on loopback to every page
in the same browser. So the Host header must be one of our names (against DNS rebinding), requests
from other origins are refused, the size of a body is limited before it is read, and only the routes
that we need exist.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from jagpt.errors import UsageError
from jagpt.playground.limits import Limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Any, Any, Send], Awaitable[None]]

PATHS: Mapping[str, tuple[str, ...]] = {
    "GET": (
        "/", "/config", "/favicon.ico", "/theme.css", "/assets/*", "/static/*",
        "/gradio_api/info", "/gradio_api/heartbeat/*", "/gradio_api/queue/data",
        "/gradio_api/call/generate/*",
    ),
    "HEAD": ("/",),
    "POST": (
        "/gradio_api/queue/join", "/gradio_api/run/*", "/gradio_api/call/generate",
        "/gradio_api/cancel", "/gradio_api/reset",
    ),
}  # fmt: skip
"""What the page requests; `*` stands for anything except `..`."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
BODY_SECONDS = 10.0
"""Seconds within which a body must arrive; it is small."""
LINGER_SECONDS = 1.0
"""Seconds for which a body that is too long is still read."""
ESCAPED = 12
"""Most bytes of a character in JSON (two escapes of six)."""
OTHER_FIELDS = 4096
"""Bytes of a request besides its prompt."""
EMBEDDED_BY = {"SPACE_HOST": "https://huggingface.co"}
"""Environment variable of a host that shows the page in a frame → who may do so."""

_NAMED = re.compile(r"(?:\[([^\[\]]+)\]|([^\s\x00-\x1f\x7f:/?#@*\[\]\\]+))(?::[0-9]*)?")
"""An address in brackets or a name, and a port."""

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self'; worker-src 'self' blob:; frame-src 'none'; object-src 'none'; "
    "base-uri 'self'; form-action 'none'; frame-ancestors "
)
"""gradio needs inline code; this forbids loading from and sending to anywhere else."""


class _RefusedError(Exception):
    """A request that is answered here: status and reason."""

    def __init__(self, status: int, reason: str) -> None:
        self.status, self.reason = status, reason
        super().__init__(reason)


def guarded(app: Asgi, limits: Limits, is_ours: Callable[[str], bool]) -> Asgi:
    """The application behind the gate, which only answers to our own host names."""
    most = ESCAPED * limits.prompt_characters + OTHER_FIELDS
    headers = _headers()

    async def answer(scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # websockets: closed before they are opened
        answering = _Answer(send, headers)
        try:
            body = await asyncio.wait_for(_body(scope, receive, most), BODY_SECONDS)
            _check(scope, is_ours)
        except _RefusedError as error:
            await _refuse(answering.send, error.status, error.reason)
        except TimeoutError:
            await _refuse(answering.send, 408, "the request took too long")
        else:
            await answering.by(app, scope, _again(body, receive))

    return answer


def host_names(host: str, further: Collection[str] = ()) -> Callable[[str], bool]:
    """Whether a page that listens on `host` may be requested under a name.

    Beyond loopback an IP address is always accepted: it cannot be rebound. Raises `UsageError` for
    a further name that no request can have.
    """
    names = {*LOOPBACK, *map(_requested, further)}
    names |= {os.environ[v] for v in EMBEDDED_BY if v in os.environ}
    if host not in LOOPBACK:
        names |= {host, socket.gethostname(), socket.getfqdn()}
    known = {name.lower().rstrip(".") for name in names}
    return lambda name: name in known or (host not in LOOPBACK and _is_address(name))


def _requested(name: str) -> str:
    """A further name as a browser sends it: in ASCII, without a port and brackets."""
    if _is_address(name):
        return str(ipaddress.ip_address(name))
    named = _NAMED.fullmatch(name)
    host = (named[1] or named[2]) if named else name
    if _is_address(host):
        return str(ipaddress.ip_address(host))
    try:
        sent = host.encode("idna").decode("ascii")
    except ValueError:
        sent = ""
    if named is None or named[1] or not sent:
        raise UsageError(
            f"--name {name!r}: give the host alone, without scheme, path or *, such as example.org"
        )
    return sent


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_abbreviated(host: str) -> bool:
    """Whether the system takes it for an IPv4 address although it is none: 0 for 0.0.0.0."""
    try:
        socket.inet_aton(host)
    except (OSError, ValueError):
        return False
    return not _is_address(host)


# --- what is let in -------------------------------------------------------------------------------


def _check(scope: Any, is_ours: Callable[[str], bool]) -> None:
    given: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        given.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    hosts = given.get("host", [])
    if len(hosts) != 1 or not is_ours((_parts(f"//{hosts[0]}").hostname or "").rstrip(".")):
        raise _RefusedError(421, "this page is not served under that name (--name adds one)")
    origins = given.get("origin", [])
    if any(_parts(origin).netloc.lower() != hosts[0].lower() for origin in origins):
        raise _RefusedError(403, "requests from other pages are refused")
    foreign = {"cross-site", "same-site"} & set(given.get("sec-fetch-site", []))
    if foreign and given.get("sec-fetch-mode") != ["navigate"]:
        raise _RefusedError(403, "requests from other pages are refused")
    if not _is_known(scope["method"], scope["path"]):
        raise _RefusedError(404, "there is nothing here")


def _parts(url: str) -> SplitResult:
    """The parts of a URL; one that is not valid has none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _is_known(method: str, path: str) -> bool:
    if ".." in path.split("/"):
        return False
    return any(
        path.startswith(known[:-1])
        if known.endswith("*")
        else path.rstrip("/") == known.rstrip("/")
        for known in PATHS.get(method, ())
    )


async def _body(scope: Any, receive: Receive, most: int) -> bytes:
    """The whole body, if it is not longer than `most`."""
    lengths = [value for name, value in scope["headers"] if name.lower() == b"content-length"]
    fits = all(length.isdigit() and int(length) <= most for length in lengths)
    body: bytes = b""
    while fits:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _RefusedError(400, "the request broke off")
        body += message.get("body", b"")
        fits = len(body) <= most
        if fits and not message.get("more_body", False):
            return body
    with suppress(TimeoutError):
        await asyncio.wait_for(_drop(receive), LINGER_SECONDS)
    raise _RefusedError(413, f"a request of more than {most:,} bytes")


async def _drop(receive: Receive) -> None:
    """Keep reading without storing anything: a client that is still sending when we close never
    sees the answer.
    """
    while (await receive()).get("more_body", False):
        pass


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` with the body that was already read."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return waiting.pop() if waiting else await receive()

    return again


# --- what goes out --------------------------------------------------------------------------------


def _headers() -> list[tuple[bytes, bytes]]:
    embedders = [url for name, url in EMBEDDED_BY.items() if name in os.environ]
    headers = {
        "content-security-policy": POLICY + " ".join(embedders or ["'none'"]),
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
    }
    if not embedders:
        headers["x-frame-options"] = "DENY"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class _Answer:
    """An answer with our headers, without those by which gradio admits other origins."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send, self._headers = send, headers
        self._ours = {name for name, _ in headers}
        self._whole = False

    async def by(self, app: Asgi, scope: Any, receive: Receive) -> None:
        """Let the application answer.

        An error after a whole answer ends here: uvicorn would cut the connection, and with it a
        request that is already under way.
        """
        try:
            await app(scope, receive, self.send)
        except Exception as error:
            if not self._whole:
                raise
            logging.getLogger(__name__).error("answered with an error", exc_info=error)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            theirs = [
                (name, value)
                for name, value in message.get("headers", ())
                if name.lower() not in self._ours
                and not name.lower().startswith(b"access-control-")
            ]
            message["headers"] = [*theirs, *self._headers]
        await self._send(message)
        body = message["type"] == "http.response.body"
        self._whole |= body and not message.get("more_body", False)


async def _refuse(send: Send, status: int, reason: str) -> None:
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": f"{reason}\n".encode()})
