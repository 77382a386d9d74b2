"""Scheduler: wakes when a Schedule is due and lets it fire.

Owns the thread and how long it sleeps: until the first instant that it knows of, and never longer
than a second, because anybody may have made an earlier one meanwhile; one look costs an index
look-up. What a fire is, is `schedules/fire.py`'s; every Server has a Scheduler, and none leads.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable

from taskyard.db.database import Database
from taskyard.schedules import fire
from taskyard.schedules.making import Maker
from taskyard.tasks.catalog import Catalog

logger = logging.getLogger("taskyard.scheduler")

LONGEST_SLEEP = 1.0
_APART = 0.02
"""Seconds within which Servers that wait for the same instant wake up, so that they don't all ask
at once."""


class Scheduler:
    """Fires what is due, until it is stopped."""

    def __init__(self, db: Database, time_zone: str, rung: Callable[[str], None]) -> None:
        """`rung(table)` is told of tables that have new Tasks; `time_zone` is that of Schedules
        that name none."""
        self._db = db
        self._time_zone = time_zone
        self._rung = rung
        self._maker = Maker(db, Catalog(db))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="taskyard-scheduler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Fire nothing more; a fire under way is finished."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _work(self) -> None:
        while not self._stop.is_set():
            self._stop.wait(self._pass())

    def _pass(self) -> float:
        """Fire what is due; seconds to sleep."""
        try:
            left = fire.first_due(self._db)
            while left is not None and left <= 0 and not self._stop.is_set():
                fired = fire.fire_due(self._db, self._maker, time_zone=self._time_zone)
                for table in fired.tables:
                    self._rung(table)
                if not fired.more:
                    left = fire.first_due(self._db)
                    break
        except Exception as error:
            if self._db.is_away(error):
                logger.debug("the database is away: %s", error)
            else:
                logger.exception("schedules could not be fired")
            return LONGEST_SLEEP
        if left is None:
            return LONGEST_SLEEP
        return min(LONGEST_SLEEP, max(0.0, left) + random.uniform(0.0, _APART))
