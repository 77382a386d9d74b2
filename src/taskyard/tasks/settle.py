"""Settle: writes what attempts came to, under the fence.

Owns the end of an attempt: its Task's new state and its Run, in one transaction, many at a time.
What an Outcome means is judged before (`core/lifecycle.decide`); the statements are each dialect's,
because batching them is the whole distance between 500 and 15 000 Tasks a second.

A write that hits nothing says that the row is not ours any more, or not as we left it: then the row
is read back and, where it is still owned by us, closed (rulings 3.1: only we clear `owner`, and
whoever clears it inserts the Run; the Run's primary key is the backstop).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taskyard.core.lifecycle import RunStatus, TaskStatus
from taskyard.core.payload import short_forms, storable
from taskyard.db.database import Database, Tx
from taskyard.db.rows import ClaimedRow, Ending, Settlement
from taskyard.runs import record

logger = logging.getLogger("taskyard.settle")

_READ_BACK = "SELECT status, owner, fence, run_id FROM {table} WHERE id = :id"

# SQL may put the row back to running in between: without an owner it would stay so for ever.
_CLEAR_OWNER = """
UPDATE {table} SET status = CASE WHEN status = 1 THEN 0 ELSE status END, owner = NULL
 WHERE id = :id AND run_id = :run_id AND fence = :fence AND owner = :owner
"""


# What the Run of an edited row takes from it: as much of it as the edit has left.
_EDITED = """
SELECT status AS task_status, task_type, origin, tenant_id, claimed_at, error_msg, context
  FROM {table} WHERE id = :id AND run_id = :run_id
"""

_LOOKS = 5


@dataclass(frozen=True, slots=True)
class Place:
    """Where endings are written: one table, one queue, on behalf of one Session."""

    table: str
    queue: str
    session: str
    server_id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a batch: how many ends were written, which attempts had been taken away."""

    written: int
    superseded: list[int]
    """Ids of Tasks whose attempt no longer counted: rescued, edited or deleted meanwhile."""


def settle(
    db: Database,
    place: Place,
    endings: Sequence[Ending],
    claimed: Callable[[int], ClaimedRow | None],
) -> Settled:
    """Write the endings of Tasks that `place.session` owns.

    `claimed(run_id)` gives the row as it was claimed, for Tasks whose row is gone. Raises what the
    driver raises when nothing could be written; calling again is safe, each end is written once.
    """
    try:
        hit = db.run(lambda tx: _write(tx, place, endings), alone=db.dialect.claims_alone)
    except Exception as error:
        if db.is_away(error) or db.dialect.is_table_missing(error):
            raise
        logger.warning(
            "settling %d tasks of %s together failed: %s", len(endings), place.table, error
        )
        hit = _one_by_one(db, place, endings)
    missed = [ending for ending in endings if ending.id not in hit]
    superseded = [e.id for e in missed if not _second_look(db, place, e, claimed(e.run_id))]
    return Settled(written=len(endings) - len(superseded), superseded=superseded)


def settle_in(tx: Tx, place: Place, ending: Ending) -> bool:
    """Write one ending as the last statement of a transaction that is the caller's.

    False when the claim was taken away: the caller must roll back (protocol G5).
    """
    return bool(_write(tx, place, [ending]))


def close_edited(db: Database, place: Place, ending: Ending, row: ClaimedRow | None) -> bool:
    """End an attempt whose row was edited or deleted by SQL while it ran (its Run: `cancelled`).

    The status that SQL has written stays. False when somebody else has ended the attempt.
    """
    return db.run(lambda tx: _close(tx, place, ending, row))


def _write(tx: Tx, place: Place, endings: Sequence[Ending]) -> set[int]:
    return tx.dialect.settle(
        tx,
        Settlement(
            table=place.table,
            owner=place.session,
            server_id=place.server_id,
            queue=place.queue,
            endings=endings,
        ),
    )


def _one_by_one(db: Database, place: Place, endings: Sequence[Ending]) -> set[int]:
    """One bad value must not hold back the batch; and it must not be tried for ever either."""
    hit: set[int] = set()
    failed: list[Exception] = []
    for ending in endings:
        try:
            hit |= _write_somehow(db, place, ending)
        except Exception as error:
            if db.is_away(error):
                raise
            failed.append(error)
    if failed:
        raise failed[0]
    return hit


def _write_somehow(db: Database, place: Place, ending: Ending) -> set[int]:
    """Write one ending, with ever plainer texts where they are refused (rulings 1.11)."""
    *first, last = _forms(ending)
    for form in first:
        try:
            return db.run(lambda tx, e=form: _write(tx, place, [e]))  # type: ignore[misc]
        except Exception as error:
            if db.is_away(error):
                raise
            name = f"{place.table}/{ending.id}"
            logger.warning("task %s: texts of its end are refused, plainer follow: %s", name, error)
    return db.run(lambda tx: _write(tx, place, [last]))


def _forms(ending: Ending) -> list[Ending]:
    """The ending as it is; with a message that its table's column takes; at last without texts."""
    clean = _storable(ending)
    long, short = short_forms(ending.error_msg or "")
    return [
        ending,
        clean,
        clean._replace(error_msg=ending.error_msg and long),
        clean._replace(error_msg=ending.error_msg and short),
        clean._replace(error_msg=None, output=None, payload="{}"),
    ]


def _storable(ending: Ending) -> Ending:
    return ending._replace(
        error_msg=ending.error_msg and storable(ending.error_msg),
        output=ending.output and storable(ending.output),
        error=ending.error and storable(ending.error),
        payload=ending.payload and storable(ending.payload),
    )


def _second_look(db: Database, place: Place, ending: Ending, row: ClaimedRow | None) -> bool:
    """Was this end written after all (a commit whose answer was lost)? Else close what is left."""
    for _ in range(_LOOKS):
        status, guard, run_status = _read_back(db, place, ending)
        ours = guard == (place.session, ending.fence, ending.run_id)
        if run_status is not None:
            return bool(run_status == ending.run_status)
        if not ours or status != TaskStatus.RUNNING:
            close_edited(db, place, ending, row)
            return False
        # Still ours and running: somebody changed another column just then.
        if _write_somehow(db, place, ending):
            return True
    raise RuntimeError(f"task {place.table}/{ending.id} is ours and yet cannot be settled")


def _read_back(db: Database, place: Place, ending: Ending) -> tuple[Any, tuple[Any, ...], Any]:
    """The row's status, who has it under which fence and run id, and the status of our Run."""

    def read(tx: Tx) -> tuple[Any, tuple[Any, ...], Any]:
        sql = _READ_BACK.format(table=tx.dialect.quote(place.table))
        status, *guard = tx.one(sql, id=ending.id) or (None,)
        run = tx.value("SELECT status FROM ty_runs WHERE id = :run_id", run_id=ending.run_id)
        return status, tuple(guard), run

    return db.read(read)


def _close(tx: Tx, place: Place, ending: Ending, row: ClaimedRow | None) -> bool:
    table = tx.dialect.quote(place.table)
    # By its run id as well: a row that was deleted may have left its id to another.
    mine = {"id": ending.id, "run_id": ending.run_id}
    found = tx.rows(_EDITED.format(table=table), **mine)
    if not found and row is None:
        return False
    if found and not tx.execute(
        _CLEAR_OWNER.format(table=table), fence=ending.fence, owner=place.session, **mine
    ):
        return False
    values = _values(place, _storable(ending), row)
    values["error"] = "the task was deleted while it ran"
    if found:
        values |= found[0]
        cancelled = values.pop("task_status") == TaskStatus.CANCELLED
        reason = values.pop("error_msg") if cancelled else None
        what = "cancelled" if cancelled else "changed"
        values["error"] = reason or f"the task was {what} while it ran"
    return record.insert_ended(tx, values)


def _values(place: Place, ending: Ending, row: ClaimedRow | None) -> dict[str, Any]:
    claimed = row._asdict() if row else {}
    return {
        "id": ending.run_id,
        "task_table": place.table,
        "task_id": ending.id,
        "fence": ending.fence,
        "attempt": ending.attempt,
        "task_type": claimed.get("task_type"),
        "queue": place.queue,
        "status": RunStatus.CANCELLED.value,
        "origin": claimed.get("origin"),
        "tenant_id": claimed.get("tenant_id"),
        "context": claimed.get("context"),
        "server_id": place.server_id,
        "session": place.session,
        "pid": ending.pid,
        "payload": ending.payload or claimed.get("task_params"),
        "output": ending.output,
        "memory_usage": ending.memory,
        "cpu_time": ending.cpu_time,
        "wait_time": ending.wait,
        "execution_time": ending.duration,
        "age": ending.age,
    }
