"""Pictures: what there is to see of a demo at one moment.

Reads the database through the verbs that every list is made with. How a picture looks is the
terminal's business (`cli/demo_view.py`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from taskyard import queues, servers
from taskyard.access.caller import LOCAL
from taskyard.core.lifecycle import RunStatus, TaskStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Query
from taskyard.queues import Queue
from taskyard.runs import browse
from taskyard.servers import SessionRow

Counts = dict[TaskStatus, int]

_RUNS = 10
BAD = ",".join((RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.LOST))
"""The statuses of Runs that went wrong, as a filter."""


@dataclass(frozen=True, slots=True)
class Picture:
    """What there is to see. `elapsed` is seconds since the servers work."""

    elapsed: float
    queues: list[Queue]
    counts: dict[str, Counts]
    """How many Tasks of each Queue are in which state."""
    servers: list[SessionRow]
    runs: list[dict[str, Any]]
    """The newest Runs, live ones among them."""
    troubles: list[dict[str, Any]]
    """The newest Runs that went wrong."""
    mails: int

    def total(self, status: TaskStatus) -> int:
        """How many Tasks are in this state, over all Queues."""
        return sum(counts.get(status, 0) for counts in self.counts.values())


def look(database: Database, since: float, mails: int) -> Picture:
    """What there is to see now; `since` is when the servers began, by the monotonic clock."""
    found = queues.list_queues(database, LOCAL)
    return Picture(
        elapsed=time.monotonic() - since,
        queues=found,
        counts={q.queue_name: database.read(partial(_counts, queue=q)) for q in found},
        servers=servers.list_servers(database, LOCAL),
        runs=newest_runs(database, _RUNS),
        troubles=newest_runs(database, _RUNS, status=BAD),
        mails=mails,
    )


def newest_runs(database: Database, limit: int, **filters: str) -> list[dict[str, Any]]:
    """The newest Runs, with their errors; `filters` are those of every list of Runs."""
    return browse.list_runs(database, LOCAL, Query(filters, limit=limit, large=("error",))).rows


def _counts(tx: Tx, queue: Queue) -> Counts:
    table = tx.dialect.quote(queue.table_name)
    rows = tx.all(f"SELECT status, COUNT(*) FROM {table} GROUP BY status")
    return {TaskStatus(status): count for status, count in rows}
