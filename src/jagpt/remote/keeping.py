"""A run's copies elsewhere, made while it is running.

One thread looks for what is in the run directory but not there yet; the run itself never waits,
until its end, and where a copy is slower than the next checkpoint, the one after that is taken.
Failures there are reported in one line, and the run continues here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from jagpt.errors import JagptError
from jagpt.pipeline import Ledger
from jagpt.progress import Progress
from jagpt.recipe import Recipe
from jagpt.remote import lease
from jagpt.remote.copies import Item, Sender, check_manifests
from jagpt.remote.lease import Lease
from jagpt.remote.store import LocalFileError, RemoteError, Store
from jagpt.remote.taking import Taker
from jagpt.rundir import RunDirectory

LOOK_SECONDS = 1.0
RETRY_SECONDS = 30.0
FAREWELL_TRIES = 3
NOT_SAFE = "the run continues here, but is not backed up"


class _AbandonedError(JagptError):
    """A copy is interrupted because another one is more urgent."""


@contextmanager
def kept(
    recipe: Recipe,
    run: RunDirectory,
    ledger: Ledger,
    progress: Progress,
    until: str | None = None,
    forced: Collection[str] = (),
) -> Iterator[Keeper | None]:
    """Take what the run lacks from `execution.remote`, and copy there what the block makes.

    After the block the keeper tells what is not safe there. Nothing happens where the recipe names
    no such place. The caller holds the run's lock.
    `RunInUseError` if another machine writes there, `UsageError` for a place that cannot be.
    """
    if recipe.execution.remote is None:
        yield None
        return
    keeper = Keeper(run, Store(recipe.execution.remote), progress)
    keeper.begin(recipe, ledger, until, forced)
    try:
        yield keeper
    except BaseException:
        keeper.end(hurry=True)
        raise
    keeper.end(hurry=False)


class Keeper:
    """The thread that copies a run to `store`, from `begin` to `end`."""

    def __init__(self, run: RunDirectory, store: Store, progress: Progress) -> None:
        self._run, self._store, self._progress = run, store, progress
        self.place = store.place
        self.unsafe: tuple[str, ...] | None = None
        """What the place lacks after `end`; empty where all is there, None before."""
        self._lease: Lease | None = None
        self._sender: Sender | None = None
        self._told: str | None = None
        """The problem that was reported last."""
        self._ending, self._abandon = threading.Event(), threading.Event()
        self._copying: Item | None = None
        self._thread = threading.Thread(target=self._follow, name="jagpt-remote", daemon=True)

    def begin(
        self, recipe: Recipe, ledger: Ledger, until: str | None, forced: Collection[str]
    ) -> None:
        """Claim the place, restore what fits, and start copying."""
        self._progress.say(f"finished stages and checkpoints are copied to {self._store.place}")
        try:
            self._lease = lease.take(self._store, self._progress.say)
            Taker(recipe, self._run, self._store, ledger, self._progress).take(until, forced)
        except RemoteError as error:
            self._trouble(error)
        except BaseException:
            if self._lease is not None:
                self._lease.release()
            raise
        self._thread.start()

    def end(self, *, hurry: bool) -> None:
        """Copy the rest, the newest checkpoint first if in a `hurry`; report what is backed up."""
        left = self._left(hurry)
        newest = left[0] if left else None
        if hurry and self._copying not in (None, newest):
            self._abandon.set()
        self._ending.set()
        self._thread.join()
        self._abandon.clear()
        for attempt in range(FAREWELL_TRIES):
            if attempt:
                time.sleep(attempt)
            if self._pass(hurry=hurry, shown=True):
                break
        left = [] if self._sender is None else self._sender.missing()
        if self._told is not None or self._sender is None or left:
            self.unsafe = tuple(map(str, left)) or ("the last of this run",)
            what = ", ".join(self.unsafe[:3])
            self._progress.say(
                f"warning: not backed up: {what}; `jagpt push {self._run.root}` copies it "
                f"to {self._store.place}"
            )
        else:
            self.unsafe = ()
            self._progress.say(f"everything is copied to {self._store.place}")
        if self._lease is not None:
            self._lease.release()

    def _left(self, hurry: bool) -> list[Item]:
        return [] if self._sender is None else self._sender.outstanding(newest_first=hurry)

    def _follow(self) -> None:
        pause = 0.0
        while not self._ending.wait(pause):
            pause = LOOK_SECONDS if self._pass() else RETRY_SECONDS

    def _pass(self, *, hurry: bool = False, shown: bool = False) -> bool:
        """Copy what is missing there; False if that does not work now."""
        try:
            sender = self._opened()
            sender.send_recipe()
            while left := sender.outstanding(newest_first=hurry):
                self._send(sender, left[0], shown=shown)
                if self._ending.is_set() and not shown:
                    return True
            sender.retire()
        except _AbandonedError:
            return True
        except (JagptError, OSError) as error:
            self._trouble(error)
            return False
        if self._told is not None:
            self._told = None
            self._progress.say(f"{self._store.place}: everything is copied there again")
        return True

    def _opened(self) -> Sender:
        if self._lease is None:
            self._lease = lease.take(self._store, self._progress.say)
        if self._sender is None:
            self._sender = Sender(self._run, self._store, self._lease.check)
        return self._sender

    def _send(self, sender: Sender, item: Item, *, shown: bool) -> None:
        self._copying = item
        try:
            if shown:
                with self._progress.bar(
                    f"{item} to {self._store.place}", sender.sized(item), "bytes"
                ) as bar:
                    sender.send(item, bar.advance)
            else:
                sender.send(item, self._tick)
        except LocalFileError as error:
            if item in sender.missing():  # otherwise it was merely deleted
                self._progress.say(f"warning: {error}")
        finally:
            self._copying = None

    def _tick(self, count: int) -> None:
        if self._abandon.is_set():
            raise _AbandonedError

    def _trouble(self, error: Exception) -> None:
        """Report a problem, once."""
        if str(error) != self._told:
            self._told = str(error)
            self._progress.say(f"warning: {error}; {NOT_SAFE}")


def push(run: RunDirectory, place: str, progress: Progress) -> list[str]:
    """Copy what a place lacks of a run; returns what was copied. Raises what goes wrong."""
    check_manifests(run)
    store = Store(place)
    claimed = lease.take(store, progress.say)
    try:
        sender = Sender(run, store, claimed.check)
        sender.send_recipe()
        sent = []
        for item in sender.outstanding():
            with progress.bar(f"{item} to {store.place}", sender.sized(item), "bytes") as bar:
                sender.send(item, bar.advance)
            sent.append(str(item))
        sender.retire()
    finally:
        claimed.release()
    return sent
