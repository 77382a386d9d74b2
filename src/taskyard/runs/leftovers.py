"""Leftovers: what nothing refers to any more.

Owns the removal of logs without a Run (written by a runner after its Run was pruned, or of an
attempt whose end was rejected) and of progress without a Task (its row was deleted by SQL, or its
table dropped). What is younger than a day stays: its Run may still be written.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from taskyard.db.database import Database, Tx

_CHUNK = 500
_YOUNG = 86_400.0

_LOGS = """
SELECT run_id, CASE WHEN MAX(created_at) < {old} THEN 1 ELSE 0 END FROM ty_run_logs
 WHERE run_id > :after GROUP BY run_id ORDER BY run_id LIMIT :chunk
"""

# Also those that cannot be worked just now.
_TASK_TABLES = "SELECT table_name FROM ty_task_tables"

_TABLES = "SELECT DISTINCT task_table FROM ty_progress"

_PROGRESS = """
SELECT task_id, CASE WHEN updated_at < {old} THEN 1 ELSE 0 END FROM ty_progress
 WHERE task_table = :table AND task_id > :after ORDER BY task_id LIMIT :chunk
"""


def remove_leftovers(db: Database) -> int:
    """Remove them, some in a transaction; returns how many Runs' and Tasks' they were."""
    tables = db.read(lambda tx: [row[0] for row in tx.all(_TABLES)])
    return _remove_logs(db) + sum(_remove_progress(db, table) for table in tables)


def _remove_logs(db: Database) -> int:
    removed, after = 0, -(2**63)
    live: set[int] = set()
    for (table,) in db.read(lambda tx: tx.all(_TASK_TABLES)):
        live |= _found(db, f"SELECT run_id FROM {db.dialect.quote(table)} WHERE owner IS NOT NULL")
    while rows := db.read(partial(_read, sql=_LOGS, after=after)):
        after = rows[-1][0]
        old = {run_id for run_id, is_old in rows if is_old}
        gone = old - live - _among(db, "ty_runs", old)
        removed += _remove(db, "ty_run_logs WHERE run_id", gone)
    return removed


def _remove_progress(db: Database, table: str) -> int:
    removed, after = 0, -(2**63)
    while rows := db.read(partial(_read, sql=_PROGRESS, after=after, table=table)):
        after = rows[-1][0]
        old = {task_id for task_id, is_old in rows if is_old}
        gone = old - _among(db, db.dialect.quote(table), old)
        removed += _remove(db, "ty_progress WHERE task_table = :table AND task_id", gone, table)
    return removed


def _read(tx: Tx, /, *, sql: str, **values: object) -> list[tuple[int, int]]:
    old = tx.dialect.utc_after(f"-{_YOUNG}")
    return [(row[0], row[1]) for row in tx.all(sql.format(old=old), chunk=_CHUNK, **values)]


def _among(db: Database, table: str, ids: Collection[int]) -> set[int]:
    """Those of the ids that a table has."""
    if not ids:
        return set()
    return _found(db, f"SELECT id FROM {table} WHERE {db.dialect.among('id', sorted(ids))}")


def _found(db: Database, sql: str) -> set[int]:
    """The numbers that a query of one table gives; a table that is not there gives none."""
    try:
        return {row[0] for row in db.read(lambda tx: tx.all(sql))}
    except Exception as error:
        if db.dialect.is_table_missing(error):
            return set()
        raise


def _remove(db: Database, which: str, numbers: Collection[int], table: str = "") -> int:
    if numbers:
        text = ", ".join(map(str, sorted(numbers)))
        db.run(lambda tx: tx.execute(f"DELETE FROM {which} IN ({text})", table=table))
    return len(numbers)
