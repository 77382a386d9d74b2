"""Change: what a person's verb does to one Task, inside a transaction.

Owns the statements, who may have them run, and the entry in the audit. `manage.py` does one,
`bulk.py` many. Changing a Task by SQL instead is allowed and means the same (rulings 1.4, 3.1).

Each says whether it did anything: False where the Task is in a state that the verb is not for.
Each raises TaskUnknown, also for a Task of a tenant that the caller does not see, or NotAllowed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import TaskUnknown
from taskyard.db.database import Tx
from taskyard.tasks.enqueue import TaskRef

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

_RUN_NOW = """
UPDATE {table} SET schedule_time = {now}, updated_at = {now} WHERE id = :id AND status = 0
"""

_SET_PRIORITY = """
UPDATE {table} SET priority = :priority, updated_at = {now} WHERE id = :id AND status = 0
"""

# What has an owner is still running, whatever its status says.
_DELETE = "DELETE FROM {table} WHERE id = :id AND status <> 1 AND owner IS NULL"

_FORGET = "DELETE FROM ty_progress WHERE task_table = :table AND task_id = :id"


def cancel(tx: Tx, caller: Caller, ref: TaskRef, why: str) -> bool:
    """End a pending Task, or tell the Server of a running one to stop it."""
    task = _find(tx, caller, ref, Permission.TASKS_WRITE)
    hit = _do(tx, _CANCEL_PENDING, ref, why=why) or _do(tx, _CANCEL_RUNNING, ref, why=why)
    return hit and _write(tx, caller, "cancel", ref, task, after={"why": why})


def retry(tx: Tx, caller: Caller, ref: TaskRef) -> bool:
    """Make a Task that has ended pending again, all its attempts anew.

    Raises the driver's error of a duplicate when a live one has its `unique_key` now.
    """
    task = _find(tx, caller, ref, Permission.TASKS_WRITE)
    return _do(tx, _RETRY, ref) and _write(tx, caller, "retry", ref, task)


def run_now(tx: Tx, caller: Caller, ref: TaskRef) -> bool:
    """Make a pending Task due."""
    task = _find(tx, caller, ref, Permission.TASKS_WRITE)
    return _do(tx, _RUN_NOW, ref) and _write(tx, caller, "run-now", ref, task)


def set_priority(tx: Tx, caller: Caller, ref: TaskRef, priority: int) -> bool:
    """Let a pending Task go earlier or later; -100 to 100, clamped."""
    task = _find(tx, caller, ref, Permission.TASKS_WRITE)
    priority = max(-100, min(100, priority))
    hit = _do(tx, _SET_PRIORITY, ref, priority=priority)
    before = {"priority": task["priority"]}
    after = {"priority": priority}
    return hit and _write(tx, caller, "priority", ref, task, before=before, after=after)


def delete(tx: Tx, caller: Caller, ref: TaskRef) -> bool:
    """Delete a Task that nobody runs, whatever its state; its Runs stay."""
    task = _find(tx, caller, ref, Permission.PURGE)
    if not _do(tx, _DELETE, ref):
        return False
    tx.execute(_FORGET, table=ref.table, id=ref.id)
    before = {"task_type": task["task_type"], "status": task["status"]}
    return _write(tx, caller, "delete", ref, task, before=before)


def _find(tx: Tx, caller: Caller, ref: TaskRef, permission: Permission) -> dict[str, Any]:
    """The Task, when the caller may change it; to others it is not there."""
    caller.require(permission)
    columns = "tenant_id, task_type, status, priority"
    table = tx.dialect.quote(ref.table)
    rows = tx.rows(f"SELECT {columns} FROM {table} WHERE id = :id", id=ref.id)
    if not rows or not caller.sees(rows[0]["tenant_id"]):
        raise TaskUnknown(str(ref))
    return rows[0]


def _do(tx: Tx, sql: str, ref: TaskRef, **values: Any) -> bool:
    text = sql.format(table=tx.dialect.quote(ref.table), now=tx.dialect.now)
    return tx.execute(text, id=ref.id, **values) > 0


def _write(
    tx: Tx,
    caller: Caller,
    verb: str,
    ref: TaskRef,
    task: Mapping[str, Any],
    **values: Mapping[str, Any],
) -> bool:
    tenant = str(task["tenant_id"])
    audit.write(tx, caller, f"task.{verb}", f"task/{ref}", tenant_id=tenant, **values)
    return True
