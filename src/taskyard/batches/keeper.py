"""Keeper: looks after batches that nobody has to watch.

Owns the chore that every Server does: slots whose Task is gone get another while items wait, items
whose Run is over are taken back, and what somebody has begun and not finished is finished: a kill
never ends a batch (rulings 1.14).
"""

from __future__ import annotations

import logging
from functools import partial

from taskyard.batches import create, ending, slots
from taskyard.batches.reclaim import reclaim
from taskyard.batches.row import Locked, Now, lock
from taskyard.db.database import Database, Tx

logger = logging.getLogger("taskyard.batches")

FORSAKEN = 60.0
"""Seconds without a new item after which a batch that was being filled is given up."""

SOME = 1_000
"""Items that are skipped with one transaction."""

_TO_KEEP = """
SELECT id, status FROM ty_batches WHERE status IN ('running', 'paused')
UNION SELECT id, status FROM ty_batches WHERE unfinished = 1
"""

_AGE = "SELECT {now} - {updated} FROM ty_batches WHERE id = :id"

_SKIP = """
UPDATE ty_batch_items SET status = 'skipped', error = :why, due = NULL, completed_at = {now}
 WHERE {ids} AND status = 'pending'
"""

_WAITING = """
SELECT id FROM ty_batch_items WHERE batch_id = :id AND status = 'pending' ORDER BY id LIMIT :most
"""


def keep(db: Database) -> int:
    """Look after all batches that are not over; returns how many Tasks it made."""
    found = db.read(lambda tx: tx.all(_TO_KEEP))
    return sum(_keep_one(db, int(batch_id)) for batch_id, _ in found)


def finish(db: Database, batch_id: int) -> None:
    """Deal with what the end of a batch has left: its waiting items are skipped if it was
    cancelled, those whose Run is over are taken back."""
    while db.run(partial(_finish_some, batch_id=batch_id)):
        pass


def _keep_one(db: Database, batch_id: int) -> int:
    table, alerts = slots.ready(db), ending.ready(db)
    status, is_unfinished = db.run(partial(_look, batch_id=batch_id))
    if is_unfinished and status == "pending":
        _give_up_filling(db, batch_id)
    elif is_unfinished:
        finish(db, batch_id)
    elif status in ("running", "paused"):
        made = db.run(partial(_mend, batch_id=batch_id, table=table, alerts=alerts))
        if made:
            db.bell.ring(table)
        return made
    return 0


def _look(tx: Tx, *, batch_id: int) -> tuple[str, bool]:
    row = tx.one("SELECT status, unfinished FROM ty_batches WHERE id = :id", id=batch_id)
    return ("", False) if row is None else (str(row[0]), bool(row[1]))


def _mend(tx: Tx, *, batch_id: int, table: str, alerts: str) -> int:
    batch = lock(tx, batch_id)
    if batch is None or batch["status"] not in ("running", "paused"):
        return 0
    reclaim(tx, batch)
    ending.conclude(tx, batch, alerts)
    made = slots.fill(tx, batch, table) if batch["status"] == "running" else 0
    batch.save(tx)
    return made


def _give_up_filling(db: Database, batch_id: int) -> None:
    """Whoever was filling it is gone."""
    epoch, now = db.dialect.epoch, db.dialect.utc_now
    sql = _AGE.format(now=epoch(now), updated=epoch("updated_at"))
    age = db.read(lambda tx: tx.value(sql, id=batch_id))
    if age is not None and float(age) > FORSAKEN:
        logger.warning("batch %d is removed: its creation broke off", batch_id)
        create.discard(db, batch_id)


def _finish_some(tx: Tx, *, batch_id: int) -> bool:
    """One lot; False when there is nothing left that can be done now."""
    batch = lock(tx, batch_id)
    if batch is None or not batch["unfinished"] or batch["status"] in ("pending", "running"):
        return False
    reclaim(tx, batch)
    skipped = skip_waiting(tx, batch) if batch["status"] == "cancelled" else 0
    if not skipped and not _held(tx, batch):
        batch.set(unfinished=0)
    batch.save(tx)
    return bool(skipped)


def skip_waiting(tx: Tx, batch: Locked, why: str = "the batch was cancelled") -> int:
    """Skip a lot of the items that wait; returns how many."""
    ids = [row[0] for row in tx.all(_WAITING, id=batch.id, most=SOME)]
    if not ids:
        return 0
    which = tx.dialect.looked_up("id", ids)
    skipped = tx.execute(_SKIP.format(now=tx.dialect.utc_now, ids=which), why=why)
    batch.count("skipped", skipped)
    batch.set(completed_at=Now)
    return skipped


def _held(tx: Tx, batch: Locked) -> bool:
    sql = "SELECT 1 FROM ty_batch_items WHERE batch_id = :id AND status = 'running' LIMIT 1"
    return tx.value(sql, id=batch.id) is not None
