"""Record: the only writer of Runs that are not written with their Task.

A claimed Task's Run is inserted by the statement that ends the attempt (`db` dialects' settle).
Here stand the others: a Task's Run whose row is gone or was edited by SQL, and tracked code, which
has no Task: it opens its Run at the start and closes it at the end. Each is noted as it ends, for
the statistics.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from taskyard.core.lifecycle import Origin, RunStatus
from taskyard.db import uncounted
from taskyard.db.database import Tx

_INSERT = """
INSERT INTO ty_runs (id, task_table, task_id, fence, attempt, task_type, queue, status, origin,
                     tenant_id, server_id, session, pid, payload, output, error, memory_usage,
                     cpu_time, wait_time, execution_time, started_at, completed_at, claimed_at,
                     created_at, updated_at, schedule_id, batch_id, execute_index)
VALUES (:id, :task_table, :task_id, :fence, :attempt, :task_type, :queue, :status, :origin,
        :tenant_id, :server_id, :session, :pid, :payload, :output, :error, :memory_usage,
        :cpu_time, :wait_time, :execution_time, {started_at}, {completed_at}, :claimed_at,
        {now}, {now}, {makers})
"""

_CLOSE = """
UPDATE ty_runs
   SET status = :status, output = :output, error = :error, memory_usage = :memory_usage,
       cpu_time = :cpu_time, execution_time = :execution_time, completed_at = {now},
       updated_at = {now}
 WHERE id = :id AND status = 'running'
"""

_LOSE = """
UPDATE ty_runs
   SET status = 'lost', error = 'its process died', completed_at = {now}, updated_at = {now}
 WHERE id = :id AND status = 'running'
"""

_EMPTY: dict[str, Any] = dict.fromkeys(
    (
        "task_table",
        "task_id",
        "fence",
        "queue",
        "server_id",
        "session",
        "pid",
        "payload",
        "output",
        "error",
        "memory_usage",
        "cpu_time",
        "wait_time",
        "execution_time",
        "age",
        "claimed_at",
        "context",
    )
)


def insert_ended(tx: Tx, run: Mapping[str, Any]) -> bool:
    """Insert the Run of an attempt that has ended; False where its Run is there already.

    `run` has the columns of `ty_runs` by name, `age`: seconds from its start to now, and the Task's
    `context`, which says what made it.
    """
    values = {"attempt": 1, "tenant_id": "", "origin": Origin.ENQUEUED.value, **_EMPTY, **run}
    if not _insert(tx, values, ended=True):
        return False
    uncounted.note(tx, [values["id"]])
    return True


def open_tracked(tx: Tx, run: Mapping[str, Any]) -> None:
    """Insert the Run of tracked code, running from now on."""
    values = {
        "attempt": 1,
        "tenant_id": "",
        **_EMPTY,
        **run,
        "status": RunStatus.RUNNING.value,
        "origin": Origin.TRACKED.value,
        "age": 0.0,
    }
    _insert(tx, values, ended=False)


def close_tracked(tx: Tx, run: Mapping[str, Any]) -> bool:
    """Write the end of tracked code; False where the Run is not running any more (it was lost)."""
    return _close(tx, _CLOSE, {**_EMPTY, **run})


def lose_tracked(tx: Tx, run_id: int) -> bool:
    """Write that the process of tracked code died; False where its Run is not running any more."""
    return _close(tx, _LOSE, {"id": run_id})


def _close(tx: Tx, sql: str, values: dict[str, Any]) -> bool:
    if tx.execute(sql.format(now=tx.dialect.utc_now), **values) != 1:
        return False
    uncounted.note(tx, [values["id"]])
    return True


def _insert(tx: Tx, values: dict[str, Any], *, ended: bool) -> bool:
    dialect = tx.dialect
    # Asked first: of a key that is there already MySQL says the same as of one that is new.
    if tx.value("SELECT 1 FROM ty_runs WHERE id = :id", id=values["id"]):
        return False
    if values["claimed_at"] is None:
        now = float(tx.value(f"SELECT {dialect.epoch(dialect.utc_now)}"))
        values["claimed_at"] = int(now * 1_000_000)
    start = "NULL" if values["age"] is None else dialect.utc_after("-(:age)")
    sql = _INSERT.format(
        now=dialect.utc_now,
        started_at=start,
        completed_at=dialect.utc_now if ended else "NULL",
        makers=dialect.makers(dialect.as_text(":context")),
    ) + dialect.or_nothing("id")
    return tx.execute(sql, **values) == 1
