"""Manage: what people do to a Task that is there: find, wait for, cancel, retry.

Owns these verbs. Listing is `runs/browse.py`'s and the lists' own; changing a Task by SQL instead
is allowed and means the same (rulings 1.4, 3.1).
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Any

from taskyard.core.errors import DuplicateTask, NotNow, TaskFailed, TaskUnknown, WaitTimedOut
from taskyard.core.lifecycle import TaskStatus
from taskyard.core.payload import load_result
from taskyard.db.database import Database, Tx
from taskyard.tasks.enqueue import TaskRef, route

_STATE = (
    "SELECT status, owner, run_id, error_msg, retry_count, max_retries FROM {table} WHERE id = :id"
)

_CANCEL_PENDING = """
UPDATE {table} SET status = 4, error_msg = :why, end_time = {now}, updated_at = {now}
 WHERE id = :id AND status = 0
"""

# The owner stays: only the Session that runs it clears it, when the handler has been stopped.
_CANCEL_RUNNING = """
UPDATE {table} SET status = 4, error_msg = :why, end_time = {now}, updated_at = {now}
 WHERE id = :id AND status = 1
"""

_RETRY = """
UPDATE {table}
   SET status = 0, retry_count = 0, crashes = 0, suspect = 0, hold = 0, error_msg = NULL,
       end_time = NULL, origin = 'manual', schedule_time = {now}, updated_at = {now}
 WHERE id = :id AND status IN (2, 3, 4) AND owner IS NULL
"""


_TWIN = """
SELECT twin.unique_key, twin.id FROM {table} AS t JOIN {table} AS twin
    ON twin.tenant_id = t.tenant_id AND twin.unique_key = t.unique_key AND twin.status IN (0, 1)
 WHERE t.id = :id
"""


@dataclass(frozen=True, slots=True)
class State:
    """Where a Task stands."""

    status: TaskStatus
    owner: str | None
    run_id: int | None
    error: str | None
    retry_count: int
    max_retries: int

    @property
    def ended(self) -> bool:
        """Is it at an end, with nobody working on it any more?"""
        return self.status >= TaskStatus.COMPLETED and self.owner is None


def parse_ref(db: Database, text: str) -> TaskRef:
    """Read `QUEUE/ID`; raises TaskUnknown or QueueUnknown."""
    queue, slash, number = text.rpartition("/")
    if not slash or not queue or not number.isdecimal():
        raise TaskUnknown(text)
    return TaskRef(queue, route(db, queue), int(number))


def state(db: Database, ref: TaskRef) -> State:
    """Where a Task stands; raises TaskUnknown."""
    row = db.read(lambda tx: tx.one(_STATE.format(table=tx.dialect.quote(ref.table)), id=ref.id))
    if row is None:
        raise TaskUnknown(str(ref))
    return State(TaskStatus(row[0]), *row[1:])


def cancel(db: Database, ref: TaskRef, why: str = "cancelled") -> State:
    """Cancel a Task: a pending one ends at once, a running one is stopped by its Server.

    Raises NotNow when it has ended already.
    """

    def work(tx: Tx) -> int:
        values = {"id": ref.id, "why": why}
        return _do(tx, _CANCEL_PENDING, ref, values) or _do(tx, _CANCEL_RUNNING, ref, values)

    if not db.run(work):
        found = state(db, ref)
        raise NotNow("cancel", f"task {ref}", found.status.name.lower())
    db.bell.ring(ref.table)
    return state(db, ref)


def retry(db: Database, ref: TaskRef) -> State:
    """Run a Task again that has ended, all its attempts anew.

    Raises NotNow when it has not ended, and DuplicateTask when a live one has its `unique_key` now.
    """
    try:
        hit = db.run(lambda tx: _do(tx, _RETRY, ref, {"id": ref.id}))
    except Exception as error:
        if not db.dialect.is_duplicate(error):
            raise
        raise _duplicate(db, ref) from error
    if not hit:
        found = state(db, ref)
        raise NotNow("retry", f"task {ref}", found.status.name.lower())
    db.bell.ring(ref.table)
    return state(db, ref)


def wait(db: Database, ref: TaskRef, timeout: float | None = None) -> Any:
    """Wait until a Task has ended; returns its output.

    `timeout` is in seconds (None: for ever). Raises WaitTimedOut, and TaskFailed when the Task
    ended failed or cancelled.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.01
    while True:
        found = state(db, ref)
        if found.ended:
            return _result(db, ref, found)
        if deadline is not None and time.monotonic() + pause > deadline:
            raise WaitTimedOut(str(ref), timeout or 0.0)
        time.sleep(pause * random.uniform(0.8, 1.2))
        pause = min(pause * 1.5, 0.5)


def _result(db: Database, ref: TaskRef, found: State) -> Any:
    if found.status is not TaskStatus.COMPLETED:
        raise TaskFailed(str(ref), found.status.name.lower(), found.error)
    text = db.read(
        lambda tx: tx.value("SELECT output FROM ty_runs WHERE id = :id", id=found.run_id)
    )
    return load_result(text)


def _duplicate(db: Database, ref: TaskRef) -> DuplicateTask:
    row = db.read(lambda tx: tx.one(_TWIN.format(table=tx.dialect.quote(ref.table)), id=ref.id))
    key, twin = row or ("", None)
    return DuplicateTask(key, f"{ref.queue}/{twin}")


def _do(tx: Tx, sql: str, ref: TaskRef, values: dict[str, Any]) -> int:
    return tx.execute(sql.format(table=tx.dialect.quote(ref.table), now=tx.dialect.now), **values)
