"""Ids of Runs: reserved in blocks from one counter row (hi/lo).

So a Run has its id before it ends and every database works alike; ids stay below 2**53. They are
unique, not chronological: a Server uses its own block up.
"""

from __future__ import annotations

import threading

from taskyard.db.database import Database, Tx

_BLOCK = 5_000


class RunIds:
    """Hands out ids of one process; safe to use from several threads."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lock = threading.Lock()
        self._next = 0
        self._end = 0

    def reserve(self, count: int) -> int:
        """The first of `count` ids in a row; those not used are lost, which does no harm."""
        with self._lock:
            if self._next + count > self._end:
                size = max(_BLOCK, count)
                self._end = self._db.run(lambda tx: _raise_counter(tx, size)) + 1
                self._next = self._end - size
            first = self._next
            self._next += count
            return first

    def give_back(self, first: int, count: int) -> None:
        """Take back the last `count` ids from `first` on when nothing was reserved since."""
        with self._lock:
            if self._next == first + count:
                self._next = first


def _raise_counter(tx: Tx, size: int) -> int:
    sql = "UPDATE ty_counters SET value = value + :size WHERE name = 'run_id'"
    if not tx.execute(sql, size=size):
        tx.execute(
            "INSERT INTO ty_counters (name, value) VALUES ('run_id', 0)"
            + tx.dialect.or_nothing("name")
        )
        tx.execute(sql, size=size)
    return int(tx.value("SELECT value FROM ty_counters WHERE name = 'run_id'"))
