"""Jobs: what fires by itself, as requirement 3 lists it: a scheduler, its jobs and their triggers.

Owns the form, which is its original's. The rules are `core/cron.py`'s.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, Field

from taskyard import servers
from taskyard.access.caller import ENGINE, Caller
from taskyard.core import cron
from taskyard.core.version import VERSION
from taskyard.db.database import Database
from taskyard.db.listing import Query
from taskyard.runs.browse import list_runs
from taskyard.settings import Settings

PRUNE = "taskyard.prune"


class Info(BaseModel):
    """What fires by itself."""

    scheduler: list[str] = Field(description="The scheduler, in lines for people.")
    jobs: list[dict[str, Any]] = Field(description="Each with its `triggers`.")


def info(db: Database, caller: Caller, settings: Settings) -> dict[str, Any]:
    """The scheduler and its jobs. Raises NotAllowed."""
    rows = servers.list_servers(db, caller)
    jobs = [_prune(db, settings)]
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
