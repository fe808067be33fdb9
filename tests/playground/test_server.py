"""Many visitors at once, and the end."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx2
import psutil
import pytest

VISITORS = 200
MAX_GROWTH = 50e6
"""Bytes that the process may grow by while all of them are there."""


async def visit(client: httpx2.AsyncClient, url: str, tokens: int) -> str:
    """One request from beginning to end: the state in which its last answer was."""
    data = ["京都", tokens, 1.0, 50, 0.9, 1.0, 1, 0, True]
    asked = await client.post(f"{url}gradio_api/call/generate", json={"data": data})
    event = asked.raise_for_status().json()["event_id"]
    state = "none"
    async with client.stream("GET", f"{url}gradio_api/call/generate/{event}") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: ["):
                html = json.loads(line.removeprefix("data: "))[0]
                state = re.findall('data-state="([a-z-]+)"', html)[0]
            if line.startswith("event: complete"):
                break
    return state


def crowd(url: str, visitors: int, tokens: int) -> Counter[str]:
    async def all_at_once() -> list[str]:
        limits = httpx2.Limits(max_connections=2 * visitors)
        async with httpx2.AsyncClient(timeout=60, limits=limits, trust_env=False) as client:
            visits = asyncio.gather(*(visit(client, url, tokens) for _ in range(visitors)))
            return await asyncio.wait_for(visits, 300)

    return Counter(asyncio.run(all_at_once()))


@pytest.fixture(scope="module")
def served(start: Callable[..., Any]) -> Any:
    return start(0.05)


def test_each_of_a_crowd_is_served_or_told_to_come_again(served: Any) -> None:
    process = psutil.Process(served.process.pid)
    assert crowd(served.url, 3, 4) == {"done": 3}
    before = process.memory_info().rss
    found = crowd(served.url, VISITORS, 8)
    growth = process.memory_info().rss - before
    assert set(found) == {"done", "busy"}
    assert sum(found.values()) == VISITORS
    assert found["done"] >= 5
    assert growth < MAX_GROWTH
    assert crowd(served.url, 1, 4) == {"done": 1}


def test_those_who_never_fetch_their_answers_hold_neither_places_nor_memory(
    start: Callable[..., Any],
) -> None:
    deaf = start(0.2, gone=3.0)
    data = ["京都", 40, 1.0, 50, 0.9, 1.0, 4, 0, True]
    with httpx2.Client(base_url=deaf.url, timeout=60, trust_env=False) as client:

        def ask() -> str:
            answer = client.post("gradio_api/call/generate", json={"data": data})
            return str(answer.raise_for_status().json()["event_id"])

        unread = [ask() for _ in range(4)]
        assert crowd(deaf.url, 1, 4) == {"done": 1}
        for event in unread:
            kept = ""
            with (
                suppress(httpx2.RemoteProtocolError),  # what was kept is given up meanwhile
                client.stream("GET", f"gradio_api/call/generate/{event}") as answer,
            ):
                for part in answer.iter_text():
                    kept += part
            assert 'data-state=\\"refused' not in kept
            assert kept.count("event: generating") <= 1
            assert "jp-t p" not in kept.partition("jp-legend")[0]  # no token was made


@pytest.mark.parametrize("path", ["/gradio_api/upload", "/gradio_api/file=/etc/passwd", "/docs"])
def test_it_takes_no_files_and_gives_none(served: Any, path: str) -> None:
    url = served.url.rstrip("/") + path
    with httpx2.Client(timeout=60, trust_env=False) as client:
        if path.endswith("upload"):
            answer = client.post(url, files={"files": ("x.html", b"<script>" * 100)})
            assert answer.status_code >= 400
        else:
            answer = client.get(url)
            assert answer.status_code >= 400 or "root:" not in answer.text
        assert "default-src 'self'" in answer.headers["content-security-policy"]


def test_a_signal_ends_it_at_once_also_while_it_writes(served: Any) -> None:
    data = ["京都", 40, 1.0, 50, 0.9, 1.0, 1, 0, True]
    with httpx2.Client(timeout=60, trust_env=False) as client:
        event = client.post(f"{served.url}gradio_api/call/generate", json={"data": data}).json()
        url = f"{served.url}gradio_api/call/generate/{event['event_id']}"
        with client.stream("GET", url) as answer:
            next(answer.iter_lines())
            begun = time.monotonic()
            served.process.terminate()
            assert served.process.wait(timeout=20) == 0
            assert time.monotonic() - begun < 5
    said = served.log.read_text("utf-8").splitlines()
    assert said[1:] == ["the playground has stopped"]
