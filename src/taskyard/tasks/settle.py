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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskyard.core.lifecycle import RunStatus, TaskStatus
from taskyard.db.database import Database, Tx
from taskyard.db.rows import ClaimedRow, Ending, Settlement
from taskyard.runs import record

logger = logging.getLogger("taskyard.settle")

_READ_BACK = """
SELECT t.status, t.fence, t.owner, (SELECT r.status FROM ty_runs AS r WHERE r.id = :run_id)
  FROM {table} AS t WHERE t.id = :id
"""

_CLEAR_OWNER = """
UPDATE {table} SET owner = NULL WHERE id = :id AND fence = :fence AND owner = :owner
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

    `claimed(task_id)` gives the row as it was claimed, for Tasks whose row is gone. Raises what the
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
    superseded = [e.id for e in missed if not _second_look(db, place, e, claimed(e.id))]
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
    for ending in endings:
        try:
            hit |= db.run(lambda tx, e=ending: _write(tx, place, [e]))  # type: ignore[misc]
        except Exception as error:
            if db.is_away(error):
                raise
            logger.warning(
                "task %s/%d: its end is written without its texts: %s",
                place.table,
                ending.id,
                error,
            )
            plain = _degraded(ending, error)
            hit |= db.run(lambda tx, e=plain: _write(tx, place, [e]))  # type: ignore[misc]
    return hit


def _degraded(ending: Ending, error: Exception) -> Ending:
    """The ending with texts that any column takes (a latin1 or varchar(255) error_msg)."""
    why = f"(texts could not be stored: {type(error).__name__})"
    message = ending.error_msg and f"{_ascii(ending.error_msg)[:180]} {why}"
    return ending._replace(
        error_msg=message,
        error=ending.error and f"{_ascii(ending.error)[:2000]} {why}",
        output=None,
        payload=None if ending.payload is None else "{}",
    )


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode().replace("\x00", "?")


def _second_look(db: Database, place: Place, ending: Ending, row: ClaimedRow | None) -> bool:
    """Was this end written after all (a commit whose answer was lost)? Else close what is left."""
    for _ in range(_LOOKS):
        found = _read_back(db, place, ending)
        if found is None:
            close_edited(db, place, ending, row)
            return False
        status, fence, owner, run_status = found
        if (owner, fence) != (place.session, ending.fence):
            return bool(run_status == ending.run_status)
        if status != TaskStatus.RUNNING:
            close_edited(db, place, ending, row)
            return False
        # Still ours and running: somebody changed another column just then.
        if db.run(lambda tx: _write(tx, place, [ending])):
            return True
    raise RuntimeError(f"task {place.table}/{ending.id} is ours and yet cannot be settled")


def _read_back(db: Database, place: Place, ending: Ending) -> tuple[Any, ...] | None:
    return db.read(
        lambda tx: tx.one(
            _READ_BACK.format(table=tx.dialect.quote(place.table)),
            id=ending.id,
            run_id=ending.run_id,
        )
    )


def _close(tx: Tx, place: Place, ending: Ending, row: ClaimedRow | None) -> bool:
    table = tx.dialect.quote(place.table)
    gone = tx.value(f"SELECT 1 FROM {table} WHERE id = :id", id=ending.id) is None
    if gone and row is None:
        return False
    if not gone and not tx.execute(
        _CLEAR_OWNER.format(table=table), id=ending.id, fence=ending.fence, owner=place.session
    ):
        return False
    why = "the task was deleted by SQL" if gone else "the task was changed by SQL while it ran"
    values = _values(place, ending, row)
    values.update(status=RunStatus.CANCELLED.value, error=why)
    return record.insert_ended(tx, values)


def _values(place: Place, ending: Ending, row: ClaimedRow | None) -> dict[str, Any]:
    values: Mapping[str, Any] = {
        "id": ending.run_id,
        "task_table": place.table,
        "task_id": ending.id,
        "fence": ending.fence,
        "attempt": ending.attempt,
        "task_type": row.task_type if row else "?",
        "queue": place.queue,
        "origin": row.origin if row else "enqueued",
        "tenant_id": row.tenant_id if row else "",
        "server_id": place.server_id,
        "session": place.session,
        "pid": ending.pid,
        "payload": ending.payload or (row.task_params if row else None),
        "output": ending.output,
        "memory_usage": ending.memory,
        "cpu_time": ending.cpu_time,
        "wait_time": ending.wait,
        "execution_time": ending.duration,
        "age": ending.age,
    }
    return dict(values)
