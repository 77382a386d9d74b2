"""Listeners: who is to hear when something changes, and the one look a second that serves them all.

Owns how many may listen, and that the database is only looked at (`changes.py`) while somebody
does. What goes over the line is `live.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable

import anyio
import anyio.to_thread

from taskyard.access.caller import Caller
from taskyard.api.changes import Change, Changes
from taskyard.core.errors import TooManyListeners
from taskyard.db.database import Database

logger = logging.getLogger("taskyard.web")

MOST = 100
"""Clients that may listen at a time, in one process."""

EVERY = 1.0
"""Seconds between two looks: how often one hears of a kind at most."""

MOST_SELDOM = 5.0
"""Seconds between two looks where the database is busy: a page asks as often by itself."""

SHARE = 0.03
"""What looks may take of the time; without this limit a server lost 12 % of its throughput."""


class Listener:
    """One client that listens: for whom, and what it has not been told yet."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.is_ready = asyncio.Event()
        """Set once a look was taken after which every change is told."""
        self.wake = asyncio.Event()
        """Set when there is something to tell, or it is over."""
        self.is_over = False
        self._pending: dict[str, str | None] = {}

    def tell(self, changes: Iterable[Change]) -> None:
        """Keep what the Caller may hear of: one hint a kind, with an id where it is but one."""
        for change in changes:
            if change.concerns(self.caller):
                same = self._pending.get(change.kind, change.id) == change.id
                self._pending[change.kind] = change.id if same else None
                self.wake.set()

    def take(self) -> dict[str, str | None]:
        """What there is to tell, by kind; it is told then."""
        self.wake.clear()
        told, self._pending = self._pending, {}
        return told

    def end(self) -> None:
        """Nothing more is told."""
        self.is_over = True
        self.is_ready.set()
        self.wake.set()


class Listeners:
    """All who listen in this process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._seats = 0
        self._listeners: set[Listener] = set()
        self._watch: asyncio.Task[None] | None = None
        self._closed = False

    def reserve(self) -> None:
        """Take a seat, before the answer has begun. Raises TooManyListeners."""
        if self._seats >= MOST:
            raise TooManyListeners(MOST)
        self._seats += 1

    def join(self, caller: Caller) -> Listener:
        """Listen, on the seat that was reserved; within the server's loop."""
        listener = Listener(caller)
        self._listeners.add(listener)
        if self._closed:
            listener.end()
        elif self._watch is None or self._watch.done():
            self._watch = asyncio.get_running_loop().create_task(self._look_out())
        return listener

    def leave(self, listener: Listener) -> None:
        """Listen no more, and give the seat back."""
        self._listeners.discard(listener)
        self._seats -= 1

    def close(self) -> None:
        """End all of them: the server stops."""
        self._closed = True
        for listener in self._listeners:
            listener.end()

    async def _look_out(self) -> None:
        changes, thread, told = Changes(self._db), anyio.CapacityLimiter(1), ""
        while self._listeners and not self._closed:
            listeners, began = list(self._listeners), time.monotonic()
            try:
                found = await anyio.to_thread.run_sync(_look, changes, listeners, limiter=thread)
            except Exception as error:
                # Whoever listens asks now and then as well; a look that fails is not the end.
                if not self._db.is_away(error) and str(error) != told:
                    told = str(error)
                    logger.exception("what has changed cannot be seen")
                found = set()
            for listener in listeners:
                listener.tell(found)
                listener.is_ready.set()
            await asyncio.sleep(pause_after(time.monotonic() - began))


def pause_after(taken: float) -> float:
    """Seconds until the next look, after one that took so many."""
    return min(max(EVERY, taken / SHARE), MOST_SELDOM)


def _look(changes: Changes, listeners: Iterable[Listener]) -> set[Change]:
    callers = [listener.caller for listener in listeners]
    tenants = {tenant for caller in callers for tenant in caller.tenants or ()}
    return changes.look(sorted(tenants), everything=any(c.tenants is None for c in callers))
