"""Who is served: with jobs that only count."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from jagpt.playground import Desk, desk
from jagpt.playground.desk import BusyError


class Counting:
    """A job of so many turns."""

    def __init__(self, turns: int) -> None:
        self.left = turns
        self.stopped = False

    def advance(self, seconds: float) -> bool:
        self.left -= 1
        return self.left > 0

    def stop(self) -> None:
        self.stopped = self.left > 0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "POLL", 0.001)


@pytest.fixture
def served() -> Iterator[Desk]:
    found = Desk(places=2)
    yield found
    found.close()


async def all_of(stream: AsyncIterator[int | None]) -> list[int | None]:
    return [ahead async for ahead in stream]


def serve(desk: Desk, session: str, job: Any) -> AsyncIterator[int | None]:
    return desk.serve(session, job)


def test_a_job_is_worked_to_its_end(served: Desk) -> None:
    job = Counting(3)
    assert asyncio.run(all_of(serve(served, "a", job))) == [None] * 4
    assert job.left == 0
    assert not job.stopped


def test_those_who_come_later_wait_and_are_told_how_many_are_ahead(served: Desk) -> None:
    async def together() -> list[list[int | None]]:
        streams = [serve(served, name, Counting(20)) for name in "abc"]
        return await asyncio.gather(*map(all_of, streams))

    first, second, third = asyncio.run(together())
    assert [ahead for ahead in first if ahead] == []
    assert [ahead for ahead in second if ahead] == [1]
    assert [ahead for ahead in third if ahead] == [2, 1]
    assert first.count(None) == second.count(None) == third.count(None) == 21


def test_one_too_many_is_asked_to_come_again_and_may(served: Desk) -> None:
    async def crowd() -> list[Any]:
        streams = [serve(served, str(number), Counting(5)) for number in range(9)]
        return await asyncio.gather(*map(all_of, streams), return_exceptions=True)

    found = asyncio.run(crowd())
    assert [isinstance(each, BusyError) for each in found] == [False] * 3 + [True] * 6
    assert asyncio.run(all_of(serve(served, "again", Counting(1)))) == [None, None]


def test_stop_ends_work_and_waiting(served: Desk) -> None:
    async def scene() -> tuple[Counting, Counting]:
        working, waiting = Counting(10**9), Counting(5)
        first = asyncio.create_task(all_of(serve(served, "a", working)))
        second = asyncio.create_task(all_of(serve(served, "b", waiting)))
        await asyncio.sleep(0.02)
        served.stop("b")
        await second
        served.stop("a")
        await first
        return working, waiting

    working, waiting = asyncio.run(scene())
    assert working.stopped
    assert waiting.left == 5


def test_a_new_job_of_a_session_stops_its_earlier_one(served: Desk) -> None:
    async def scene() -> Counting:
        endless = Counting(10**9)
        first = asyncio.create_task(all_of(serve(served, "a", endless)))
        await asyncio.sleep(0.01)
        await all_of(serve(served, "a", Counting(2)))
        await first
        return endless

    assert asyncio.run(scene()).stopped


def test_one_who_went_away_without_a_word_loses_the_place() -> None:
    now = [0.0]
    served = Desk(places=1, clock=lambda: now[0])

    async def scene() -> list[int | None]:
        gone = serve(served, "gone", Counting(10**9))
        await anext(gone)
        now[0] += desk.GONE + 1
        return await all_of(serve(served, "next", Counting(1)))

    assert asyncio.run(scene()) == [None, None]
    served.close()


@pytest.mark.parametrize("fetched", [0, 1, 3])
def test_one_who_does_not_listen_is_told_no_more_and_loses_the_place(
    fetched: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "POLL", 0)  # the next one asks before this clock calls it gone
    now = [0.0]
    served = Desk(places=1, clock=lambda: now[0])
    asked = [0]

    def listens() -> bool:
        asked[0] += 1
        now[0] += 1
        return asked[0] <= fetched

    job, after = Counting(10**9), Counting(1)

    async def scene() -> list[list[int | None]]:
        streams = [served.serve("deaf", job, listens), serve(served, "next", after)]  # type: ignore[arg-type]
        return await asyncio.gather(*map(all_of, streams))

    told, others = asyncio.run(scene())
    served.close()
    assert len(told) == max(1, fetched)  # all that was fetched, and the end
    assert job.stopped
    assert now[0] < fetched + desk.GONE + 5
    assert (job.left == 10**9) == (fetched == 0)  # nothing is begun for nobody
    assert others == [1, None, None]
