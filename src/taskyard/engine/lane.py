"""Lane: a Queue as one Server works it: its settings, what runs, what was taken ahead.

Owns how many Tasks a Queue may run and take. Small `max_workers` must not mean small claims for
short Tasks, so a bounded number is taken ahead of free workers, sized by what the Tasks were
measured to take, and handed back when they don't get their turn within a second.
"""

from __future__ import annotations

import heapq
import time
from collections import deque

from taskyard.engine.work import Work
from taskyard.queues import Queue

_SHORT = 0.05  # seconds: nothing is taken ahead of longer Tasks
_AHEAD_SECONDS = 0.1  # what is taken ahead should be done within this
_AHEAD_MOST = 500
_KEPT = 1.0  # seconds after which an unstarted Task is handed back
_CLAIM_MOST = 500


class Lane:
    """One Queue of a dispatcher. Not safe by itself: the dispatcher's lock guards it."""

    def __init__(self, queue: Queue, table: str) -> None:
        self.queue = queue
        self.table = table
        self.open = True
        self.ready: deque[Work] = deque()
        self.running = 0
        self.hungry = True
        """Was the last claim cut short by our limit, so that there may be more at once?"""
        self.next_look = 0.0
        self.after_key = ""
        self._typical: float | None = None
        self._expected: list[float] = []

    @property
    def free(self) -> int:
        """Workers without work."""
        return self.queue.max_workers - self.running if self.open else 0

    @property
    def held(self) -> int:
        """Tasks that are running or ready."""
        return self.running + len(self.ready)

    def room(self) -> int:
        """How many Tasks the next claim may take; 0 when it does not pay to ask."""
        if not self.open or self.queue.max_workers <= 0:
            return 0
        ahead = self._ahead()
        room = self.queue.max_workers + ahead - self.held
        # Claims of a handful cost as much as claims of hundreds: refill when half is gone.
        if self.held and room < ahead / 2:
            return 0
        return max(0, min(room, _CLAIM_MOST))

    def expect(self, seconds: float) -> None:
        """A Task went back to the line and is due again in so many seconds."""
        if seconds < self.queue.scan_interval:
            heapq.heappush(self._expected, time.monotonic() + seconds)
            self.next_look = min(self.next_look, self._expected[0])

    def look_after(self, seconds: float) -> None:
        """Look again after so many seconds, or when a Task is expected back before."""
        now = time.monotonic()
        while self._expected and self._expected[0] <= now:
            heapq.heappop(self._expected)
        self.next_look = min([now + seconds, *self._expected[:1]])

    def take(self) -> list[Work]:
        """The ready Works that free workers can have now."""
        count = min(self.free, len(self.ready))
        if count <= 0:
            return []
        self.running += count
        return [self.ready.popleft() for _ in range(count)]

    def overdue(self) -> list[Work]:
        """The ready Works that waited too long, or that must not start here any more."""
        if not self.ready:
            return []
        if not self.open:
            stale = list(self.ready)
        else:
            limit = time.monotonic() - _KEPT
            stale = [work for work in self.ready if work.claimed < limit and self.free <= 0]
        for work in stale:
            self.ready.remove(work)
        return stale

    def learn(self, seconds: list[float]) -> None:
        """Take note of how long Tasks ran: quick to believe that they are long, slow to forget."""
        longest = max(seconds)
        mean = sum(seconds) / len(seconds)
        measured = longest if longest >= _SHORT else mean
        if self._typical is None or measured > self._typical:
            self._typical = measured
        else:
            self._typical += 0.2 * (measured - self._typical)

    def _ahead(self) -> int:
        if self._typical is None or self._typical >= _SHORT or self.queue.rate_limit is not None:
            return 0
        # No floor under the time: what is not measurable is short.
        fits = self.queue.max_workers * _AHEAD_SECONDS / max(self._typical, 1e-4)
        return int(min(_AHEAD_MOST, fits))
