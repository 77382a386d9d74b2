"""Browse: Tasks as people look at them, in one queue's table or in all of them.

Owns the list of Tasks, one Task in full, and how long a queue's line is. Reads only; what may be
asked of the list is `listed.py`'s, the verbs over a Task are `manage.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import TaskUnknown
from taskyard.core.lifecycle import TaskStatus
from taskyard.core.payload import mask_json
from taskyard.db.database import Database, Tx
from taskyard.db.listing import COUNT_CAP, Page, Query, understand, utc
from taskyard.db.search import search
from taskyard.runs import paths
from taskyard.tasks.catalog import Catalog
from taskyard.tasks.enqueue import TaskRef
from taskyard.tasks.listed import TASKS as TASKS
from taskyard.tasks.listed import TIMES, queues_of, source_of, tables_of, way


@dataclass(frozen=True, slots=True)
class Backlog:
    """How many Tasks of a table wait and how many run; at most COUNT_CAP + 1 are counted."""

    waiting: int
    running: int


def list_tasks(db: Database, caller: Caller, query: Query) -> Page:
    """One page of Tasks, those with the largest id first unless asked otherwise.

    In parameters and context secrets are masked. Raises QueryInvalid, QueueUnknown or NotAllowed.
    """
    caller.require(Permission.TASKS_READ)
    query = replace(query, filters=caller.narrow(query.filters))
    told = "task_params" in query.large or any(n.startswith(paths.PREFIX) for n in query.filters)
    secrets = _secrets(db) if told else {}
    found = db.read(partial(_list, query=query, hidden=frozenset().union(*secrets.values())))
    return replace(found, rows=[_masked(row, secrets) for row in found.rows])


def show_task(db: Database, caller: Caller, ref: TaskRef, *, raw: bool = False) -> dict[str, Any]:
    """One Task with its parameters, error, context and progress.

    In the parameters secrets are masked; `raw` gives them as they are, which is audited. Raises
    TaskUnknown, also for a Task of a tenant that the caller does not see; NotAllowed.
    """
    caller.require(Permission.TASKS_READ)
    task = db.read(partial(_show, ref=ref))
    if not caller.sees(task["tenant_id"]):
        raise TaskUnknown(str(ref))
    if not raw:
        return _masked(task, _secrets(db))
    caller.require(Permission.PAYLOAD_RAW)
    tenant = task["tenant_id"]
    db.run(lambda tx: audit.write(tx, caller, "task.read-raw", f"task/{ref}", tenant_id=tenant))
    return task


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


def _list(tx: Tx, query: Query, hidden: Collection[str]) -> Page:
    queues = queues_of(tx)
    wanted, filters = paths.take(query.filters, hidden)
    queue = filters.pop("queue", None)
    sources = way(tx, tables_of(tx, queues, queue), filters)
    if not sources:
        understand(TASKS, replace(query, filters=filters))
        return Page([], total=0 if query.count else None)
    large = (*query.large, *(["task_params"] if wanted else []))
    found = search(
        tx,
        TASKS,
        [sources],
        replace(query, filters=filters, large=large),
        also=[path.condition("task_params") for path in wanted],
        keep=(lambda row: all(path.fits(row["task_params"]) for path in wanted))
        if wanted
        else None,
    )
    rows = [_presented(row, queues, queue) for row in found.rows]
    if wanted and "task_params" not in query.large:
        for row in rows:
            del row["task_params"]
    return replace(found, rows=rows)


def _presented(
    row: Mapping[str, Any], queues: Mapping[str, str], asked: Any = None
) -> dict[str, Any]:
    """A row as people read it: `ref` names it, states are words, times are aware datetimes."""
    task = {name: value for name, value in row.items() if not name.startswith("by_")}
    table = task["task_table"]
    claimed_by = task["queue"] if queues.get(task["queue"] or "") == table else None
    named = next((name for name, of in queues.items() if of == table), table)
    given = asked if isinstance(asked, str) and queues.get(asked) == table else None
    task["queue"] = given or claimed_by or named
    task["status"] = word_of(task["status"])
    for name in TIMES:
        task[name] = utc(task[name])
    return {"ref": f"{task['queue']}/{task['id']}", **task}


def word_of(status: Any) -> str:
    """The word of a state; a number that is none stays as it is, anybody can write one."""
    try:
        return TaskStatus(status).name.lower()
    except ValueError:
        return str(status)


def _secrets(db: Database) -> dict[str, frozenset[str]]:
    """By task_type the parameters that its Handler calls secret, whatever their names."""
    known = Catalog(db).all()
    return {name: one.spec.secrets for name, one in known.items() if one.spec.secrets}


def _masked(task: dict[str, Any], secrets: Mapping[str, Collection[str]]) -> dict[str, Any]:
    also = secrets.get(task["task_type"], ())
    shown = (name for name in ("task_params", "context") if name in task)
    return task | {name: mask_json(task[name], also) for name in shown}


# --- one task ------------------------------------------------------------------------------------


def _show(tx: Tx, ref: TaskRef) -> dict[str, Any]:
    source = source_of(tx, 0, ref.table)
    names = (*TASKS.columns, *TASKS.large)
    columns = ", ".join(f"{source.column(name)} AS {name}" for name in names)
    rows = tx.rows(
        f"SELECT {columns} FROM {source.table} WHERE id = :id", id=ref.id, **source.parameters
    )
    if not rows:
        raise TaskUnknown(str(ref))
    return _presented(rows[0], queues_of(tx), ref.queue) | {"progress": _progress(tx, ref)}


def _progress(tx: Tx, ref: TaskRef) -> dict[str, Any] | None:
    rows = tx.rows(
        "SELECT done, total, note, checkpoint, updated_at FROM ty_progress"
        " WHERE task_table = :table AND task_id = :id",
        table=ref.table,
        id=ref.id,
    )
    return rows[0] | {"updated_at": utc(rows[0]["updated_at"])} if rows else None
