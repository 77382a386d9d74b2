"""Bell: tells waiting Servers at once that there is something to do, where the database can.

Owns LISTEN/NOTIFY. A ring is a hint: losing one costs latency, never a Task, because Servers poll
as well. It is sent outside the transaction that enqueues, at the leading edge and at most 200 times
a second: NOTIFY takes a lock of the whole database at commit, which has taken others down
(failures.md 25).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from taskyard.db.dialect import CHANNEL

if TYPE_CHECKING:
    from taskyard.db.database import Database

logger = logging.getLogger("taskyard.bell")

_GAP = 1 / 200


class Bell:
    """The bell of one Database; silent where the database has none, or where it is switched off."""

    def __init__(self, db: Database, *, on: bool) -> None:
        self._db = db
        self._on = on and db.dialect.rings and not db.pooler
        self._last: dict[str, float] = {}

    @property
    def rings(self) -> bool:
        """Is there a bell to listen to?"""
        return self._on

    def is_due(self, table: str) -> bool:
        """May `table` be rung for now? Whoever hears yes must ring, in a statement of his own."""
        now = time.monotonic()
        if not self._on or now - self._last.get(table, 0.0) < _GAP:
            return False
        self._last[table] = now
        return True

    def ring(self, table: str) -> None:
        """Say that `table` has new Tasks; never fails."""
        if not self.is_due(table):
            return
        try:
            with self._db.autocommit(deadline=5.0) as tx:
                tx.execute("SELECT pg_notify(:channel, :table)", channel=CHANNEL, table=table)
        except Exception as error:
            logger.debug("the bell could not be rung: %s", error)

    def listen(self, heard: Callable[[str], None], stop: threading.Event) -> None:
        """Call `heard(table)` at each ring until `stop`; comes back by itself after an outage."""
        while not stop.is_set():
            try:
                self._listen_once(heard, stop)
            except Exception as error:
                logger.debug("listening was interrupted: %s", error)
                stop.wait(1.0)

    def _listen_once(self, heard: Callable[[str], None], stop: threading.Event) -> None:
        connection = self._db.connect()
        try:
            connection.execute(f"LISTEN {CHANNEL}")
            while not stop.is_set():
                for notice in connection.notifies(timeout=0.5):
                    heard(notice.payload)
                    if stop.is_set():
                        break
        finally:
            connection.close()
