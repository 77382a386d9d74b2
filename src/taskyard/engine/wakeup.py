"""Wakeup: hears that there may be new Tasks before the next poll is due.

Owns the thread that listens: to NOTIFY on PostgreSQL, to the file's change counter on SQLite. On
MySQL and MariaDB nothing rings and polling each `scan_interval` finds the rows. A missed ring costs
latency only.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from taskyard.db.database import Database

logger = logging.getLogger("taskyard.wakeup")

_LOOK = 0.004  # seconds between looks at SQLite's counter: half of it is the price of a pick-up


class Wakeup:
    """Calls `rung(table)`, or `rung(None)` when it does not know which table."""

    def __init__(self, db: Database, rung: Callable[[str | None], None]) -> None:
        self._db = db
        self._rung = rung
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start listening, where there is something to listen to."""
        work = self._listen if self._db.bell.rings else None
        if self._db.turnstile is not None:
            work = self._watch_file
        if work is not None:
            self._thread = threading.Thread(target=work, name="taskyard-wakeup", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(3.0)

    def _listen(self) -> None:
        self._db.bell.listen(self._rung, self._stop)

    def _watch_file(self) -> None:
        connection = self._db.connect()
        try:
            cursor = connection.cursor()
            last = None
            while not self._stop.is_set():
                time.sleep(_LOOK)  # half the price of waiting for the event with a timeout
                (version,) = cursor.execute("PRAGMA data_version").fetchone()
                if version != last:
                    last = version
                    self._rung(None)
        except Exception as error:
            logger.warning("the database file cannot be watched, polling goes on: %s", error)
        finally:
            connection.close()
