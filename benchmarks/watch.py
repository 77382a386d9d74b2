"""Watch: sees from outside when a table is drained, at next to no cost.

Every 20 ms it reads one row by its primary key, the last one that was put in; only when that row is
done it counts the rows that were put in. Reading costs the database about 0.1 % of a core.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.lanes import Db, Lane

LOOK = 0.02  # seconds between two looks
PATIENCE = 300.0  # seconds without an end before the measurement is given up


@dataclass(frozen=True)
class Load:
    """The tasks of one measurement: a table and the range of ids that were put into it."""

    table: str
    first: int
    last: int

    @property
    def tasks(self) -> int:
        return self.last - self.first + 1


class Stuck(RuntimeError):
    """The tasks did not end; says how many were left in which status."""


def put(lane: Lane, db: Db, table: str, tasks: int) -> Load:
    """Insert due no-op tasks by plain SQL, base columns only, in one transaction."""
    before = int(db.value(f"SELECT COALESCE(MAX(id), 0) FROM {table}"))
    db.run(
        f"INSERT INTO {table} (task_type, schedule_time) "
        f"SELECT 'noop', {lane.now} FROM {lane.series(tasks)}"
    )
    low, high, count = db.rows(
        f"SELECT MIN(id), MAX(id), COUNT(*) FROM {table} WHERE id > {before}"
    )[0]
    if count != tasks or high - low + 1 != tasks:
        raise Stuck(f"{table}: {count} of {tasks} rows put in, ids {low} to {high}")
    return Load(table, low, high)


def drained(lane: Lane, db: Db, load: Load) -> float:
    """Wait until all are completed; returns the seconds from the first claim to the end as seen."""
    give_up = time.monotonic() + PATIENCE
    while not _last_is_done(db, load) or _left(db, load):
        if time.monotonic() > give_up:
            raise Stuck(_counts(db, load))
        time.sleep(LOOK)
    seen = time.time()
    if (failed := _not_completed(db, load)) > 0:
        raise Stuck(f"{failed} tasks did not complete: {_counts(db, load)}")
    first_claim = db.value(
        f"SELECT {lane.epoch('MIN(start_time)')} FROM {load.table} WHERE {_range(load)}"
    )
    return seen - float(first_claim)


def _last_is_done(db: Db, load: Load) -> bool:
    return int(db.value(f"SELECT status FROM {load.table} WHERE id = {load.last}")) >= 2


def _left(db: Db, load: Load) -> int:
    return int(db.value(_count(load, "status IN (0, 1)")))


def _not_completed(db: Db, load: Load) -> int:
    return int(db.value(_count(load, "status <> 2")))


def _count(load: Load, condition: str) -> str:
    return f"SELECT COUNT(*) FROM {load.table} WHERE {_range(load)} AND {condition}"


def _counts(db: Db, load: Load) -> str:
    rows = db.rows(
        f"SELECT status, COUNT(*), MAX(error_msg) FROM {load.table} "
        f"WHERE {_range(load)} GROUP BY status"
    )
    return f"{load.table}: (status, tasks, an error) {rows}"


def _range(load: Load) -> str:
    return f"id BETWEEN {load.first} AND {load.last}"
