"""Explain: why a Task is not running.

Owns the ordered checks, from the Task itself out to the fleet. Reads only, and by indexes: nothing
here scans a table. What it says of a Task that waits is what the claim would find.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from taskyard import servers
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.access.tenants import disabled
from taskyard.core.durations import format_duration
from taskyard.core.errors import HandlerUnknown, TaskUnknown
from taskyard.core.lifecycle import Hold, TaskStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import COUNT_CAP
from taskyard.queues import Queue, load_queues
from taskyard.servers import SessionRow
from taskyard.tasks.enqueue import TaskRef

_TASK = """
SELECT task_type, tenant_id, status, owner, server_id, hold, priority, excl_key, retry_count,
       error_msg, {age} AS age, {due} AS due
  FROM {table} WHERE id = :id
"""

_HOLDER = """
SELECT id, tenant_id FROM {table}
 WHERE excl_key = :key AND owner IS NOT NULL AND id <> :id LIMIT 1
"""

_BUSY = """
SELECT queue, server_id, COUNT(*) FROM {table} WHERE owner IS NOT NULL GROUP BY queue, server_id
"""

_BEFORE = """
SELECT COUNT(*) FROM (
  SELECT 1 AS n FROM {table}
   WHERE {pending} AND {due} <= {now} AND (priority > :priority
      OR (priority = :priority AND ({due} < :due OR ({due} = :due AND id < :id))))
   LIMIT :cap) AS line
"""


@dataclass(frozen=True, slots=True)
class Reason:
    """One check: whether it keeps the Task from running, what was found, and what to do.

    `first` marks the first that does: what to see to before anything else.
    """

    check: str
    holds: bool
    text: str
    code: str = ""
    fix: str = ""
    first: bool = False


def explain(db: Database, caller: Caller, ref: TaskRef) -> list[Reason]:
    """Why a Task is not running, in the order in which things are decided.

    Where no reason `holds` it, the Task runs, has ended, or is about to be claimed. Raises
    TaskUnknown, also for a Task of a tenant that the caller does not see; NotAllowed.
    """
    caller.require(Permission.TASKS_READ)
    task = db.read(partial(_read, ref=ref))
    if not caller.sees(task["tenant_id"]):
        raise TaskUnknown(str(ref))
    if task["status"] != TaskStatus.PENDING or task["owner"] is not None:
        return _marked([_state(task, ref)])
    return _marked(_checks(db, caller, ref, task))


def _marked(reasons: Iterable[Reason]) -> list[Reason]:
    """The reasons, of which the first that holds says so."""
    found = list(reasons)
    at = next((number for number, reason in enumerate(found) if reason.holds), None)
    if at is not None:
        found[at] = replace(found[at], first=True)
    return found


def _read(tx: Tx, ref: TaskRef) -> dict[str, Any]:
    dialect = tx.dialect
    sql = _TASK.format(
        table=dialect.quote(ref.table), age=dialect.age("schedule_time"), due=dialect.due()
    )
    rows = tx.rows(sql, id=ref.id, **dialect.clock())
    if not rows:
        raise TaskUnknown(str(ref))
    return rows[0]


def _state(task: dict[str, Any], ref: TaskRef) -> Reason:
    """The one answer for a Task that is not waiting."""
    where = task["server_id"] or "an unknown server"
    if task["owner"] is not None and task["status"] != TaskStatus.RUNNING:
        text = f"Its last attempt is still being stopped on {where}."
        fix = "Its handler has to end; handlers in isolation are killed, others can look at a flag."
        return Reason("state", True, text, "TY318", fix)
    if task["status"] == TaskStatus.RUNNING and task["owner"] is None:
        fix = "Set its status to 0, or delete it."
        text = "Its status was set to 1 by SQL; nobody runs it."
        return Reason("state", True, text, "TY319", fix)
    if task["status"] == TaskStatus.RUNNING:
        return Reason("state", False, f"It is running on {where}.")
    word = _WORDS.get(task["status"], f"at status {task['status']}, which is none")
    return Reason(
        "state", False, f"It is {word}.", fix=f"`taskyard task retry {ref}` runs it again."
    )


_WORDS = {int(status): status.name.lower() for status in TaskStatus}


def _checks(db: Database, caller: Caller, ref: TaskRef, task: dict[str, Any]) -> Iterator[Reason]:
    yield _due(ref, task)
    if task["tenant_id"] in db.read(disabled):
        fix = f"`taskyard tenant enable {task['tenant_id']}`"
        yield Reason("tenant", True, f'Tenant "{task["tenant_id"]}" is disabled.', "TY309", fix)
    queues = [queue for queue in load_queues(db) if queue.table_name == ref.table]
    working = [queue for queue in queues if queue.enabled]
    yield _queue(ref, queues, working)
    alive = [row for row in servers.newest_sessions(db) if row.alive and row.state == "live"]
    pairs = [(q, row) for q in working for row in alive if q.server_id in ("", row.server_id)]
    if working:
        yield _server(working, alive, pairs)
    if pairs:
        able = [pair for pair in pairs if task["task_type"] in _types(pair[1])]
        yield _handler(task, alive, able)
        yield _worker(db.read(partial(_busy, table=ref.table)), able) if able else _nobody()
    if task["excl_key"] is not None:
        yield db.read(partial(_key, caller=caller, ref=ref, key=task["excl_key"]))
    for queue in working:
        if queue.rate_limit is not None:
            yield db.read(partial(_rate, queue=queue))
    yield db.read(partial(_line, ref=ref, task=task))


def _due(ref: TaskRef, task: dict[str, Any]) -> Reason:
    if task["hold"] == Hold.TIME_UNREADABLE or task["age"] is None:
        fix = "Write YYYY-MM-DD HH:MM:SS (UTC) into schedule_time."
        return Reason("due", True, "Its schedule_time is no date that can be read.", "TY304", fix)
    age = float(task["age"])
    if age >= 0:
        return Reason("due", False, f"It has been due for {format_duration(round(age, 1))}.")
    retry = f", for retry {task['retry_count']}" if task["retry_count"] else ""
    text = f"It is due in {format_duration(round(-age, 1))}{retry}."
    return Reason("due", True, text, "TY304", f"Wait, or `taskyard task run-now {ref}`.")


def _queue(ref: TaskRef, queues: list[Queue], working: list[Queue]) -> Reason:
    names = ", ".join(queue.queue_name for queue in working or queues)
    if working:
        return Reason("queue", False, f"Queue {names} is enabled.")
    if not queues:
        fix = f"`taskyard queue create {ref.queue} --table {ref.table}`"
        return Reason("queue", True, f"No queue has the table {ref.table}.", "TY310", fix)
    bad = next((queue for queue in queues if queue.problem is not None), None)
    if bad is not None:
        text = f"Queue {bad.queue_name} is quarantined: {bad.problem}"
        return Reason("queue", True, text, "TY311", "Correct its row in queue_configs.")
    fix = f"`taskyard queue resume {queues[0].queue_name}`"
    return Reason("queue", True, f"Queue {names} is paused.", "TY301", fix)


def _server(
    working: list[Queue], alive: list[SessionRow], pairs: list[tuple[Queue, SessionRow]]
) -> Reason:
    if pairs:
        names = sorted({row.server_id for _, row in pairs})
        return Reason("server", False, f"Alive for it: {', '.join(names)}.")
    if not alive:
        fix = "`taskyard worker` starts one."
        return Reason("server", True, "No server is alive.", "TY303", fix)
    pins = ", ".join(sorted({queue.server_id for queue in working}))
    fix = f"Start it, or `taskyard queue set {working[0].queue_name} --server-id ''`."
    return Reason("server", True, f"Its queue is pinned to {pins}, not alive.", "TY302", fix)


def _types(row: SessionRow) -> set[str]:
    return {spec["name"] for spec in row.specs()}


def _handler(
    task: dict[str, Any], alive: list[SessionRow], able: list[tuple[Queue, SessionRow]]
) -> Reason:
    if able:
        return Reason("handler", False, f"Handler {task['task_type']} is there.")
    known = set().union(*(_types(row) for row in alive))
    error = HandlerUnknown(task["task_type"], known)
    return Reason("handler", True, error.text, error.code, error.fix)


def _busy(tx: Tx, table: str) -> dict[tuple[str, str], int]:
    rows = tx.all(_BUSY.format(table=tx.dialect.quote(table)))
    return {(queue, server): count for queue, server, count in rows}


def _worker(busy: dict[tuple[str, str], int], able: list[tuple[Queue, SessionRow]]) -> Reason:
    told = []
    for queue, row in able:
        running = busy.get((queue.queue_name, row.server_id), 0)
        if running < queue.max_workers:
            text = f"{running} of {queue.max_workers} workers are busy on {row.server_id}."
            return Reason("worker", False, text)
        told.append(f"{running} of {queue.max_workers} on {row.server_id}")
    name = able[0][0].queue_name
    fix = f"Raise it (`taskyard queue set {name} --max-workers N`), or start another server."
    return Reason("worker", True, f"All workers are busy: {', '.join(told)}.", "TY303", fix)


def _nobody() -> Reason:
    text = "No server that has the handler works the queue."
    fix = "Start a server with this handler, or enqueue it in a queue that such a server works."
    return Reason("worker", True, text, "TY303", fix)


def _key(tx: Tx, caller: Caller, ref: TaskRef, key: str) -> Reason:
    sql = _HOLDER.format(table=tx.dialect.quote(ref.table))
    found = tx.one(sql, key=key, id=ref.id)
    if found is None:
        return Reason("key", False, f'Nobody holds its key "{key}".')
    holder, tenant = found
    # Whose task of another tenant it is must not be told.
    name = f"Task {ref.queue}/{holder}" if caller.sees(tenant) else "Another task"
    fix = "It waits its turn; a cancel of the one that runs lets it go first."
    return Reason("key", True, f'{name} runs with its key "{key}".', "TY305", fix)


def _rate(tx: Tx, queue: Queue) -> Reason:
    """The queue's rate, as the claim reads it: one number, the moment it is free from."""
    now = tx.dialect.epoch(tx.dialect.utc_now)
    left = tx.value(
        f"SELECT next_free - {now} FROM ty_rates WHERE queue_name = :name", name=queue.queue_name
    )
    rate = queue.rate_limit or 1.0
    # The claim lets a tenth of a second's Tasks through at once.
    wait = 0.0 if left is None else float(left) - (max(1.0, rate / 10) - 1) / rate
    if wait <= 0:
        return Reason("rate", False, f"The rate of {rate:g} a second is not reached.")
    text = f"The rate of {rate:g} a second is reached; the next may start in {wait:.1f} s."
    fix = f"It waits its turn, or `taskyard queue set {queue.queue_name} --rate-limit N`."
    return Reason("rate", True, text, "TY305", fix)


def _line(tx: Tx, ref: TaskRef, task: dict[str, Any]) -> Reason:
    dialect = tx.dialect
    sql = _BEFORE.format(
        table=dialect.quote(ref.table),
        pending=dialect.pending,
        due=dialect.due(),
        now=dialect.due_now(),
    )
    count = tx.value(
        sql,
        priority=task["priority"],
        due=task["due"],
        id=ref.id,
        cap=COUNT_CAP + 1,
        **dialect.clock(),
    )
    shown = f"{COUNT_CAP}+" if count > COUNT_CAP else str(count)
    return Reason("line", False, f"{shown} tasks are before it.")
