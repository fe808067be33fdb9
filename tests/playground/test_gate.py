"""Raw HTTP against a running playground: other pages, other names, large bodies, slow clients."""

from __future__ import annotations

import json
import math
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from jagpt.errors import UsageError
from jagpt.playground import boxes, gate
from jagpt.playground.limits import Limits

JOIN = "/gradio_api/call/generate"
DATA = {"data": ["京都", 4, 1.0, 50, 0.9, 1.0, 1, 0, True]}
CONNECTIONS = 500


@pytest.fixture(scope="module")
def served(start: Callable[..., Any]) -> Any:
    return start(0.01)


@pytest.fixture
def client(served: Any) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.url, timeout=60, trust_env=False) as opened:
        yield opened


def raw(url: str, data: bytes) -> socket.socket:
    """A connection on which so much was sent."""
    place = urlsplit(url)
    connection = socket.create_connection((place.hostname, place.port), timeout=60)
    connection.sendall(data)
    return connection


def status(connection: socket.socket) -> int:
    with connection:
        found = re.match(rb"HTTP/1\.1 (\d{3}) ", connection.recv(65536))
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(
    "name", ["evil.example", "localhost.evil.example", "10.0.0.1", "", "[::2]"]
)
@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info"])
def test_another_host_name_is_refused(client: httpx2.Client, name: str, path: str) -> None:
    answer = client.get(path, headers={"host": name})
    assert answer.status_code == 421
    assert "access-control-allow-origin" not in answer.headers


def test_own_names_are_answered_with_any_port(client: httpx2.Client) -> None:
    for name in ("localhost", "localhost:8000", "127.0.0.1", "LOCALHOST.", "[::1]:7860"):
        assert client.get("/", headers={"host": name}).status_code == 200


def test_a_request_with_two_host_names_or_none_is_refused(served: Any) -> None:
    head = b"GET / HTTP/1.1\r\n"
    assert status(raw(served.url, head + b"\r\n")) == 400
    two = b"Host: localhost\r\nHost: evil.example\r\n\r\n"
    assert status(raw(served.url, head + two)) in (400, 421)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "http://localhost:1"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_what_another_page_sends_is_refused(client: httpx2.Client, headers: dict[str, str]) -> None:
    answer = client.post(JOIN, json=DATA, headers=headers)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers


def test_the_own_page_may_ask_and_a_link_from_elsewhere_leads_here(client: httpx2.Client) -> None:
    own = str(client.base_url).rstrip("/")
    same = {"origin": own, "sec-fetch-site": "same-origin"}
    answer = client.post(JOIN, json=DATA, headers=same)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control-")]
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert client.get("/", headers=link).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/upload_progress?upload_id=x"),
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/file=/etc/passwd"),
        ("GET", "/gradio_api/proxy=https://evil.example"),
        ("GET", "/gradio_api/stream/a/b/c/playlist-file"),
        ("POST", "/gradio_api/component_server"),
        ("GET", "/openapi.json"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/docs"),
        ("GET", "/monitoring"),
        ("GET", "/assets/../../../../etc/passwd"),
        ("GET", "/assets/..%2f..%2f..%2fetc/passwd"),
        ("GET", "/static/%2e%2e/%2e%2e/etc/passwd"),
        ("PUT", "/"),
        ("DELETE", "/gradio_api/queue/join"),
        ("OPTIONS", "/gradio_api/queue/join"),
    ],
)
def test_routes_that_the_page_does_not_need_do_not_exist(
    served: Any, method: str, path: str
) -> None:
    host = urlsplit(served.url).netloc
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
    assert status(raw(served.url, head.encode())) == 404


def test_every_answer_carries_the_policy(client: httpx2.Client) -> None:
    for path, code in (("/", 200), ("/nowhere", 404)):
        answer = client.get(path)
        assert answer.status_code == code
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("told", [True, False], ids=["with its length", "in chunks"])
def test_a_large_body_is_refused_before_it_is_read(served: Any, told: bool) -> None:
    process = psutil.Process(served.process.pid)
    host = urlsplit(served.url).netloc
    before = process.memory_info().rss
    length = "Content-Length: 600000000" if told else "Transfer-Encoding: chunked"
    head = f"POST {JOIN} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n\r\n".encode()
    chunk = b"x" * 100_000
    connection = raw(served.url, head)
    if not told:
        for _ in range(20):
            try:
                connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            except OSError:
                break
    assert status(connection) == 413
    assert process.memory_info().rss - before < 20e6


def test_the_longest_prompt_is_let_in_however_it_is_escaped(client: httpx2.Client) -> None:
    prompt = "\N{GRINNING FACE}" * Limits().prompt_characters
    body = json.dumps({"data": [prompt, *DATA["data"][1:]]}, ensure_ascii=True)
    headers = {"content-type": "application/json"}
    assert client.post(JOIN, content=body, headers=headers).status_code == 200


def test_refused_prompts_do_not_stay_in_memory(served: Any, client: httpx2.Client) -> None:
    process = psutil.Process(served.process.pid)
    body = {"data": ["x" * 100_000, *DATA["data"][1:]]}
    for _ in range(boxes.SESSIONS):
        client.post(JOIN, json=body).raise_for_status()
    before = process.memory_info().rss
    for _ in range(boxes.SESSIONS):
        client.post(JOIN, json=body).raise_for_status()
    assert process.memory_info().rss - before < 10e6  # of 26 MB that were sent


def test_slow_clients_and_many_connections_leave_it_serving(
    served: Any, client: httpx2.Client
) -> None:
    host = urlsplit(served.url).netloc
    half = f"POST {JOIN} HTTP/1.1\r\nHost: {host}\r\n"
    with ExitStack() as stack:
        for number in range(CONNECTIONS):
            sent = ("", "GET / HT", half, f"{half}Content-Length: 100\r\n\r\n{{")[number % 4]
            stack.enter_context(raw(served.url, sent.encode()))
        begun = time.monotonic()
        assert client.get("/").status_code == 200
        assert client.post(JOIN, json=DATA).status_code == 200
        assert time.monotonic() - begun < 20


def test_a_body_that_does_not_come_and_a_head_that_does_not_end_are_given_up(
    monkeypatch: pytest.MonkeyPatch, tiny_model: Path
) -> None:
    import asyncio

    from jagpt.playground import ending
    from jagpt.playground.desk import Desk

    async def hello(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    monkeypatch.setattr(ending, "HEADER_SECONDS", 0.5)
    monkeypatch.setattr(gate, "BODY_SECONDS", 0.5)

    async def try_it() -> tuple[bytes, bytes, bytes]:
        desk = Desk(1)
        server = ending.Server(gate.guarded(hello, Limits(), gate.host_names("127.0.0.1")), desk)
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:
            await asyncio.sleep(0.01)

        async def answer(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            try:
                return await asyncio.wait_for(reader.read(), 20)
            except ConnectionError:
                return b""
            finally:
                writer.close()

        head = b"Host: localhost\r\n"
        found = await asyncio.gather(
            answer(b"GET / HTTP/1.1\r\n"),
            answer(b"POST /gradio_api/reset HTTP/1.1\r\nContent-Length: 9\r\n" + head + b"\r\n{"),
            answer(b"GET / HTTP/1.1\r\n" + head + b"\r\nGET /"),
        )
        server.should_exit = True
        await running
        desk.close()
        return found

    head, body, second = asyncio.run(try_it())
    assert head == b""
    assert body.startswith(b"HTTP/1.1 408")
    assert second.startswith(b"HTTP/1.1 200")
    assert b"hello" in second


def test_beyond_loopback_addresses_and_given_names_are_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    local = gate.host_names("127.0.0.1", ["Models.example."])
    assert local("models.example")
    assert not local("192.0.2.7")
    public = gate.host_names("0.0.0.0")  # noqa: S104
    assert public("192.0.2.7")
    assert public(socket.gethostname().lower())
    assert not public("evil.example")
    monkeypatch.setenv("SPACE_HOST", "me-mine.hf.space")
    assert gate.host_names("0.0.0.0")("me-mine.hf.space")  # noqa: S104


@pytest.mark.parametrize(
    ("given", "requested"),
    [
        ("example.org:8443", "example.org"),
        ("Example.org.", "example.org"),
        ("例え.jp", "xn--r8jz45g.jp"),
        ("ä.example:80", "xn--4ca.example"),
        ("[2001:db8::1]:8443", "2001:db8::1"),
        ("2001:0DB8:0::1", "2001:db8::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("my_host", "my_host"),
    ],
)
def test_a_further_name_is_known_as_browsers_send_it(given: str, requested: str) -> None:
    assert gate.host_names("127.0.0.1", [given])(requested)


@pytest.mark.parametrize(
    "name",
    ["", ".", "https://example.org", "example.org/x", "*.example.org", "a b", "u@example.org",
     "example.org:x", "[example]", "[::1", "a..b", "a" * 64, "a\0b"],
)  # fmt: skip
def test_a_further_name_that_no_request_can_have_is_told(name: str) -> None:
    with pytest.raises(UsageError, match=r"--name .*: give the host alone"):
        gate.host_names("127.0.0.1", [name])


SENT = "sent-by-a-stranger"


def malformed() -> Iterator[tuple[str, bytes]]:
    """Requests (path, body) that no page sends."""
    data: list[Any] = DATA["data"]
    session = {"session_hash": SENT}
    bodies: list[Any] = [
        None, [], 1, SENT, {}, {"data": None}, {"data": SENT}, {"data": {}}, {"data": [SENT]},
        {"data": data + [SENT] * 99}, {"data": [[SENT]] * 10}, {"data": [{"path": SENT}] * 10},
        {"data": [None] * 10}, {"data": [SENT * 100] * 10}, {"data": [10**400] * 10},
        {"data": [math.nan] * 10}, {"data": [math.inf] * 10}, {"data": [-1] * 10},
        *({**session, "data": data, "fn_index": index} for index in (-1, 0, 1, 2, 3, 99, SENT)),
        *({**session, "data": [], "fn_index": index} for index in range(6)),
        {"data": data, "session_hash": [SENT]}, {"data": data, "event_data": SENT},
        {"data": data, "trigger_id": SENT, "simple_format": SENT, "batched": True},
        {"event_id": SENT, "fn_index": 0, **session}, {"event_id": SENT},
    ]  # fmt: skip
    paths = (JOIN, *(f"/gradio_api/{path}" for path in (
        "queue/join", "run/generate", "run/greet", f"run/{SENT}", "cancel",
    )))  # fmt: skip
    for path in paths:
        for body in bodies:
            yield path, json.dumps(body).encode()
        for text in (b"", b"{", b"\xff\xfe" + SENT.encode(), b"[" * 50_000, SENT.encode()):
            yield path, text


def test_a_stranger_cannot_fill_the_log_nor_write_in_it(served: Any, client: httpx2.Client) -> None:
    before = served.log.stat().st_size
    sent = 0
    for path, body in malformed():
        client.post(path, content=body, headers={"content-type": "application/json"})
        sent += 1
    for _ in range(100):
        with raw(served.url, f"{SENT}\r\n\r\n".encode()) as connection:
            connection.recv(100)
    assert client.post(JOIN, json=DATA).status_code == 200
    added = served.log.read_bytes()[before:].decode()
    lines = added.splitlines()
    assert sent > 200
    assert lines
    assert len(lines) < 60
    assert len(added) < 100 * len(lines)
    assert SENT not in added
    assert "Traceback" not in added
