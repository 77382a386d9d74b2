"""Retention: how long fired instants are remembered.

Owns the prune of `ty_fires`. A row there keeps an instant from firing twice, so it stays as long as
its Schedule may look back, and a week at least, for a clock that is set back meanwhile. How much of
the Runs and Tasks is kept is `runs/retention.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial

from taskyard.db.database import Database, Tx
from taskyard.schedules import rows
from taskyard.schedules.due import ALL_LOOKS_BACK

LEAST = timedelta(days=7)
"""How long each instant is remembered."""

_CHUNK = 1_000

_NEXT_SCHEDULE = """
SELECT schedule_id FROM ty_fires WHERE schedule_id > :after ORDER BY schedule_id LIMIT 1
"""

_WINDOW = "SELECT misfire_window FROM ty_schedules WHERE id = :id"

_BOUND = """
SELECT fire_time FROM ty_fires WHERE schedule_id = :id AND fire_time < {before}
 ORDER BY fire_time LIMIT 1 OFFSET :chunk
"""


def prune_fires(db: Database, now: datetime | None = None) -> int:
    """Forget instants that can fire no more; returns how many.

    A thousand go in a transaction. `now` stands in for the database's clock.
    """
    moment = now or db.read(rows.now_of)
    count = 0
    for schedule_id in _schedules(db):
        work = partial(_prune, schedule_id=schedule_id, now=moment)
        while removed := db.run(work):
            count += removed
    return count


def _schedules(db: Database) -> Iterator[int]:
    """The Schedules that have fired, also those that are deleted; a step along the key each."""
    after = 0
    while (found := db.read(partial(_next_schedule, after=after))) is not None:
        yield found
        after = found


def _next_schedule(tx: Tx, after: int) -> int | None:
    return tx.value(_NEXT_SCHEDULE, after=after)  # type: ignore[no-any-return]


def _prune(tx: Tx, schedule_id: int, now: datetime) -> int:
    window = tx.value(_WINDOW, id=schedule_id)
    back = ALL_LOOKS_BACK if window is None else timedelta(seconds=float(window))
    before = tx.dialect.utc_from(":before")
    values = {"id": schedule_id, "before": rows.seconds(now - max(LEAST, back))}
    bound = tx.value(_BOUND.format(before=before), chunk=_CHUNK, **values)
    if bound is not None:
        sql = "DELETE FROM ty_fires WHERE schedule_id = :id AND fire_time < :bound"
        return tx.execute(sql, id=schedule_id, bound=bound)
    sql = f"DELETE FROM ty_fires WHERE schedule_id = :id AND fire_time < {before}"
    return tx.execute(sql, **values)
