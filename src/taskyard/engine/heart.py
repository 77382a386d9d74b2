"""Heart: the beats of a Session, and whether it may be trusted.

Owns the lease from this side (protocol section 1): one UPDATE each sixth of the lease, on a
connection of its own, in a thread that does nothing else. *Trusted* means that by our own clock no
other Server can have declared us dead yet; nothing new starts without it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from taskyard import servers
from taskyard.db.database import Database

logger = logging.getLogger("taskyard.heart")

_CLOCK = getattr(time, "CLOCK_BOOTTIME", None)


def boottime() -> float:
    """Seconds of a clock that goes on while the machine sleeps (monotonic() stops in suspend)."""
    return time.clock_gettime(_CLOCK) if _CLOCK is not None else time.monotonic()


class Heart:
    """Beats for one Session until it is stopped or declared dead."""

    def __init__(
        self, db: Database, session: str, lease: float, *, told_to_drain: Callable[[], None]
    ) -> None:
        self._db = db
        self._session = session
        self._lease = lease
        self._told_to_drain = told_to_drain
        self._connection: Any = None
        self._stop = threading.Event()
        self._good_until = boottime() + lease - lease / 6
        self._healthy_since = boottime()
        self.dead = threading.Event()
        """Set when the Session was declared dead: everything it runs must be killed."""
        self._thread = threading.Thread(target=self._work, name="taskyard-heart", daemon=True)

    def start(self) -> None:
        """Start beating; the Session has been registered just now."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating."""
        self._stop.set()
        self._thread.join(5.0)

    def trusted(self) -> bool:
        """May something new be started?"""
        return not self.dead.is_set() and boottime() < self._good_until

    def healthy_for(self) -> float:
        """Seconds since when every beat has come through: a rescuer needs a whole lease of them."""
        return boottime() - self._healthy_since if self.trusted() else 0.0

    def _work(self) -> None:
        interval = self._lease / 6
        pause = interval
        while not self._stop.wait(pause * random.uniform(0.9, 1.0)):
            pause = interval if self._beat() else min(interval, 1.0)
            if self.dead.is_set():
                break
        with suppress(Exception):
            self._connection.close()

    def _beat(self) -> bool:
        sent = boottime()
        try:
            if self._connection is None:
                self._connection = self._db.connect()
            alive, state = self._ask()
        except Exception as error:
            logger.debug("a beat failed: %s", error)
            self._healthy_since = boottime()
            with suppress(Exception):
                self._connection.close()
            self._connection = None
            return False
        if not alive:
            logger.warning(
                "session %s was declared dead; everything it ran is stopped", self._session
            )
            self.dead.set()
            return True
        if sent > self._good_until:
            self._healthy_since = sent  # we were gone for a while: judge nobody right away
        self._good_until = sent + self._lease - self._lease / 6
        if state == "draining":
            self._told_to_drain()
        return True

    def _ask(self) -> tuple[bool, str | None]:
        deadline = max(0.5, min(3.0, self._lease / 3))
        turn = self._db.turn()
        with turn, self._db.on(self._connection, deadline=deadline) as tx:
            alive = servers.beat(tx, self._session, self._lease)
            state = tx.value(
                "SELECT state FROM ty_servers WHERE session = :session", session=self._session
            )
        return alive, state
