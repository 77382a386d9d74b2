"""Failures: the Runs that ended badly, each told once.

Owns `ty_failures`: what counts the Runs that have ended (`rollups.py`) hands on which of them
failed, in the same transaction, and whoever watches takes them (`alerts/check.py`) in the
transaction that writes what it made of them. So nothing is missed and nothing is told twice,
whatever breaks when; and settling a Task costs nothing for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from taskyard.core.lifecycle import RunStatus, TaskStatus
from taskyard.db.database import Database, Tx
from taskyard.runs.errors import FAILURES

NOTES_AT_ONCE = 20
"""Notes that one reading takes, each of at most some thousand Runs."""

_CHUNK = 500

_BAD = "SELECT id FROM ty_runs WHERE id IN ({ids}) AND status IN ({statuses})"

_NOTES = "SELECT id, run_ids FROM ty_failures ORDER BY id LIMIT :most"

_RUNS = """
SELECT id, task_type, queue, tenant_id, schedule_id, status, attempt, task_table, task_id,
       claimed_at, {ended}
  FROM ty_runs WHERE id IN ({ids})
"""

_TASKS = "SELECT id, status, run_id, retry_count FROM {table} WHERE id IN ({ids})"


@dataclass(frozen=True, slots=True)
class Failure:
    """A Run that failed, timed out or was lost.

    `ended_at` is seconds since 1970. `final`: no attempt follows it.
    """

    run_id: int
    task_type: str
    queue: str | None
    tenant_id: str
    schedule_id: int | None
    status: str
    attempt: int
    task_table: str | None
    task_id: int | None
    ended_at: float
    final: bool = True

    def values(self) -> dict[str, Any]:
        """What it can be chosen by."""
        return {
            "task_type": self.task_type,
            "queue": self.queue,
            "tenant_id": self.tenant_id,
            "schedule_id": self.schedule_id,
        }


@dataclass(frozen=True, slots=True)
class Handed:
    """Failures that nobody has taken yet, and the notes that they stand on."""

    failures: list[Failure]
    notes: list[int]

    @property
    def more(self) -> bool:
        """May there be more?"""
        return len(self.notes) == NOTES_AT_ONCE


def hand_on(tx: Tx, run_ids: Sequence[int]) -> None:
    """Note which of these Runs, which have ended, ended badly."""
    statuses = ", ".join(f"'{status}'" for status in FAILURES)
    bad: list[str] = []
    for ids in _chunks(run_ids):
        bad += [str(row[0]) for row in tx.all(_BAD.format(ids=ids, statuses=statuses))]
    if bad:
        tx.execute("INSERT INTO ty_failures (run_ids) VALUES (:run_ids)", run_ids=",".join(bad))


def handed(db: Database) -> Handed:
    """The oldest failures that nobody has taken yet, in the order in which they ended."""
    notes = db.read(lambda tx: tx.all(_NOTES, most=NOTES_AT_ONCE))
    ids = [int(word) for _, text in notes for word in text.split(",")]
    found = db.read(partial(read, ids=ids))
    found.sort(key=lambda failure: (failure.ended_at, failure.run_id))
    return Handed(with_finality(db, found), [note for note, _ in notes])


def take(tx: Tx, notes: Iterable[int]) -> None:
    """Take notes away, in the transaction that writes what was made of them."""
    for ids in _chunks(notes):
        tx.execute(f"DELETE FROM ty_failures WHERE id IN ({ids})")


def read(tx: Tx, ids: Sequence[int]) -> list[Failure]:
    """These Runs, as far as history still has them."""
    found = []
    for some in _chunks(ids):
        sql = _RUNS.format(ended=tx.dialect.epoch("completed_at"), ids=some)
        found += [_failure(row) for row in tx.all(sql)]
    return found


def with_finality(db: Database, failures: Sequence[Failure]) -> list[Failure]:
    """The failures, each knowing whether another attempt follows it."""
    tasks: dict[tuple[str, int], tuple[int, int, int]] = {}
    for table in {one.task_table for one in failures if one.task_table is not None}:
        ids = {f.task_id for f in failures if f.task_table == table and f.task_id is not None}
        for task_id, status, run_id, retry_count in _tasks(db, table, sorted(ids)):
            tasks[table, task_id] = (int(status), int(run_id or 0), int(retry_count or 0))
    return [_judged(f, tasks.get((f.task_table or "", f.task_id or 0))) for f in failures]


# --- below ----------------------------------------------------------------------------------------


def _failure(row: tuple[Any, ...]) -> Failure:
    claimed_at, ended = row[-2:]
    values = (*row[:-2], claimed_at / 1_000_000 if ended is None else float(ended))
    return Failure(*values)


def _tasks(db: Database, table: str, ids: Sequence[int]) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for some in _chunks(ids):
        sql = _TASKS.format(table=db.dialect.quote(table), ids=some)
        try:
            found += db.read(lambda tx, sql=sql: tx.all(sql))  # type: ignore[misc]
        except Exception as error:
            if not db.dialect.is_table_missing(error):
                raise
    return found


def _judged(failure: Failure, task: tuple[int, int, int] | None) -> Failure:
    """A Task that is gone has no other attempt; nor has one that is at its end, or that somebody
    has asked for again: a retry of its own counts the attempt, theirs begins anew."""
    if task is None:
        return failure
    status, run_id, retry_count = task
    over = run_id == failure.run_id and status not in (TaskStatus.PENDING, TaskStatus.RUNNING)
    asked_again = failure.status != RunStatus.LOST and retry_count < failure.attempt
    return replace(failure, final=over or asked_again)


def _chunks(ids: Iterable[int]) -> Iterator[str]:
    """Ids as lists for SQL."""
    every = [str(int(number)) for number in ids]
    for first in range(0, len(every), _CHUNK):
        yield ", ".join(every[first : first + _CHUNK])
