"""Retention: how much of the past is kept.

Owns the prune of finished Runs (by number and by age) with their logs, of ended Tasks by age, and
of what is left over; and the built-in handler that does it every night. Rows go by primary key, a
few hundred in a transaction at most, so nobody waits for a prune. Which Runs are too many is
`surplus.py`'s, what is left over `leftovers.py`'s; what is kept is a setting (`retention.*`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from taskyard.access.caller import ENGINE, Caller
from taskyard.access.permissions import Permission
from taskyard.core.lifecycle import TaskStatus
from taskyard.core.payload import load_result
from taskyard.db.database import Database, Tx
from taskyard.db.listing import utc
from taskyard.db.tables import task_tables
from taskyard.runs.leftovers import remove_leftovers
from taskyard.runs.rollups import count_ended
from taskyard.runs.surplus import surplus
from taskyard.settings import Retention

_CHUNK = 500
_READ_AHEAD = 5_000
_SLOW = 0.2
"""Seconds that a transaction may take before the next one is made smaller."""

_ENDED = (int(TaskStatus.COMPLETED), int(TaskStatus.FAILED), int(TaskStatus.CANCELLED))


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed, or would remove: Runs, chunks of their logs, and Tasks by table."""

    runs: int = 0
    log_chunks: int = 0
    tasks: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON-ready data."""
        return asdict(self)


def prune(db: Database, caller: Caller, keep: Retention, *, dry_run: bool = False) -> Pruned:
    """Remove what is beyond `keep`; with `dry_run` only count it.

    Of the finished Runs the newest by (completed_at, id) stay; a task type with limits of its own
    is kept by these. A Run that is running is neither removed nor counted. Raises NotAllowed.
    """
    caller.require(Permission.PURGE)
    count_ended(db)  # what is gone can be counted no more
    runs, log_chunks = _prune_runs(db, keep, dry_run)
    tasks: dict[str, int] = {}
    if keep.tasks_max_age is not None:
        for table in db.read(task_tables):
            tasks[table] = _prune_tasks(db, table, keep.tasks_max_age, dry_run)
    if not dry_run:
        remove_leftovers(db)
    return Pruned(runs, log_chunks, tasks, dry_run)


HANDLER = "taskyard.prune"
"""The task type of the built-in handler."""

# By the index of types; a prune has the newest claim of those that have ended.
_LAST_PRUNE = """
SELECT id, status, started_at, claimed_at, output, error FROM ty_runs
 WHERE task_type = :task_type ORDER BY claimed_at DESC, id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class LastPrune:
    """The last prune of history: its Run, and what was removed (None where it failed)."""

    run_id: int
    status: str
    started_at: datetime
    pruned: dict[str, Any] | None
    error: str | None


def last_prune(db: Database, caller: Caller) -> LastPrune | None:
    """The last prune that has ended; None when there was none. Raises NotAllowed."""
    caller.require(Permission.PURGE)
    rows = db.read(lambda tx: tx.rows(_LAST_PRUNE, task_type=HANDLER))
    if not rows:
        return None
    row = rows[0]
    started = utc(row["started_at"]) or datetime.fromtimestamp(row["claimed_at"] / 1_000_000, UTC)
    pruned = load_result(row["output"])
    return LastPrune(row["id"], row["status"], started, pruned, row["error"])


def prune_handler(db: Database, keep: Retention) -> dict[str, Any]:
    """The built-in handler `taskyard.prune`; its output is what was removed."""
    return prune(db, ENGINE, keep).to_dict()


# --- runs ----------------------------------------------------------------------------------------


def _prune_runs(db: Database, keep: Retention, dry_run: bool) -> tuple[int, int]:
    runs = log_chunks = 0
    chunk = _CHUNK
    for ids in surplus(db, keep):
        while ids:
            some, ids = ids[:chunk], ids[chunk:]
            began = time.monotonic()
            removed = _count_runs(db, some) if dry_run else _remove_runs(db, some)
            runs, log_chunks = runs + removed[0], log_chunks + removed[1]
            chunk = _next_chunk(chunk, time.monotonic() - began)
    return runs, log_chunks


def _next_chunk(chunk: int, seconds: float) -> int:
    """Fewer at once where a slow disk makes a transaction long; more again when it is over."""
    if seconds > _SLOW:
        return max(1, chunk // 2)
    return min(_CHUNK, 2 * chunk) if seconds < _SLOW / 4 else chunk


def _remove_runs(db: Database, ids: Sequence[int]) -> tuple[int, int]:
    def work(tx: Tx) -> tuple[int, int]:
        chunks = tx.execute(f"DELETE FROM ty_run_logs WHERE run_id IN ({_list(ids)})")
        runs = tx.execute(f"DELETE FROM ty_runs WHERE id IN ({_list(ids)})")
        return runs, chunks

    return db.run(work)


def _count_runs(db: Database, ids: Sequence[int]) -> tuple[int, int]:
    sql = f"SELECT COUNT(*) FROM ty_run_logs WHERE run_id IN ({_list(ids)})"
    return len(ids), int(db.read(lambda tx: tx.value(sql)))


# --- tasks ---------------------------------------------------------------------------------------


def _prune_tasks(db: Database, table: str, age: float, dry_run: bool) -> int:
    """Walk a task table by its primary key, up to the first row that is too young to have ended."""
    removed, after, young = 0, 0, False
    while not young:
        rows = db.read(partial(_read_tasks, table=table, after=after, age=age))
        if not rows:
            break
        after, young = rows[-1][0], bool(rows[-1][2])
        old = [row[0] for row in rows if row[1]]
        for start in range(0, len(old), _CHUNK):
            ids = old[start : start + _CHUNK]
            removed += len(ids) if dry_run else _remove_tasks(db, table, ids, age)
    return removed


def _read_tasks(tx: Tx, table: str, after: int, age: float) -> list[tuple[Any, ...]]:
    dialect = tx.dialect
    created, bound = dialect.due("created_at"), dialect.due(dialect.after("-(:age)"))
    return tx.all(
        f"SELECT id, CASE WHEN {_old(tx)} THEN 1 ELSE 0 END,"
        f" CASE WHEN {created} > {bound} THEN 1 ELSE 0 END"
        f" FROM {dialect.quote(table)} WHERE id > :after ORDER BY id LIMIT :chunk",
        after=after,
        age=age,
        chunk=_READ_AHEAD,
    )


def _remove_tasks(db: Database, table: str, ids: Sequence[int], age: float) -> int:
    def work(tx: Tx) -> int:
        quoted = tx.dialect.quote(table)
        # Asked again: somebody may have set a row back to pending in between.
        removed = tx.execute(
            f"DELETE FROM {quoted} WHERE id IN ({_list(ids)}) AND {_old(tx)}", age=age
        )
        tx.execute(
            f"DELETE FROM ty_progress WHERE task_table = :table AND task_id IN ({_list(ids)})"
            f" AND NOT EXISTS (SELECT 1 FROM {quoted} AS t WHERE t.id = ty_progress.task_id)",
            table=table,
        )
        return removed

    return db.run(work)


def _old(tx: Tx) -> str:
    """Condition: an ended Task older than `:age`. One that was cancelled by SQL has no end_time."""
    dialect = tx.dialect
    ended = dialect.due("COALESCE(end_time, updated_at, created_at)")
    states = ", ".join(map(str, _ENDED))
    bound = dialect.due(dialect.after("-(:age)"))
    return f"status IN ({states}) AND owner IS NULL AND {ended} < {bound}"


def _list(ids: Sequence[int]) -> str:
    return ", ".join(str(int(n)) for n in ids)
