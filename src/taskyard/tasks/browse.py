"""Browse: Tasks as people look at them, in one queue's table or in all of them.

Owns the list of Tasks, one Task in full, and how long a queue's line is. Reads only; the verbs over
a Task are `manage.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from taskyard.core.errors import QueueUnknown, TaskUnknown
from taskyard.core.lifecycle import TaskStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import (
    COUNT_CAP,
    Filter,
    Listing,
    Page,
    Query,
    Source,
    integer,
    page,
    read_filter,
    utc,
)
from taskyard.db.tables import task_tables
from taskyard.tasks.enqueue import TaskRef

_TIMES = ("schedule_time", "start_time", "end_time", "created_at", "updated_at")
_WORDS = {status.name.lower(): int(status) for status in TaskStatus}


def _status(value: Any) -> int:
    """Read a state: its word, or its number."""
    text = str(value).strip().lower()
    if text in _WORDS:
        return _WORDS[text]
    if text not in map(str, _WORDS.values()):
        raise ValueError(f'"{value}" is none of {", ".join(_WORDS)}')
    return int(text)


TASKS = Listing(
    columns=(
        "id",
        "task_table",
        "task_type",
        "queue",
        "status",
        "schedule_time",
        "start_time",
        "end_time",
        "retry_count",
        "max_retries",
        "server_id",
        "created_at",
        "updated_at",
        "priority",
        "tenant_id",
        "timeout",
        "retry_interval",
        "unique_key",
        "excl_key",
        "hold",
        "crashes",
        "fence",
        "run_id",
        "claimed_at",
        "origin",
    ),
    large=("error_msg", "task_params", "context"),
    filters={
        "status": Filter("status", read=_status),
        "task_type": Filter("task_type"),
        "tenant_id": Filter("tenant_id"),
        "server_id": Filter("server_id"),
        "unique_key": Filter("unique_key"),
        "excl_key": Filter("excl_key"),
        "origin": Filter("origin"),
        "priority": Filter("priority", read=integer),
    },
    # Ids are per table; those of several tables are told apart by the table.
    sorts={"id": "id"},
    sort="-id",
    key="task_table",
)
"""What may be asked of the list of Tasks; besides, `queue` narrows it to one queue's table."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many Tasks of a table wait and how many run; at most COUNT_CAP + 1 are counted."""

    waiting: int
    running: int


def list_tasks(db: Database, query: Query) -> Page:
    """One page of Tasks, those with the largest id first unless asked otherwise.

    Raises QueryInvalid, or QueueUnknown.
    """

    def work(tx: Tx) -> Page:
        queues = _queues(tx)
        filters = dict(query.filters)
        asked = filters.pop("queue", None)
        if asked is not None and asked not in queues:
            raise QueueUnknown(str(asked), queues)
        tables = task_tables(tx) if asked is None else [queues[asked]]
        narrowed = replace(query, filters=filters)
        sources = _sources(tx, tables, filters.get("status"))
        if not sources:
            return Page([], total=0 if query.count else None)
        found = page(tx, TASKS, sources, narrowed)
        return replace(found, rows=[_presented(row, queues, asked) for row in found.rows])

    return db.read(work)


def show_task(db: Database, ref: TaskRef) -> dict[str, Any]:
    """One Task with its parameters, error, context and progress; raises TaskUnknown."""
    return db.read(partial(_show, ref=ref))


def backlog(db: Database, table: str) -> Backlog:
    """How many Tasks of a table wait, due or not, and how many run."""
    dialect = db.dialect
    quoted = dialect.quote(table)
    parts = (f"({dialect.pending})", f"({dialect.keyed})", "(status = 0 AND hold <> 0)")
    # A count a part: each has an index of its own, `status = 0` alone has none.
    counts = [
        f"SELECT COUNT(*) FROM (SELECT 1 AS n FROM {quoted} WHERE {part} LIMIT :cap) AS c"
        for part in (*parts, "owner IS NOT NULL")
    ]
    sql = f"SELECT {', '.join(f'({count})' for count in counts)}"
    row = db.read(lambda tx: tx.one(sql, cap=COUNT_CAP + 1))
    assert row is not None
    return Backlog(waiting=min(sum(row[:3]), COUNT_CAP + 1), running=row[3])


# --- the list ------------------------------------------------------------------------------------


def _queues(tx: Tx) -> dict[str, str]:
    return dict(tx.all("SELECT queue_name, table_name FROM queue_configs ORDER BY queue_name"))


def _sources(tx: Tx, tables: list[str], status: Any) -> list[Source]:
    """The tables as sources; waiting or running Tasks alone are read by their own indexes."""
    asked = None if status is None else set(read_filter(TASKS, "status", status))
    where = [""]
    if asked == {int(TaskStatus.PENDING)}:
        where = [tx.dialect.pending, tx.dialect.keyed, "status = 0 AND hold <> 0"]
    elif asked == {int(TaskStatus.RUNNING)}:
        where = ["owner IS NOT NULL"]
    return [
        _source(tx, number, table, condition)
        for number, table in enumerate(tables)
        for condition in where
    ]


def _source(tx: Tx, number: int, table: str, where: str) -> Source:
    columns = {name: tx.dialect.iso(name) for name in _TIMES}
    return Source(
        table=tx.dialect.quote(table),
        columns={**columns, "task_table": f":_table_{number}"},
        where=where,
        parameters={f"_table_{number}": table},
    )


def _presented(
    row: Mapping[str, Any], queues: Mapping[str, str], asked: str | None = None
) -> dict[str, Any]:
    """A row as people read it: `ref` names it, states are words, times are aware datetimes."""
    task = dict(row)
    table = task["task_table"]
    claimed_by = task["queue"] if queues.get(task["queue"] or "") == table else None
    named = next((name for name, of in queues.items() if of == table), table)
    task["queue"] = asked or claimed_by or named
    task["status"] = _word(task["status"])
    for name in _TIMES:
        task[name] = utc(task[name])
    return {"ref": f"{task['queue']}/{task['id']}", **task}


def _word(status: Any) -> str:
    """The word of a state; a number that is none stays as it is, anybody can write one."""
    try:
        return TaskStatus(status).name.lower()
    except ValueError:
        return str(status)


# --- one task ------------------------------------------------------------------------------------


def _show(tx: Tx, ref: TaskRef) -> dict[str, Any]:
    source = _source(tx, 0, ref.table, "id = :id")
    names = (*TASKS.columns, *TASKS.large)
    columns = ", ".join(f"{source.column(name)} AS {name}" for name in names)
    rows = tx.rows(
        f"SELECT {columns} FROM {source.table} WHERE {source.where}",
        id=ref.id,
        **source.parameters,
    )
    if not rows:
        raise TaskUnknown(str(ref))
    task = _presented(rows[0], _queues(tx), ref.queue)
    for name in ("task_params", "context"):
        if not isinstance(task[name], str | None):  # a json column of an adopted table
            task[name] = orjson.dumps(task[name]).decode()
    return task | {"progress": _progress(tx, ref)}


def _progress(tx: Tx, ref: TaskRef) -> dict[str, Any] | None:
    rows = tx.rows(
        "SELECT done, total, note, checkpoint, updated_at FROM ty_progress"
        " WHERE task_table = :table AND task_id = :id",
        table=ref.table,
        id=ref.id,
    )
    return rows[0] | {"updated_at": utc(rows[0]["updated_at"])} if rows else None
