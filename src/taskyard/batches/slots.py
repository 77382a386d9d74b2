"""Slots: the Tasks that work for a batch, one a slot, as many slots as its concurrency.

Owns their making and handing over. A slot has one live Task at a time, so that a batch is never
worked on by more than it may be; slot 0 of every batch goes before slot 1 of any, so that those of
many tenants share the workers there are, however large each is.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

import orjson

from taskyard.batches.row import Locked
from taskyard.core.lifecycle import Origin
from taskyard.db.database import Database, Tx
from taskyard.queues import BATCHES, ensure_queue
from taskyard.tasks.enqueue import NewTask, put, route

_RETRIES = 3
_making = threading.Lock()

_STATES = "SELECT id, run_id, status, owner FROM {table} WHERE {ids}"


def ready(db: Database) -> str:
    """Make sure that there is a queue for them; returns its table."""
    # One at a time: many who made the table at once would wait for each other with all connections.
    with _making:
        ensure_queue(db, BATCHES)
    return route(db, BATCHES)


def fill(tx: Tx, batch: Locked, table: str) -> int:
    """Give each slot that has no live Task one, as far as items wait; returns how many were made.

    Whoever commits it rings the bell of the table.
    """
    taken = {slot for slot, state in _slots(tx, batch.id).items() if state.is_live}
    wanted = min(int(batch["concurrency"]), waiting(tx, batch.id, int(batch["concurrency"])))
    free = [slot for slot in range(int(batch["concurrency"])) if slot not in taken]
    fresh = free[: max(0, wanted - len(taken))]
    for slot in fresh:
        enter(tx, batch, table, slot)
    return len(fresh)


def enter(tx: Tx, batch: Locked, table: str, slot: int, delay: float | None = None) -> None:
    """Put a Task into the line that from now on has the slot."""
    task = NewTask(
        task_type=batch["task_type"],
        queue=BATCHES,
        delay=delay,
        priority=-min(slot, 100),
        max_retries=_RETRIES,
        tenant_id=batch["tenant_id"],
        origin=Origin.BATCH.value,
        context=orjson.dumps({"batch_id": batch.id, "slot": slot}).decode(),
    )
    [task_id] = put(tx, table, [task])
    place = {"batch_id": batch.id, "slot": slot, "task_table": table, "task_id": task_id}
    moved = tx.execute(
        "UPDATE ty_batch_slots SET task_table = :task_table, task_id = :task_id"
        " WHERE batch_id = :batch_id AND slot = :slot",
        **place,
    )
    if not moved:
        tx.execute(
            "INSERT INTO ty_batch_slots (batch_id, slot, task_table, task_id)"
            " VALUES (:batch_id, :slot, :task_table, :task_id)",
            **place,
        )


def leave(tx: Tx, batch_id: int, slot: int) -> None:
    """The slot has no Task any more."""
    tx.execute(
        "DELETE FROM ty_batch_slots WHERE batch_id = :id AND slot = :slot", id=batch_id, slot=slot
    )


def holds(tx: Tx, batch_id: int, slot: int, table: str, task_id: int, run_id: int) -> bool:
    """Does this Run still have its Task, and the Task the slot? Both stay so until the commit."""
    mine = tx.one(
        "SELECT task_table, task_id FROM ty_batch_slots WHERE batch_id = :id AND slot = :slot",
        id=batch_id,
        slot=slot,
    )
    if mine is None or tuple(mine) != (table, task_id):
        return False
    wait = "FOR UPDATE" if tx.dialect.skip_locked else ""
    sql = f"SELECT run_id FROM {tx.dialect.quote(table)} WHERE id = :id AND status = 1 {wait}"
    return bool(tx.value(sql, id=task_id) == run_id)


def live_runs(tx: Tx, batch_id: int) -> set[int]:
    """The Runs that work for the batch now."""
    return {state.run_id for state in _slots(tx, batch_id).values() if state.run_id is not None}


def waiting(tx: Tx, batch_id: int, most: int) -> int:
    """How many items wait, counted up to `most`."""
    sql = (
        "SELECT COUNT(*) FROM (SELECT id FROM ty_batch_items"
        " WHERE batch_id = :id AND status = 'pending' LIMIT :most) AS waiting"
    )
    return int(tx.value(sql, id=batch_id, most=most))


class _State(NamedTuple):
    """The Task of a slot: whether it is live, and the Run that it has now."""

    is_live: bool
    run_id: int | None


def _slots(tx: Tx, batch_id: int) -> dict[int, _State]:
    rows = tx.all(
        "SELECT slot, task_table, task_id FROM ty_batch_slots WHERE batch_id = :id", id=batch_id
    )
    states: dict[tuple[str, int], _State] = {}
    for table in {row[1] for row in rows}:
        ids = [row[2] for row in rows if row[1] == table]
        sql = _STATES.format(table=tx.dialect.quote(table), ids=tx.dialect.among("id", ids))
        for task_id, run_id, status, owner in tx.all(sql):
            is_live = status in (0, 1) or owner is not None
            states[table, task_id] = _State(is_live, None if owner is None else run_id)
    return {slot: states.get((table, task), _State(False, None)) for slot, table, task in rows}
