"""moto's S3 server, with faults: what a network and a store do on bad days.

A fault is given for the requests that a test means: refused (503), cut (the connection goes in the
middle of a request or an answer), slow, an old listing, or an answer of S3's own errors.
"""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import escape

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Fault = Callable[[Wsgi, dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class S3Server:
    """A server on this machine; `requests` are those that came, as "GET /bucket/key"."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.faults: Callable[[int, str], Fault | None] = lambda _number, _request: None
        """The fault for the request of a number, counted since `faulty` began."""
        self._app: Wsgi = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._server = make_server(
            "127.0.0.1", 0, self._serve, threaded=True, request_handler=_Silent
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @contextmanager
    def faulty(self, faults: Callable[[int, str], Fault | None]) -> Iterator[None]:
        """`faults(number, request)` says what happens to each request in the block."""
        before, self.faults, self.requests = self.faults, faults, []
        try:
            yield
        finally:
            self.faults = before

    def _serve(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        query = environ.get("QUERY_STRING", "")
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}{query and '?' + query}"
        with self._lock:
            self.requests.append(request)
            fault = self.faults(len(self.requests), request)
        return fault(self._app, environ, start) if fault else self._app(environ, start)

    def make_bucket(self, name: str) -> None:
        """A new bucket."""
        request = urllib.request.Request(f"{self.url}/{name}", method="PUT")  # noqa: S310
        with urllib.request.urlopen(request):  # noqa: S310
            pass

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Silent(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        """Nothing."""


def error(status: str, code: str, message: str) -> Fault:
    """S3's own answer to what it refuses."""

    def fault(app: Wsgi, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        del app
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        body = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>".encode()
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else body
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    return fault


refused = error("503 Service Unavailable", "ServiceUnavailable", "Please try again later")
wrong_key = error(
    "403 Forbidden", "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist."
)
wrong_clock = error(
    "403 Forbidden",
    "RequestTimeTooSkewed",
    "The difference between the request time and the current time is too large.",
)


def cut(app: Wsgi, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """The request is done, but its answer breaks off after half of it."""
    answer: list[Any] = []
    body = b"".join(app(environ, lambda status, headers, *_: answer.extend((status, headers))))
    start(*answer)
    yield body[: len(body) // 2]
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)


def lost(app: Wsgi, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """The connection goes before the request is read: nothing was done."""
    del app, start
    environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
    return []


def slow(seconds: float) -> Fault:
    """The answer takes its time."""

    def fault(app: Wsgi, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        time.sleep(seconds)
        return app(environ, start)

    return fault


class OldListings:
    """Each listing is what the one before was: what was written since is not in it, what was
    deleted is."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[Any, bytes]] = {}

    def __call__(self, _number: int, request: str) -> Fault | None:
        return self._fault if request.startswith("GET") and "list-type=2" in request else None

    def _fault(
        self, app: Wsgi, environ: dict[str, Any], start: Callable[..., Any]
    ) -> Iterable[bytes]:
        answer: list[Any] = []
        body = b"".join(app(environ, lambda status, headers, *_: answer.extend((status, headers))))
        key = environ["PATH_INFO"] + environ["QUERY_STRING"]
        told, body = self._before.setdefault(key, (answer, body)), body
        self._before[key] = (answer, body)
        start(*told[0])
        return [told[1]]
