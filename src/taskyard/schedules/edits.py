"""Edits: rows of `ty_schedules` that were inserted or changed by SQL, noticed and checked.

Owns the look for them: what a row says now against what the platform has last seen of it (`seen`).
A new row gets what it left out, one whose rule has changed its next instant, one that cannot be a
visible `problem` instead; each is audited as by the actor `sql`. Of several edits between two looks
only what they came to is known; a row that was deleted leaves no trace.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

import orjson

from taskyard.access import audit
from taskyard.access.edits import SQL
from taskyard.core.errors import QueueUnknown, TaskyardError
from taskyard.db.database import Database, Tx
from taskyard.schedules import rows
from taskyard.schedules.definition import TIMING
from taskyard.schedules.rows import Schedule

logger = logging.getLogger("taskyard.schedules")

REST = 50
"""How many times as long as it took to look nobody looks again."""

AT_ONCE = 5_000
"""Rows that one look takes in at most."""
_SECONDS = 5.0
"""How long a look takes in rows; what is left is for the next."""

# Those with a problem are looked at each time: it may have gone by itself. What is new goes first,
# so that however many of them there are nothing else waits behind them.
_UNSEEN = """
SELECT id FROM ty_schedules WHERE seen IS NULL OR seen <> {state} OR problem IS NOT NULL
 ORDER BY CASE WHEN seen = {state} THEN 1 ELSE 0 END, id LIMIT :most
"""

_STATES = "SELECT seen, {state} FROM ty_schedules WHERE id = :id"

_FILL_IN = """
UPDATE ty_schedules
   SET created_at = COALESCE(created_at, {now}), time_zone = COALESCE(time_zone, :time_zone)
 WHERE id = :id AND (created_at IS NULL OR time_zone IS NULL)
"""

_SET_PROBLEM = """
UPDATE ty_schedules SET problem = :problem, updated_at = {now} WHERE id = :id
"""


class EditWatch:
    """Looks for edits now and then, for as small a share of the time.

    A look compares each row with what was seen of it: 0.3 s for 10,000 of them. So after a look
    that found nothing it rests fifty times as long as that took: with 10,000 schedules an edit is
    noticed within twenty seconds, and looking costs a server 2 % of a core at most.
    """

    def __init__(self, db: Database, time_zone: str) -> None:
        """`time_zone` is given to rows that name none."""
        self._db = db
        self._time_zone = time_zone
        self._rests_until = 0.0

    def look(self) -> int:
        """Take in what SQL has changed, unless it rests; returns how many rows were looked at."""
        began = time.monotonic()
        if began < self._rests_until:
            return 0
        found = notice_schedule_edits(self._db, self._time_zone)
        ended = time.monotonic()
        self._rests_until = 0.0 if found else ended + REST * (ended - began)
        return found


def notice_schedule_edits(db: Database, time_zone: str) -> int:
    """Take in what SQL has changed since the last look; returns how many rows were looked at.

    `time_zone` is given to rows that name none.
    """
    ids = db.read(_unseen)
    until = time.monotonic() + _SECONDS
    for count, schedule_id in enumerate(ids, 1):
        db.run(partial(take_in, schedule_id=schedule_id, time_zone=time_zone))
        if time.monotonic() >= until:
            return count
    return len(ids)


def _unseen(tx: Tx) -> list[int]:
    sql = _UNSEEN.format(state=rows.state(tx))
    return [row[0] for row in tx.all(sql, most=AT_ONCE)]


def take_in(tx: Tx, schedule_id: int, time_zone: str) -> None:
    """Check a row as it is now, and plan its next instant. Of several Servers the first does."""
    row = rows.fetch(tx, schedule_id, locked=True)
    if row is None:
        return
    before, after = _states(tx, schedule_id)
    if before == after and row["problem"] is None:
        return
    tx.execute(_FILL_IN.format(now=tx.dialect.utc_now), id=schedule_id, time_zone=time_zone)
    schedule, problem = _checked(tx, schedule_id, time_zone)
    if schedule is None:
        rows.plan(tx, schedule_id, None)
    elif row["problem"] is not None or _is_planned_anew(before, after):
        rows.plan(tx, schedule_id, _next(tx, schedule))
    if problem != row["problem"]:
        sql = _SET_PROBLEM.format(now=tx.dialect.utc_now)
        tx.execute(sql, id=schedule_id, problem=problem)
        _say(row["name"], problem)
    if before != after:
        _audit(tx, row, before, after)
        rows.remember(tx, schedule_id)


def _states(tx: Tx, schedule_id: int) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """The fields as they were seen and as they are."""
    seen, state = tx.all(_STATES.format(state=rows.state(tx)), id=schedule_id)[0]
    return (None if seen is None else orjson.loads(seen)), orjson.loads(state)


def _checked(tx: Tx, schedule_id: int, time_zone: str) -> tuple[Schedule | None, str | None]:
    """The Schedule; or None, and what keeps it from being one."""
    row = rows.fetch(tx, schedule_id)
    assert row is not None, "a locked row is gone"
    try:
        schedule = rows.schedule_of(row, time_zone)
        _check_queue(tx, schedule.definition.queue)
    except TaskyardError as error:
        return None, f"{error} {error.fix}"
    return schedule, None


def _check_queue(tx: Tx, queue: str | None) -> None:
    known = [row[0] for row in tx.all("SELECT queue_name FROM queue_configs")]
    if queue is not None and queue not in known:
        raise QueueUnknown(queue, known)


def _is_planned_anew(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
    return before is None or any(before.get(name) != after[name] for name in TIMING)


def _next(tx: Tx, schedule: Schedule) -> datetime | None:
    return schedule.next(rows.now_of(tx)) if schedule.definition.status == 1 else None


def _audit(
    tx: Tx, row: Mapping[str, Any], before: Mapping[str, Any] | None, after: Mapping[str, Any]
) -> None:
    changed = [name for name in after if before is None or before.get(name) != after[name]]
    audit.write(
        tx,
        SQL,
        "schedule.create" if before is None else "schedule.update",
        f"schedule/{row['name']}",
        tenant_id=str(row["tenant_id"]),
        before=None if before is None else {name: before.get(name) for name in changed},
        after={name: after[name] for name in changed},
    )


def _say(name: Any, problem: str | None) -> None:
    if problem is None:
        logger.info("schedule %s is mended", name)
    else:
        logger.error("schedule %s is quarantined: %s", name, problem)
