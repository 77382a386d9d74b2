"""Manage: what people do to one Task: find, wait for, cancel, retry it.

Owns these verbs. What they change is `change.py`'s, the same over many Tasks is `bulk.py`'s.
Listing is `browse.py`'s.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from taskyard.access.caller import Caller
from taskyard.core.errors import DuplicateTask, NotNow, TaskFailed, TaskUnknown, WaitTimedOut
from taskyard.core.lifecycle import TaskStatus
from taskyard.core.payload import load_result
from taskyard.db.database import Database, Tx
from taskyard.tasks import change
from taskyard.tasks.enqueue import TaskRef, route

_STATE = (
    "SELECT status, owner, run_id, error_msg, retry_count, max_retries FROM {table} WHERE id = :id"
)

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


def cancel(db: Database, caller: Caller, ref: TaskRef, why: str = "cancelled") -> State:
    """Cancel a Task: a pending one ends at once, a running one is stopped by its Server.

    Raises NotNow when it has ended already, TaskUnknown or NotAllowed.
    """
    return _change(db, ref, "cancel", lambda tx: change.cancel(tx, caller, ref, why))


def retry(db: Database, caller: Caller, ref: TaskRef) -> State:
    """Run a Task again that has ended, all its attempts anew.

    Raises NotNow when it has not ended, DuplicateTask when a live one has its `unique_key` now,
    TaskUnknown or NotAllowed.
    """
    try:
        return _change(db, ref, "retry", lambda tx: change.retry(tx, caller, ref))
    except Exception as error:
        if not db.dialect.is_duplicate(error):
            raise
        raise db.read(lambda tx: duplicate_in(tx, ref)) from error


def run_now(db: Database, caller: Caller, ref: TaskRef) -> State:
    """Make a pending Task due, however far off its `schedule_time` is.

    Raises NotNow when it is not pending, TaskUnknown or NotAllowed.
    """
    return _change(db, ref, "run now", lambda tx: change.run_now(tx, caller, ref))


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


def duplicate_in(tx: Tx, ref: TaskRef) -> DuplicateTask:
    """The error that tells which live Task has the `unique_key` of this one."""
    key, twin = tx.one(_TWIN.format(table=tx.dialect.quote(ref.table)), id=ref.id) or ("", None)
    return DuplicateTask(key, f"{ref.queue}/{twin}")


def _change(db: Database, ref: TaskRef, verb: str, work: Callable[[Tx], bool]) -> State:
    hit = db.run(work)
    found = state(db, ref)
    if not hit:
        raise NotNow(verb, f"task {ref}", found.status.name.lower())
    db.bell.ring(ref.table)
    return found


def _result(db: Database, ref: TaskRef, found: State) -> Any:
    if found.status is not TaskStatus.COMPLETED:
        raise TaskFailed(str(ref), found.status.name.lower(), found.error)
    text = db.read(
        lambda tx: tx.value("SELECT output FROM ty_runs WHERE id = :id", id=found.run_id)
    )
    return load_result(text)
