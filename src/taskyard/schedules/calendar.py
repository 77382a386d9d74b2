"""Calendar: how many Runs of a Schedule fell into each hour, how many failed, and where none came.

Owns the figures of the heat map. They are counted from the Schedule's own Runs over a bounded
stretch of the index on it, never from the whole history.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core import cron
from taskyard.core.errors import QueryInvalid, TaskyardError
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Database, Tx
from taskyard.schedules import rows
from taskyard.schedules.browse import find

MOST_DAYS = 31

MOST_RUNS = 50_000
"""The newest Runs that are counted; what lies behind them is left out, and `capped` says so."""

_HOUR = timedelta(hours=1)
_MICROSECOND = timedelta(microseconds=1)
# Every zone's hours begin with a quarter of an hour of UTC.
_QUARTER = 15 * 60 * 1_000_000
_FAILED = (RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.LOST)

_COUNTED = f"""
SELECT r.claimed_at - r.claimed_at % {_QUARTER} AS quarter, r.status AS status, COUNT(*) AS runs
  FROM (SELECT claimed_at, status FROM ty_runs
         WHERE schedule_id = :schedule_id AND claimed_at >= :start
         ORDER BY claimed_at DESC, id DESC LIMIT {MOST_RUNS}) AS r
 GROUP BY r.claimed_at - r.claimed_at % {_QUARTER}, r.status
"""


def calendar(db: Database, caller: Caller, schedule: int | str, days: int = 14) -> dict[str, Any]:
    """The hours of the last `days` days in which a Schedule ran or should have, in its zone.

    Of each: `hour` (its start), `runs` (those handed back left out), `failed` (timed out and lost
    ones too), and `planned`, whether its rule as it is now has an instant in it. Hours before it
    was made are not planned, nor those since it was stopped.
    Raises ScheduleUnknown, QueryInvalid or NotAllowed.
    """
    caller.require(Permission.SCHEDULES_READ)
    if not 1 <= days <= MOST_DAYS:
        raise QueryInvalid("days", f"days cannot be {days}.", f"Give 1 to {MOST_DAYS}.")

    def work(tx: Tx) -> dict[str, Any]:
        row = find(tx, caller, schedule)
        now = rows.now_of(tx)
        zone = _zone(row)
        start = _start(now, days, zone)
        counted = tx.rows(_COUNTED, schedule_id=int(row["id"]), start=_micros(start))
        hours = _ran(counted, zone)
        for hour in _planned(row, start, now, zone):
            hours.setdefault(hour, _nothing())["planned"] = True
        return {
            "from": start.astimezone(zone),
            "to": now.astimezone(zone),
            "capped": sum(found["runs"] for found in counted) >= MOST_RUNS,
            "data": [{"hour": at.astimezone(zone), **hours[at]} for at in sorted(hours)],
        }

    return db.read(work)


def _zone(row: dict[str, Any]) -> tzinfo:
    """Its zone; UTC where the row cannot be read (it is quarantined)."""
    try:
        return cron.read_zone(rows.schedule_of(row).definition.time_zone)
    except TaskyardError:
        return UTC


def _start(now: datetime, days: int, zone: tzinfo) -> datetime:
    """Midnight of the first day, today being the last one."""
    first = now.astimezone(zone) - timedelta(days=days - 1)
    return first.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def _nothing() -> dict[str, Any]:
    return {"runs": 0, "failed": 0, "planned": False}


def _ran(counted: list[dict[str, Any]], zone: tzinfo) -> dict[datetime, dict[str, Any]]:
    """The counts of quarters of an hour as those of the zone's hours, by their start in UTC."""
    hours: dict[datetime, dict[str, Any]] = {}
    for row in counted:
        if row["status"] == RunStatus.INTERRUPTED:
            continue
        at = cron.EPOCH + timedelta(microseconds=int(row["quarter"]))
        hour = hours.setdefault(_hour_of(at, zone), _nothing())
        hour["runs"] += int(row["runs"])
        hour["failed"] += int(row["runs"]) if row["status"] in _FAILED else 0
    return hours


def _planned(
    row: dict[str, Any], start: datetime, now: datetime, zone: tzinfo
) -> Iterator[datetime]:
    """The hours in which its rule has an instant, each asked for once."""
    try:
        schedule = rows.schedule_of(row)
    except TaskyardError:
        return
    changed = rows.presented(row)["updated_at"]
    is_over = row["status"] != 1 and isinstance(changed, datetime)
    end = min(now, changed) if is_over else now
    after = max(start, schedule.created_at) - _MICROSECOND
    while (instant := schedule.next(after)) is not None and instant <= end:
        hour = _hour_of(instant, zone)
        yield hour
        after = hour + _HOUR - _MICROSECOND


def _hour_of(at: datetime, zone: tzinfo) -> datetime:
    """The start of the hour of a zone, in UTC: some zones are half an hour off."""
    local = at.astimezone(zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return at.astimezone(UTC) - into


def _micros(at: datetime) -> int:
    return (at - cron.EPOCH) // _MICROSECOND
