"""Progress: what a running handler says of itself beside its log: how far it is, where to go on.

Owns `ty_progress`: one row a Task, gone when the Task ends well. Written only under a Session that
is not dead, so a stale Run cannot speak for a Task (protocol G4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from taskyard.db.database import Database, Tx

_ALIVE = "EXISTS (SELECT 1 FROM ty_servers WHERE session = :session AND state <> 'dead')"

_UPDATE = "UPDATE ty_progress SET {changes} WHERE task_table = :t AND task_id = :id AND " + _ALIVE

_INSERT = (
    "INSERT INTO ty_progress (task_table, task_id, run_id, done, total, note, checkpoint,"
    " updated_at) SELECT :t, :id, :run_id, :done, :total, :note, :checkpoint, {now}"
    " FROM ty_counters WHERE name = 'run_id' AND " + _ALIVE
)

Progress = tuple[float, float | None, str | None]
"""Done, total, note."""


def save_checkpoints(
    db: Database, table: str, session: str, rows: Sequence[tuple[int, int, str | None]]
) -> None:
    """Keep checkpoints: (task id, run id, JSON text) of Tasks of one table."""
    changes = "run_id = :run_id, checkpoint = :checkpoint, updated_at = {now}"

    def work(tx: Tx) -> None:
        for task_id, run_id, data in rows:
            _put(tx, changes, session, t=table, id=task_id, run_id=run_id, checkpoint=data)

    db.run(work)


def save_progress(
    db: Database, session: str, rows: Mapping[tuple[str, int, int], Progress]
) -> None:
    """Keep how far Runs are: (table, task id, run id) -> (done, total, note)."""
    changes = "run_id = :run_id, done = :done, total = :total, note = :note, updated_at = {now}"

    def work(tx: Tx) -> None:
        for (table, task_id, run_id), (done, total, note) in rows.items():
            _put(
                tx,
                changes,
                session,
                t=table,
                id=task_id,
                run_id=run_id,
                done=done,
                total=total,
                note=note,
            )

    db.run(work)


def load_checkpoints(db: Database, table: str, task_ids: Sequence[int]) -> dict[int, str]:
    """The checkpoints of Tasks, by task id."""
    ids = ", ".join(str(int(i)) for i in task_ids)
    sql = (
        "SELECT task_id, checkpoint FROM ty_progress"
        f" WHERE task_table = :t AND task_id IN ({ids}) AND checkpoint IS NOT NULL"
    )
    return {row[0]: row[1] for row in db.read(lambda tx: tx.all(sql, t=table))}


def forget(db: Database, table: str, task_ids: Sequence[int]) -> None:
    """Remove what was noted of Tasks that have ended."""
    ids = ", ".join(str(int(i)) for i in task_ids)
    sql = f"DELETE FROM ty_progress WHERE task_table = :t AND task_id IN ({ids})"
    db.run(lambda tx: tx.execute(sql, t=table))


def _put(tx: Tx, changes: str, session: str, **values: object) -> None:
    full = {"done": None, "total": None, "note": None, "checkpoint": None, **values}
    now = tx.dialect.utc_now
    if not tx.execute(_UPDATE.format(changes=changes.format(now=now)), session=session, **full):
        tx.execute(
            _INSERT.format(now=now) + tx.dialect.or_nothing("task_id"), session=session, **full
        )
