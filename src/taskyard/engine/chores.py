"""Chores: the periodic duties of a Server, as a table.

Owns the one loop that repeats them. A chore is a function that does one pass; what it does is its
module's business. A chore that fails is tried again at its next time, and the others go on.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

logger = logging.getLogger("taskyard.chores")


@dataclass(frozen=True, slots=True)
class Chore:
    """One duty: every `interval` seconds (±20 %, so that Servers don't march in step)."""

    name: str
    interval: float
    work: Callable[[], object]


class Chores:
    """A thread that does some of them, one after the other."""

    def __init__(self, chores: Sequence[Chore], is_away: Callable[[BaseException], bool]) -> None:
        self._chores = chores
        self._is_away = is_away
        self._stop = threading.Event()
        self._next = {chore.name: 0.0 for chore in chores}
        self._thread = threading.Thread(target=self._work, name="taskyard-chores", daemon=True)

    def start(self) -> None:
        """Start the thread; each chore has its first pass at once."""
        self._thread.start()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after the pass under way."""
        self._stop.set()
        self._thread.join(timeout)

    def _work(self) -> None:
        while not self._stop.is_set():
            now = time.monotonic()
            for chore in self._chores:
                if self._next[chore.name] <= now and not self._stop.is_set():
                    self._pass(chore)
                    pause = chore.interval * random.uniform(0.8, 1.0)
                    self._next[chore.name] = time.monotonic() + pause
            self._stop.wait(max(0.02, min(self._next.values()) - time.monotonic()))

    def _pass(self, chore: Chore) -> None:
        try:
            chore.work()
        except Exception as error:
            if self._is_away(error):
                logger.debug("chore %s: the database is away: %s", chore.name, error)
            else:
                logger.exception("chore %s failed", chore.name)
