"""Bulk: one verb over many Tasks: those that are named, or all that a filter lets through.

Owns how they are found, counted and gone through; what a verb does to one is `change.py`'s. The
audit gets an entry for the operation (what was asked, and over how many) before anything is done,
and the entry of each Task, in the transaction that changes it: "who cancelled this one?" has the
same answer however it was done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import (
    CountChanged,
    DuplicateTask,
    NotNow,
    QueryInvalid,
    QueueUnknown,
    TaskUnknown,
    TaskyardError,
)
from taskyard.db.database import Database, Tx
from taskyard.db.listing import MAX_LIMIT, Query
from taskyard.tasks import change, manage
from taskyard.tasks.browse import list_tasks, word_of
from taskyard.tasks.enqueue import TaskRef

MAX_TASKS = 100_000
"""Tasks that one operation may be over."""

_CHUNK = 100  # in one transaction


class Action(StrEnum):
    """What can be done to many Tasks."""

    CANCEL = "cancel"
    RETRY = "retry"
    RUN_NOW = "run-now"
    PRIORITY = "priority"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A Task that was left as it is: its name QUEUE/ID, the code of the reason and its sentence."""

    ref: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Bulk:
    """What an operation came to: how many Tasks it changed, and those that it could not."""

    action: Action
    count: int
    done: int
    skipped: list[Skipped]


def bulk(
    db: Database,
    caller: Caller,
    action: Action,
    *,
    refs: Sequence[str] | None = None,
    filters: Mapping[str, Any] | None = None,
    expected_count: int | None = None,
    why: str = "cancelled",
    priority: int = 0,
) -> Bulk:
    """Do `action` to the Tasks named in `refs` (QUEUE/ID), or to all that `filters` let through.

    With `filters` the `expected_count` must be given; it is how many the caller has seen. `why` is
    for cancel, `priority` for priority. Raises CountChanged (nothing was done), QueryInvalid,
    QueueUnknown or NotAllowed.
    """
    caller.require(Permission.PURGE if action is Action.DELETE else Permission.TASKS_WRITE)
    if refs is not None and filters is None:
        found, skipped = _named(db, refs)
    elif filters is not None and refs is None and expected_count is not None:
        found, skipped = list(_matching(db, caller, filters)), []
    else:
        raise QueryInvalid(
            "filter",
            "It is not clear which tasks are meant.",
            "Give either their names, or a filter and the expected_count.",
        )
    count = len(found) + len(skipped)
    if expected_count is not None and count != expected_count:
        raise CountChanged(expected_count, count)
    operation = _Operation(db, caller, action, why, priority, skipped)
    if found:
        operation.announce(count, filters)
    done = sum(operation.do(found[n : n + _CHUNK]) for n in range(0, len(found), _CHUNK))
    return Bulk(action, count, done, skipped)


# --- which ---------------------------------------------------------------------------------------


def _named(db: Database, names: Sequence[str]) -> tuple[list[TaskRef], list[Skipped]]:
    if len(names) > MAX_TASKS:
        raise _too_many()
    found: list[TaskRef] = []
    skipped: list[Skipped] = []
    for name in dict.fromkeys(names):
        try:
            found.append(manage.parse_ref(db, name))
        except (TaskUnknown, QueueUnknown) as error:
            skipped.append(_skipped(name, error))
    return found, skipped


def _matching(db: Database, caller: Caller, filters: Mapping[str, Any]) -> Iterator[TaskRef]:
    cursor: str | None = None
    count = 0
    while True:
        page = list_tasks(db, caller, Query(filters, limit=MAX_LIMIT, cursor=cursor))
        count += len(page.rows)
        if count > MAX_TASKS:
            raise _too_many()
        for row in page.rows:
            yield TaskRef(row["queue"], row["task_table"], row["id"])
        cursor = page.next_cursor
        if cursor is None:
            return


def _too_many() -> QueryInvalid:
    return QueryInvalid(
        "filter", f"There are more than {MAX_TASKS:,} tasks.", "Narrow it, and go part by part."
    )


# --- do it ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Operation:
    db: Database
    caller: Caller
    action: Action
    why: str
    priority: int
    skipped: list[Skipped]

    def announce(self, count: int, filters: Mapping[str, Any] | None) -> None:
        """Write down what is asked, before anything is done."""
        after = {"count": count, "filter": None if filters is None else dict(filters)}
        thing = f"tasks/{self.action}"
        self.db.run(lambda tx: audit.write(tx, self.caller, "task.bulk", thing, after=after))

    def do(self, refs: Sequence[TaskRef]) -> int:
        """One part, in one transaction; returns how many were changed."""
        left = self.db.run(lambda tx: [self._one(tx, ref) for ref in refs])
        self.skipped.extend(skip for skip in left if skip is not None)
        for table in {ref.table for ref in refs}:
            self.db.bell.ring(table)
        return left.count(None)

    def _one(self, tx: Tx, ref: TaskRef) -> Skipped | None:
        try:
            if self._change(tx, ref):
                return None
            table = tx.dialect.quote(ref.table)
            status = tx.value(f"SELECT status FROM {table} WHERE id = :id", id=ref.id)
            raise NotNow(self.action.replace("-", " "), f"task {ref}", word_of(status))
        except (TaskUnknown, NotNow, DuplicateTask) as error:
            return _skipped(str(ref), error)

    def _change(self, tx: Tx, ref: TaskRef) -> bool:
        match self.action:
            case Action.CANCEL:
                return change.cancel(tx, self.caller, ref, self.why)
            case Action.RETRY:
                return self._retry(tx, ref)
            case Action.RUN_NOW:
                return change.run_now(tx, self.caller, ref)
            case Action.PRIORITY:
                return change.set_priority(tx, self.caller, ref, self.priority)
            case Action.DELETE:
                return change.delete(tx, self.caller, ref)

    def _retry(self, tx: Tx, ref: TaskRef) -> bool:
        try:
            with tx.savepoint():
                return change.retry(tx, self.caller, ref)
        except Exception as error:
            if not tx.dialect.is_duplicate(error):
                raise
            raise manage.duplicate_in(tx, ref) from error


def _skipped(ref: str, error: TaskyardError) -> Skipped:
    return Skipped(ref, error.code, error.text)
