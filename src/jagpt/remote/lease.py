"""Who writes at a place: one machine at a time, and a machine that lost the place finds out.

    lease/00000007.json    {"nonce": …, "machine": …, "pid": …, "beats": 12, "released": false}

The claim with the highest number holds, and its number is the fencing token: taking over means
creating the next one if it does not exist, which only one of several machines can do. A holder
keeps rewriting its own claim, and looks for a higher one before it vouches for anything. Whether a
claim is stale is decided by the store's clock, never by comparing two machines' clocks.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from jagpt.errors import DataError, JagptError, RunInUseError
from jagpt.records import Count, restored
from jagpt.remote.store import RemoteError, Store

RENEW_SECONDS = 15.0
STALE_SECONDS = 60.0
"""A claim without a heartbeat for this long does not count."""
_LOOK_SECONDS = 1.0
_LARGEST = 64 * 1024
_CLOCK = "lease/clock"

_held: set[str] = set()
"""The nonces of this process's claims."""


class TakenOverError(JagptError):
    """Another machine writes there now."""


@dataclass(frozen=True)
class Claim:
    """One process's claim; `machine` is one boot of one machine (or container)."""

    nonce: str
    host: str
    machine: str
    pid: Count
    started: float
    beats: Count = 0
    released: bool = False

    @classmethod
    def mine(cls) -> Claim:
        import psutil

        started = psutil.Process().create_time()
        return cls(secrets.token_hex(16), socket.gethostname(), _machine(), os.getpid(), started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"

    def here(self) -> bool | None:
        """Whether its process lives; None if that is another machine's."""
        if self.machine != _machine():
            return None
        if self.pid == os.getpid():
            return self.nonce in _held
        import psutil

        try:
            return abs(psutil.Process(self.pid).create_time() - self.started) < 1
        except psutil.Error:
            return False


class Lease:
    """This process's claim on a place, kept alive by a thread of its own until `release`."""

    def __init__(self, store: Store, token: int, claim: Claim) -> None:
        self.token = token
        self._store, self._claim = store, claim
        _held.add(claim.nonce)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="jagpt-lease", daemon=True)
        self._thread.start()

    def check(self) -> int:
        """The token, while nobody has taken over; else `TakenOverError`."""
        if self._store.size(_key(self.token + 1)) is not None:
            other = _read(self._store, self.token + 1)
            raise TakenOverError(f"{self._store.place}: {other or 'another machine'} writes there")
        return self.token

    def release(self) -> None:
        """Release the place, if it answers."""
        self._end.set()
        self._thread.join()
        _held.discard(self._claim.nonce)
        with suppress(RemoteError, DataError, TakenOverError):
            self.check()
            _write(self._store, self.token, replace(self._claim, released=True))

    def _beat(self) -> None:
        while not self._end.wait(RENEW_SECONDS):
            with suppress(RemoteError, DataError):  # tried again at the next beat
                try:
                    self.check()
                except TakenOverError:
                    return
                self._claim = replace(self._claim, beats=self._claim.beats + 1)
                _write(self._store, self.token, self._claim)


def take(store: Store, say: Callable[[str], None]) -> Lease:
    """Claim a place; `RunInUseError` if another process writes there and lives.

    If the process cannot be checked, wait until it shows itself or its claim is stale.
    """
    mine = Claim.mine()
    while True:
        token = holder(store)[0]
        if token:
            _await(store, token, say)
        if _created(store, token + 1, mine):
            return Lease(store, token + 1, mine)


def holder(store: Store) -> tuple[int, Claim | None]:
    """The highest token (0 if none), and its claim, if that can be read."""
    found = (re.fullmatch(r"lease/([0-9]{8})\.json", name) for name in store.names("lease"))
    token = max((int(match[1]) for match in found if match), default=0)
    while store.size(_key(token + 1)) is not None:  # the listing is old
        token += 1
    return token, _read(store, token) if token else None


def _await(store: Store, token: int, say: Callable[[str], None]) -> None:
    """Return when the claim no longer holds."""
    first, waited = _read(store, token), 0.0
    while True:
        claim = _read(store, token)
        if claim and claim.released:
            return
        who = str(claim) if claim else "another machine"
        lives = claim.here() if claim else None
        if lives or (claim and first and claim.beats > first.beats):
            raise RunInUseError(
                f"{store.place}: {who} writes there; wait for it to end, stop it, or give this run "
                "another execution.remote"
            )
        age = store.age(_key(token), _CLOCK)
        stale = (waited if age is None else age) >= STALE_SECONDS
        if lives is False or stale:
            say(f"{store.place}: {who} wrote there and vanished: taking over")
            return
        if not waited:
            say(f"{store.place}: waiting up to {STALE_SECONDS:.0f} s to see whether {who} lives")
        time.sleep(_LOOK_SECONDS)
        waited += _LOOK_SECONDS


def _created(store: Store, token: int, mine: Claim) -> bool:
    """Whether the claim is this process's: a store may answer no to the one it gave it to, and one
    without conditions gives it to the last who asked."""
    store.create(_key(token), _bytes(mine))
    found = _read(store, token)
    return found is not None and found.nonce == mine.nonce


def _read(store: Store, token: int) -> Claim | None:
    """None if it is not there, or not whole."""
    with suppress(DataError, ValueError, ValidationError):
        claim: Claim = restored(Claim, json.loads(store.read(_key(token), _LARGEST) or b""))
        return claim
    return None


def _write(store: Store, token: int, claim: Claim) -> None:
    store.write(_key(token), _bytes(claim))


def _bytes(claim: Claim) -> bytes:
    return json.dumps(asdict(claim)).encode("utf-8")


def _key(token: int) -> str:
    return f"lease/{token:08d}.json"


def _machine() -> str:
    """One boot of a machine, and the processes that can see each other there."""
    facts = [socket.gethostname()]
    with suppress(OSError):
        facts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
        facts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(facts)
