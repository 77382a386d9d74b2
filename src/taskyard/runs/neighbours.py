"""Neighbours: the Runs of one type around a Run, and how long the last ones took.

Owns what stands beside one Run in a console. Reads through the list of `browse.py`, so it sees
what that sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskyard.access.caller import Caller
from taskyard.db.database import Database
from taskyard.db.listing import Query, write_cursor
from taskyard.db.select import Behind
from taskyard.runs.browse import list_runs, show_run
from taskyard.runs.listed import RUNS

STRIP = 50
"""How many of the last Runs of a type are shown."""

_SHOWN = ("id", "status", "started_at", "execution_time")


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The Runs of the same type right before and after a Run (None: there is none), and the newest
    of the type, newest first, each with `id`, `status`, `started_at` and `execution_time`."""

    previous: int | None
    next: int | None
    last: list[dict[str, Any]]


def neighbours(db: Database, caller: Caller, run_id: int) -> Neighbours:
    """What is around a Run. Raises RunUnknown or NotAllowed."""
    run = show_run(db, caller, run_id)
    same = {"task_type": [run["task_type"]]}
    here = Behind(run["claimed_at"], run["id"])

    def nearest(sort: str) -> int | None:
        cursor = write_cursor(RUNS, Query(sort=sort), here)
        rows = list_runs(db, caller, Query(same, sort, limit=1, cursor=cursor)).rows
        return rows[0]["id"] if rows else None

    last = list_runs(db, caller, Query(same, limit=STRIP)).rows
    return Neighbours(
        previous=nearest("-started_at"),
        next=nearest("started_at"),
        last=[{name: row[name] for name in _SHOWN} for row in last],
    )
