"""Enqueue: puts Tasks into a queue's table.

Owns the INSERT: one, many, or inside a transaction of the caller's, so that the Task commits or
rolls back with the caller's own work. Whether parameters fit a Handler is checked before
(`handlers.py`); who may enqueue by SQL is anybody with the right to INSERT.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import DuplicateTask, ParamsInvalid
from taskyard.db.borrowed import borrow
from taskyard.db.database import Database, Tx
from taskyard.db.tables import check_table_name
from taskyard.queues import DEFAULT, ensure_queue, get_queue
from taskyard.tracing import carried

_CHUNK = 1_000
_LENGTHS = {"task_type": 255, "unique_key": 190, "excl_key": 190, "tenant_id": 64}
"""Characters of the columns; SQLite would keep any."""

_ROUTE_SECONDS = 2.0

_LIVE_TWIN = """
SELECT id FROM {table}
 WHERE tenant_id = :tenant_id AND unique_key = :unique_key AND status IN (0, 1)
"""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A Task to be: its type, its parameters as JSON text, and how it should run.

    `at` is seconds since 1970 (UTC), `delay` seconds from now; neither means now. None for
    `max_retries`, `timeout` and `retry_interval` leaves it to the queue and the Handler.
    """

    task_type: str
    task_params: str | None = None
    queue: str = "default"
    at: float | None = None
    delay: float | None = None
    priority: int = 0
    max_retries: int = 3
    timeout: float | None = None
    retry_interval: float | None = None
    unique_key: str | None = None
    excl_key: str | None = None
    tenant_id: str = ""
    origin: str = "enqueued"
    context: str | None = None


@dataclass(frozen=True, slots=True)
class TaskRef:
    """Where a Task is: `QUEUE/ID` (rulings 2.1)."""

    queue: str
    table: str
    id: int

    def __str__(self) -> str:
        return f"{self.queue}/{self.id}"


def enqueue(db: Database, caller: Caller, task: NewTask, *, connection: Any = None) -> TaskRef:
    """Put one Task into its queue; returns where it is.

    `connection` (DB-API connection, SQLAlchemy connection or session) makes the Task part of the
    caller's transaction. Raises QueueUnknown, DuplicateTask (a live Task has the `unique_key`),
    ParamsInvalid (a key no column holds), and OutcomeUnknown when the connection was lost after
    the INSERT had been sent; NotAllowed.
    """
    caller.require_tenant(task.tenant_id, Permission.TASKS_WRITE)
    table = route(db, task.queue)
    if connection is not None:
        tx = borrow(connection, db.dialect)
        task_id = _insert(tx, table, task)
        twin = _twin(tx, table, task) if task_id is None else None
    else:
        task_id, twin = _insert_alone(db, table, task)
    if task_id is None:
        raise DuplicateTask(task.unique_key or "", f"{task.queue}/{twin}")
    return TaskRef(task.queue, table, task_id)


def enqueue_many(
    db: Database, caller: Caller, tasks: Iterable[NewTask], *, connection: Any = None
) -> list[TaskRef | None]:
    """Put many Tasks into their queues, all or none; None stands for a Task whose twin is live."""
    given = list(tasks)
    for tenant_id in {task.tenant_id for task in given}:
        caller.require_tenant(tenant_id, Permission.TASKS_WRITE)
    routes = {queue: route(db, queue) for queue in {task.queue for task in given}}

    def work(tx: Tx) -> list[TaskRef | None]:
        found: list[TaskRef | None] = [None] * len(given)
        for queue, table in routes.items():
            numbers = [n for n, task in enumerate(given) if task.queue == queue]
            for n, task_id in zip(
                numbers, _insert_many(tx, table, [given[n] for n in numbers]), strict=True
            ):
                found[n] = None if task_id is None else TaskRef(queue, table, task_id)
        return found

    if connection is not None:
        return work(borrow(connection, db.dialect))
    refs = db.run(work, again=False)
    for table in routes.values():
        db.bell.ring(table)
    return refs


def put(tx: Tx, table: str, tasks: Sequence[NewTask]) -> list[int]:
    """Put Tasks without a unique_key into a table inside the caller's transaction; their ids.

    Whoever commits it rings the bell. Raises ParamsInvalid.
    """
    return [task_id for task_id in _insert_many(tx, table, tasks) if task_id is not None]


def route(db: Database, queue: str) -> str:
    """The task table of a queue, remembered for two seconds; raises QueueUnknown, TableInvalid."""
    known = db.cache.get(queue)
    if known is not None and known[1] > time.monotonic():
        return str(known[0])
    if queue == DEFAULT:
        ensure_queue(db, queue)  # there before any Server has run
    table = check_table_name(get_queue(db, queue).table_name)
    db.cache[queue] = (table, time.monotonic() + _ROUTE_SECONDS)
    return table


def _insert_alone(db: Database, table: str, task: NewTask) -> tuple[int | None, int | None]:
    """Insert in a transaction of its own, and ring; a single statement can do both at once."""
    alone = db.dialect.single_inserts and task.unique_key is None
    ring = alone and db.bell.is_due(table)

    def work(tx: Tx) -> tuple[int | None, int | None]:
        task_id = _insert(tx, table, task, ring=ring)
        return task_id, (_twin(tx, table, task) if task_id is None else None)

    ids = db.run(work, again=False, alone=alone)
    if not alone:
        db.bell.ring(table)
    return ids


def _insert(tx: Tx, table: str, task: NewTask, *, ring: bool = False) -> int | None:
    return tx.dialect.insert_task(tx, table, _row(task), (task.at, task.delay), ring=ring)


def _insert_many(tx: Tx, table: str, tasks: Sequence[NewTask]) -> list[int | None]:
    """Tasks without a unique key go in by the thousand; the others must each be asked about."""
    ids: list[int | None] = [None] * len(tasks)
    plain = [n for n, task in enumerate(tasks) if task.unique_key is None]
    for start in range(0, len(plain), _CHUNK):
        chunk = plain[start : start + _CHUNK]
        rows = [_row(tasks[n]) for n in chunk]
        whens = [(tasks[n].at, tasks[n].delay) for n in chunk]
        for n, task_id in zip(chunk, tx.dialect.insert_tasks(tx, table, rows, whens), strict=True):
            ids[n] = task_id
    for n, task in enumerate(tasks):
        if task.unique_key is not None:
            ids[n] = _insert(tx, table, task)
    return ids


def _row(task: NewTask) -> dict[str, Any]:
    long = [
        f"{name} has {len(value)} characters, the limit is {limit}"
        for name, limit in _LENGTHS.items()
        if (value := getattr(task, name)) is not None and len(value) > limit
    ]
    if long:
        raise ParamsInvalid(task.task_type[:50], long)
    return {
        "task_type": task.task_type,
        "task_params": task.task_params,
        "priority": max(-100, min(100, task.priority)),
        "max_retries": task.max_retries,
        "timeout": task.timeout,
        "retry_interval": task.retry_interval,
        "unique_key": task.unique_key,
        "excl_key": task.excl_key,
        "tenant_id": task.tenant_id,
        "origin": task.origin,
        "context": carried(task.context),
    }


def _twin(tx: Tx, table: str, task: NewTask) -> int | None:
    found: int | None = tx.value(
        _LIVE_TWIN.format(table=tx.dialect.quote(table)),
        tenant_id=task.tenant_id,
        unique_key=task.unique_key,
    )
    return found
