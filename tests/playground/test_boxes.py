"""The boxes, with a clock of their own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from jagpt.playground import boxes, desk
from jagpt.playground.boxes import Boxes


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def queue(now: list[float]) -> SimpleNamespace:
    """gradio's queue with our boxes."""
    found = SimpleNamespace(pending_event_ids_session={})
    Boxes(lambda: now[0]).replace(found)
    return found


def join(queue: SimpleNamespace, session: str) -> None:
    """What gradio does with a request."""
    if session not in queue.pending_messages_per_session:
        queue.pending_messages_per_session[session] = asyncio.Queue()
    queue.pending_event_ids_session.setdefault(session, set()).add(f"event of {session}")
    queue.pending_messages_per_session[session].put_nowait("started")


def test_whoever_fetches_everything_listens_until_the_box_is_gone(queue: SimpleNamespace) -> None:
    kept = queue.pending_messages_per_session
    assert kept.listens("answered directly")()
    join(queue, "a")
    listens = kept.listens("a")
    assert not listens()
    assert kept["a"].get_nowait() == "started"
    assert listens()
    del kept["a"]
    assert not listens()
    kept["a"].put_nowait("nobody is there any more")
    assert "a" not in kept


def test_a_box_that_nobody_empties_goes_when_another_visitor_comes(
    queue: SimpleNamespace, now: list[float]
) -> None:
    kept = queue.pending_messages_per_session
    for session in ("deaf", "slow", "idle"):
        join(queue, session)
    kept["slow"].put_nowait("more")
    now[0] += desk.GONE + 1
    kept["slow"].get_nowait()
    kept["idle"].get_nowait()
    join(queue, "new")
    assert list(kept) == list(queue.pending_event_ids_session) == ["slow", "idle", "new"]


def test_messages_and_sessions_are_bounded_and_listeners_stay(
    queue: SimpleNamespace, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boxes, "SESSIONS", 3)
    kept = queue.pending_messages_per_session
    for session in ("served", "finished"):
        join(queue, session)
        kept[session].get_nowait()
    queue.pending_event_ids_session["finished"].clear()
    for number in range(9):
        now[0] += 0.1
        join(queue, str(number))
    assert list(kept) == list(queue.pending_event_ids_session) == ["served", "7", "8"]
    for _ in range(99):
        join(queue, "8")
    assert kept["8"].qsize() == boxes.MESSAGES
