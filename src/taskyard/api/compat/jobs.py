"""Jobs: what fires by itself, as requirement 3 lists it: a scheduler, its jobs and their triggers.

Owns the form, which is its original's. The rules are `core/cron.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from taskyard import servers
from taskyard.access.caller import ENGINE, Caller
from taskyard.core import cron
from taskyard.core.version import VERSION
from taskyard.db.database import Database
from taskyard.db.listing import MAX_LIMIT, Query
from taskyard.runs.browse import list_runs
from taskyard.schedules.browse import list_schedules
from taskyard.settings import Settings

PRUNE = "taskyard.prune"

_PAGES = 20
_STATES = {"started": "NORMAL", "stopped": "PAUSED", "over": "COMPLETE", "quarantined": "ERROR"}
_MISFIRES = {
    "one": "FIRE_ONCE_NOW",
    "all": "IGNORE_MISFIRE_POLICY",
    "skip": "DO_NOTHING",
}


class Info(BaseModel):
    """What fires by itself."""

    scheduler: list[str] = Field(description="The scheduler, in lines for people.")
    jobs: list[dict[str, Any]] = Field(description="Each with its `triggers`.")


def info(db: Database, caller: Caller, settings: Settings) -> dict[str, Any]:
    """The scheduler and its jobs. Raises NotAllowed."""
    rows = servers.list_servers(db, caller)
    jobs = [_job(schedule) for schedule in _schedules(db)]
    if PRUNE not in {job["key"] for job in jobs}:  # no server has made its schedule yet
        jobs.append(_prune(db, settings))
    return {"scheduler": _scheduler(rows, len(jobs)), "jobs": jobs}


def _scheduler(rows: list[servers.SessionRow], jobs: int) -> list[str]:
    alive = [row for row in rows if row.alive]
    since = min((row.started_at for row in alive), default=None)
    lines = [
        f"Taskyard {VERSION}: any server fires what is due, none of them leads.",
        f"Servers alive: {', '.join(row.server_id for row in alive) or 'none'}.",
        f"Jobs: {jobs}.",
    ]
    if since is not None:
        lines.insert(1, f"Running since {datetime.fromtimestamp(since, UTC).isoformat()}.")
    return lines


def _schedules(db: Database) -> Iterator[dict[str, Any]]:
    """The schedules of all tenants by name, as far as one answer may have them."""
    query = Query(limit=MAX_LIMIT)
    for _ in range(_PAGES):
        page = list_schedules(db, ENGINE, query)
        yield from page.rows
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


def _job(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """A schedule as a job with one trigger."""
    key = schedule["name"]
    return {
        "key": key,
        "class": schedule["task_type"],
        "description": schedule["words"],
        "concurrent-execution-disallowed?": schedule["overlap"] != "allow",
        "durable?": True,
        "requests-recovery?": True,
        "triggers": [
            {
                "key": f"{key}.{schedule['id']}",
                "description": schedule["words"],
                "state": _STATES[schedule["state"]],
                "priority": 5,
                "start-time": schedule["start_at"],
                "end-time": schedule["end_at"],
                "previous-fire-time": schedule["last_fire_at"],
                "next-fire-time": schedule["next_fire_at"],
                "final-fire-time": None,
                "may-fire-again?": schedule["next_fire_at"] is not None,
                "data": schedule["task_params"] or {},
                "schedule": _rule(schedule),
                "timezone": schedule["time_zone"],
                "misfire-instruction": _MISFIRES[schedule["misfire"]],
            }
        ],
    }


def _rule(schedule: Mapping[str, Any]) -> str | None:
    interval = schedule["interval"]
    return schedule["cron_expression"] or (None if interval is None else f"@every {interval:g}s")


def _prune(db: Database, settings: Settings) -> dict[str, Any]:
    """The nightly clean-up of history."""
    hour, minute = settings.prune_at.split(":")
    schedule = f"0 {int(minute)} {int(hour)} * * ? *"
    last = list_runs(db, ENGINE, Query({"task_type": [PRUNE]}, limit=1)).rows
    return {
        "key": PRUNE,
        "class": "taskyard.engine.builtin.prune",
        "description": "Removes old runs and tasks, as the retention settings say.",
        "concurrent-execution-disallowed?": False,
        "durable?": True,
        "requests-recovery?": True,
        "triggers": [
            _trigger(
                f"{PRUNE}.nightly",
                schedule,
                settings.default_time_zone,
                last[0]["started_at"] if last else None,
            )
        ],
    }


def _trigger(key: str, schedule: str, zone: str, last: datetime | None) -> dict[str, Any]:
    rule = cron.parse(schedule, dialect="quartz", time_zone=zone)
    return {
        "key": key,
        "description": rule.describe(),
        "state": "NORMAL",
        "priority": 5,
        "start-time": None,
        "end-time": None,
        "previous-fire-time": last,
        "next-fire-time": rule.next(datetime.now(UTC)),
        "final-fire-time": None,
        "may-fire-again?": True,
        "data": {},
        "schedule": schedule,
        "timezone": zone,
        "misfire-instruction": "FIRE_ONCE_NOW",
    }
