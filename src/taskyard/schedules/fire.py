"""Fire: enqueues the Tasks of Schedules that are due, on whichever Server looks first.

Owns the one transaction of a fire: the Schedule's row is locked, the instant is written to
`ty_fires` under its unique key, the Task is inserted and `next_fire_at` moves. Nothing elects a
leader: two Servers that look at once take different rows, and whoever dies in between has done
nothing. The database's clock decides what is due. Which instants fire is `due.py`'s, what their
Tasks are `making.py`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from taskyard.access import tenants
from taskyard.core.errors import TaskyardError
from taskyard.db.database import Database, Tx
from taskyard.schedules import due as judging
from taskyard.schedules import edits, making, rows
from taskyard.schedules.due import Due
from taskyard.schedules.making import Maker
from taskyard.schedules.rows import Schedule
from taskyard.tasks.enqueue import NewTask, put

logger = logging.getLogger("taskyard.schedules")

BATCH = 100
"""Schedules that one transaction fires."""
MOST_AT_ONCE = 100
"""Instants of one Schedule that one transaction fires: `all` may have many to catch up."""

_FIRST = """
SELECT {next} - {now} FROM ty_schedules
 WHERE status = 1 AND next_fire_at IS NOT NULL ORDER BY next_fire_at LIMIT 1
"""

_DUE = """
SELECT id, task_type, queue FROM ty_schedules
 WHERE status = 1 AND next_fire_at <= {now} ORDER BY next_fire_at LIMIT :limit
"""

_TAKE = """
SELECT {columns}, CASE WHEN seen = {state} THEN 1 ELSE 0 END AS unchanged FROM ty_schedules
 WHERE id IN ({ids}) AND status = 1 AND next_fire_at <= {now} {skip_locked}
"""

_FIRE = """
INSERT INTO ty_fires (schedule_id, fire_time, task_table, task_id, fired_at, lateness)
VALUES (:schedule_id, {fire_time}, :task_table, :task_id, {now}, :lateness)
"""

_MOVE = """
UPDATE ty_schedules
   SET next_fire_at = {next}, last_fire_at = COALESCE({last}, last_fire_at),
       last_lateness = COALESCE(:lateness, last_lateness),
       last_missed_at = COALESCE({missed_at}, last_missed_at),
       last_task_table = COALESCE(:task_table, last_task_table),
       last_task_id = COALESCE(:task_id, last_task_id),
       fired = fired + :fired, skipped = skipped + :skipped, missed = missed + :missed
 WHERE id = :id AND next_fire_at = :was
"""

_FIRED = "SELECT 1 FROM ty_fires WHERE schedule_id = :id AND fire_time = {fire_time}"

_SPOIL = """
UPDATE ty_schedules SET problem = :problem, next_fire_at = NULL, last_task_id = NULL WHERE id = :id
"""


@dataclass(frozen=True, slots=True)
class Fired:
    """What one look came to: how many instants fired, into which tables, and whether it pays to
    look again at once."""

    count: int = 0
    tables: frozenset[str] = frozenset()
    more: bool = False


@dataclass(slots=True)
class _Fire:
    """A Schedule whose time has come."""

    row: Mapping[str, Any]
    schedule: Schedule
    due: Due
    table: str
    skipped: int = 0
    tasks: list[NewTask] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)


def first_due(db: Database) -> float | None:
    """Seconds until the first Schedule is due (negative: it is); None when there is none."""
    epoch, now = db.dialect.epoch, db.dialect.utc_now
    sql = _FIRST.format(next=epoch("next_fire_at"), now=epoch(now))
    found = db.read(lambda tx: tx.value(sql))
    return None if found is None else float(found)


def fire_due(
    db: Database, maker: Maker, *, time_zone: str = "UTC", now: datetime | None = None
) -> Fired:
    """Fire Schedules that are due, at most `BATCH` of them.

    `time_zone` is that of rows that name none; `now` stands in for the database's clock. Raises
    what the driver raises when nothing could be written; calling again is safe.
    """
    found = db.read(partial(_due, now=now))
    tables = _tables(db, maker, found)
    ids = [row[0] for row in found if row[0] in tables]
    work = partial(_fire, db, maker, tables, time_zone, now)
    try:
        fired = work(ids)
    except Exception as error:
        if db.is_away(error):
            raise
        logger.debug("firing %d schedules together failed: %s", len(ids), error)
        fired = _one_by_one(db, work, ids, now)
    making.ring(db, fired.tables)
    return fired


def _due(tx: Tx, now: datetime | None) -> list[tuple[Any, ...]]:
    moment = now or rows.now_of(tx)
    sql = _DUE.format(now=tx.dialect.utc_from(":now"))
    return tx.all(sql, now=rows.seconds(moment), limit=BATCH)


def _tables(db: Database, maker: Maker, found: Sequence[tuple[Any, ...]]) -> dict[int, str]:
    """By Schedule the table its Tasks go to; one whose queue cannot be told is quarantined."""
    tables = {}
    for schedule_id, task_type, queue in found:
        try:
            tables[schedule_id] = maker.table_of(str(task_type), queue)
        except TaskyardError as error:
            if db.is_away(error):
                raise
            _spoil(db, schedule_id, error)
    return tables


# --- one transaction ------------------------------------------------------------------------------


def _fire(
    db: Database,
    maker: Maker,
    tables: Mapping[int, str],
    time_zone: str,
    now: datetime | None,
    ids: Sequence[int],
) -> Fired:
    if not ids:
        return Fired()

    def work(tx: Tx) -> Fired:
        moment = now or rows.now_of(tx)
        taken = _take(tx, ids, moment)
        closed = tenants.disabled(tx)
        fires = []
        for row in taken:
            if row["unchanged"]:
                schedule = rows.schedule_of(rows.named(row), time_zone)
                fires.append(_judge(tx, row, schedule, tables[schedule.id], moment, closed))
            else:
                edits.take_in(tx, int(row["id"]), time_zone)
        for fire in fires:
            fire.tasks = _make(maker, fire)
        _insert(tx, fires, moment)
        _move(tx, fires, moment)
        return Fired(
            count=sum(len(fire.tasks) for fire in fires),
            tables=frozenset(fire.table for fire in fires if fire.tasks),
            # Only of what this look has moved: what others have locked is theirs.
            more=len(fires) == BATCH or any(_is_due(fire.due.next, moment) for fire in fires),
        )

    return db.run(work)


def _take(tx: Tx, ids: Sequence[int], now: datetime) -> list[dict[str, Any]]:
    """Lock the rows that are still due and that nobody else is at."""
    sql = _TAKE.format(
        columns=rows.SELECTED,
        state=rows.state(tx),
        ids=", ".join(str(int(n)) for n in ids),
        now=tx.dialect.utc_from(":now"),
        skip_locked=tx.dialect.skip_locked,
    )
    return tx.rows(sql, now=rows.seconds(now))


def _judge(
    tx: Tx,
    row: Mapping[str, Any],
    schedule: Schedule,
    table: str,
    now: datetime,
    closed: frozenset[str],
) -> _Fire:
    """Which instants fire, by the misfire policy first and then by the overlap policy."""
    assert schedule.next_fire_at is not None, "a row without a next instant was taken as due"
    made = schedule.definition
    found = judging.decide(
        schedule.next_fire_at,
        now,
        schedule.next,
        misfire=made.misfire,
        window=made.misfire_window,
        most=MOST_AT_ONCE,
    )
    fires = found.fires
    if schedule.tenant_id in closed:
        fires = []
    elif fires and made.overlap == "skip":
        fires = [] if making.is_going_on(tx, schedule) else fires[:1]
    elif fires and made.overlap == "replace":
        making.replace(tx, schedule)
        fires = fires[-1:]
    skipped = len(found.fires) - len(fires)
    return _Fire(row, schedule, Due(fires, found.missed, found.next), table, skipped)


def _make(maker: Maker, fire: _Fire) -> list[NewTask]:
    first = fire.schedule.fired + 1
    return [
        maker.task(fire.schedule, number=first + n, fire_time=instant)
        for n, instant in enumerate(fire.due.fires)
    ]


def _insert(tx: Tx, fires: Sequence[_Fire], now: datetime) -> None:
    """The Tasks, table by table, and their instants."""
    for table in sorted({fire.table for fire in fires if fire.tasks}):
        mine = [fire for fire in fires if fire.table == table]
        ids = iter(put(tx, table, [task for fire in mine for task in fire.tasks]))
        for fire in mine:
            fire.ids = [next(ids) for _ in fire.tasks]
    sql = _FIRE.format(fire_time=tx.dialect.utc_from(":fire_time"), now=tx.dialect.utc_now)
    tx.many(
        sql,
        [
            {
                "schedule_id": fire.schedule.id,
                "fire_time": rows.seconds(instant),
                "task_table": fire.table,
                "task_id": task_id,
                "lateness": _late(instant, now),
            }
            for fire in fires
            for instant, task_id in zip(fire.due.fires, fire.ids, strict=True)
        ],
    )


def _move(tx: Tx, fires: Sequence[_Fire], now: datetime) -> None:
    utc_from = tx.dialect.utc_from
    sql = _MOVE.format(
        next=utc_from(":next"), last=utc_from(":last"), missed_at=utc_from(":missed_at")
    )
    tx.many(sql, [_moved(fire, now) for fire in fires])
    assert not fires or tx.cursor.rowcount == len(fires), "a locked schedule has moved"


def _moved(fire: _Fire, now: datetime) -> dict[str, Any]:
    last = fire.due.fires[-1] if fire.due.fires else None
    return {
        "id": fire.schedule.id,
        "was": fire.row["next_fire_at"],
        "next": rows.seconds(fire.due.next),
        "last": rows.seconds(last),
        "lateness": None if last is None else _late(last, now),
        "missed_at": rows.seconds(now) if fire.due.missed else None,
        "task_table": fire.table if fire.ids else None,
        "task_id": fire.ids[-1] if fire.ids else None,
        "fired": len(fire.ids),
        "skipped": fire.skipped,
        "missed": fire.due.missed,
    }


def _is_due(instant: datetime | None, now: datetime) -> bool:
    return instant is not None and instant <= now


def _late(instant: datetime, now: datetime) -> float:
    return max(0.0, (now - instant).total_seconds())


# --- what goes wrong ------------------------------------------------------------------------------


def _one_by_one(db: Database, work: Any, ids: Sequence[int], now: datetime | None) -> Fired:
    """One Schedule that cannot fire must not keep the others from it."""
    count, tables, more = 0, frozenset[str](), False
    for schedule_id in ids:
        try:
            fired = work([schedule_id])
        except Exception as error:
            if db.is_away(error):
                raise
            if db.dialect.is_duplicate(error):
                db.run(partial(_pass_over, schedule_id=schedule_id))
            else:
                _spoil(db, schedule_id, error)
        else:
            count, tables = count + fired.count, tables | fired.tables
            more = more or fired.more
    return Fired(count, tables, more)


def _pass_over(tx: Tx, schedule_id: int) -> None:
    """Go on behind an instant that has fired: the database's clock was set back, or
    `next_fire_at` was, by SQL."""
    row = rows.fetch(tx, schedule_id, locked=True)
    if row is None or row["next_fire_at"] is None:
        return
    schedule = rows.schedule_of(row)
    instant = schedule.next_fire_at
    sql = _FIRED.format(fire_time=tx.dialect.utc_from(":at"))
    while instant is not None and tx.value(sql, id=schedule_id, at=rows.seconds(instant)):
        instant = schedule.next(instant)
    rows.plan(tx, schedule_id, instant)


def _spoil(db: Database, schedule_id: int, error: Exception) -> None:
    """Quarantine a Schedule with a visible reason; `edits.py` looks whether it is mended."""
    problem = f"{error} {error.fix}" if isinstance(error, TaskyardError) else str(error)
    logger.error("schedule %d is quarantined: %s", schedule_id, problem)
    db.run(lambda tx: tx.execute(_SPOIL, id=schedule_id, problem=problem))
