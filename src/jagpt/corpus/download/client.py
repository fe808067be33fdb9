"""HTTP with retries: redirects, failures that pass, and waits that a server asks for.

The Wikimedia dump server refuses requests whose User-Agent does not describe the program
(https://foundation.wikimedia.org/wiki/Policy:Wikimedia_Foundation_User-Agent_Policy; enforced on
dumps since June 2026, https://phabricator.wikimedia.org/T427836), hence `USER_AGENT`.
"""

from __future__ import annotations

import email.utils
import functools
import re
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import httpx2

from jagpt import __version__, units
from jagpt.errors import StorageError
from jagpt.progress import QUIET, Progress

USER_AGENT = f"jagpt/{__version__} (+https://pypi.org/project/jagpt; dump downloader) httpx2"
LONGEST_DOCUMENT = 64 * 1024 * 1024
"""Most bytes read of a catalogue or list (English Wikipedia's has a few hundred KB)."""

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_ASKS_TO_WAIT = frozenset({429, 503})
_GONE = frozenset({404, 410})
_MOST_REDIRECTS = 5


@dataclass(frozen=True)
class Patience:
    """How long a client waits, in seconds, and how often it tries before giving up."""

    tries: int = 7
    """Consecutive failures, with nothing new received, that end the work."""
    first_wait: float = 1.0
    longest_wait: float = 60.0
    longest_asked_wait: float = 600.0
    """Longest wait; a server that asks for more (Retry-After) ends the work."""
    connect_timeout: float = 20.0
    read_timeout: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.time


class PassingError(Exception):
    """A failure that may not recur on retry; `wait` holds the seconds that the server asks for.

    Never leaves this package: `Attempts` turns the last one into a `StorageError`.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class MissingError(StorageError):
    """The server has nothing at this URL (404, 410)."""


class Attempts:
    """Counts the failures of one task and waits longer after each."""

    def __init__(self, what: str, patience: Patience, progress: Progress) -> None:
        self.what, self.patience, self.progress = what, patience, progress
        self._failures = 0

    def moved_on(self) -> None:
        """Something new was received: reset the count of failures."""
        self._failures = 0

    def failed(self, error: PassingError) -> None:
        """Wait before the next try; `StorageError` after too many failures or if the wait is too
        long.
        """
        self._failures += 1
        patience = self.patience
        if self._failures >= patience.tries:
            raise StorageError(
                f"{self.what}: {error} ({units.counted(self._failures, 'try', 'tries')}); check "
                "the network, then run the same command again: what was received is kept"
            ) from error
        wait = min(patience.first_wait * 2.0 ** (self._failures - 1), patience.longest_wait)
        if error.wait is not None:
            wait = max(wait, error.wait)
        if wait > max(patience.longest_wait, patience.longest_asked_wait):
            raise StorageError(
                f"{self.what}: {error}, and the server asks to wait {wait:,.0f} s; run the same "
                "command again then, or choose another server with --mirror"
            ) from error
        self.progress.say(f"{self.what}: {error}; trying again in {wait:,.0f} s")
        patience.sleep(wait)


class Client:
    """A connection pool that identifies itself and reports what went wrong; close it after use."""

    def __init__(self, patience: Patience | None = None, progress: Progress = QUIET) -> None:
        self.patience, self.progress = patience or Patience(), progress
        self._http = httpx2.Client(
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
            timeout=httpx2.Timeout(
                self.patience.read_timeout, connect=self.patience.connect_timeout
            ),
            follow_redirects=False,
            verify=_trusted(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.close()

    def attempts(self, what: str) -> Attempts:
        """A counter of failures for one task, with this client's limits."""
        return Attempts(what, self.patience, self.progress)

    def document(self, url: str) -> bytes | None:
        """A small document, None if there is none; `StorageError` if it cannot be fetched."""
        attempts = self.attempts(url)
        while True:
            try:
                return self._read(url)
            except MissingError:
                return None
            except PassingError as failure:
                attempts.failed(failure)

    def length(self, url: str) -> int:
        """The size in bytes of what is at `url`, without reading it."""
        attempts = self.attempts(url)
        while True:
            try:
                with self.open(url, method="HEAD") as response:
                    return _told_length(response, url)
            except PassingError as failure:
                attempts.failed(failure)

    def _read(self, url: str) -> bytes:
        content = bytearray()
        with self.open(url) as response:
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > LONGEST_DOCUMENT:
                    raise StorageError(
                        f"{url}: over {LONGEST_DOCUMENT:,} bytes; this is not a list"
                    )
        return bytes(content)

    @contextmanager
    def open(
        self, url: str, headers: Mapping[str, str] | None = None, method: str = "GET"
    ) -> Iterator[httpx2.Response]:
        """One attempt at a response with a body to read (200, 206) or for a missing range (416).

        Raises `PassingError` for a temporary failure, also while the block reads,
        `MissingError` for 404 and 410, `StorageError` for any other refusal.
        """
        try:
            response = self._follow(self._http.build_request(method, url, headers=headers))
            try:
                self._check(response, url)
                yield response
            finally:
                response.close()
        except httpx2.TransportError as error:
            raise PassingError(_transport_reason(error)) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise StorageError(f"{url}: {error}") from error

    def _follow(self, request: httpx2.Request) -> httpx2.Response:
        """The response after all redirects, which must lead to http(s) and never away from
        https.
        """
        origin = str(request.url)
        for _ in range(_MOST_REDIRECTS + 1):
            response = self._http.send(request, stream=True)
            if not response.has_redirect_location:
                return response
            response.close()
            place = response.headers["Location"]
            following = response.next_request
            allowed = {"https"} if request.url.scheme == "https" else {"http", "https"}
            if following is None or following.url.scheme not in allowed:
                raise StorageError(f"{origin}: redirected to {place!r}, which is not followed")
            request = following
        raise StorageError(f"{origin}: more than {_MOST_REDIRECTS} redirects, last to {place!r}")

    def _check(self, response: httpx2.Response, url: str) -> None:
        status = response.status_code
        said = f"the server says {status} {response.reason_phrase}".rstrip()
        if status in (200, 206, 416):
            return
        if status in _PASSING:
            wait = self._asked_wait(response) if status in _ASKS_TO_WAIT else None
            raise PassingError(said, wait)
        if status in _GONE:
            raise MissingError(f"{url}: {said}")
        advice = "; choose another server with --mirror"
        raise StorageError(f"{url}: {said}{advice if status in (401, 403, 451) else ''}")

    def _asked_wait(self, response: httpx2.Response) -> float | None:
        """Retry-After in seconds from now: a number or an HTTP date (RFC 9110, section 10.2.3)."""
        asked = response.headers.get("Retry-After", "").strip()
        if asked.isascii() and asked.isdigit():
            return float(asked[:10])
        try:
            moment = email.utils.parsedate_to_datetime(asked).timestamp()
        except (ValueError, OverflowError):
            return None
        return max(0.0, moment - self.patience.now())


@functools.cache
def _trusted() -> ssl.SSLContext:
    """The system's certificates, read once."""
    return httpx2.create_ssl_context()


def _told_length(response: httpx2.Response, url: str) -> int:
    told = response.headers.get("Content-Length", "")
    if not re.fullmatch(r"0*[1-9][0-9]{0,14}", told):
        raise StorageError(
            f"{url}: the server does not give its size; choose another server with --mirror"
        )
    return int(told)


def _transport_reason(error: httpx2.TransportError) -> str:
    """What happened on the connection, in words; the library's own text is often empty."""
    if isinstance(error, httpx2.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, httpx2.TimeoutException):
        return "no data arrived in time"
    return str(error) or type(error).__name__
