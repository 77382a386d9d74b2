"""Manage: what people do to batches: pause, resume, cancel, retry, skip, delete.

Owns these verbs. Creating and starting are `create.py`'s, looking is `browse.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.batches import create, ending, items, keeper, row, slots
from taskyard.batches.create import audit_batch
from taskyard.batches.row import Locked
from taskyard.core.errors import BatchInvalid, ItemUnknown, NotNow
from taskyard.db.database import Database, Tx

_LOT = 1_000
MOST_SELECTED = 10_000
"""Items that may be named at once."""

_ENDED_BADLY = """
SELECT id, status FROM ty_batch_items
 WHERE batch_id = :b AND status = 'failed' AND id > :after ORDER BY id LIMIT :most
"""

_AGAIN = """
UPDATE ty_batch_items SET status = 'pending', retry_count = 0, crashes = 0, due = NULL,
       run_id = NULL, completed_at = NULL
 WHERE {ids}
"""

_SKIP = """
UPDATE ty_batch_items SET status = 'skipped', error = :why, due = NULL, completed_at = {now}
 WHERE id = :id
"""


def pause_batch(db: Database, caller: Caller, batch_id: int) -> dict[str, Any]:
    """Let no more items begin; those under way are finished. Returns the batch.

    Raises BatchUnknown, NotNow unless it is running, NotAllowed.
    """

    def work(tx: Tx, batch: Locked) -> None:
        _require(batch, "pause", "running")
        batch.set(status="paused", rate=None, rate_from=None)

    return _change(db, caller, batch_id, "pause", work)


def resume_batch(db: Database, caller: Caller, batch_id: int) -> dict[str, Any]:
    """Let a batch that is paused, or has failed, go on with the items that are left.

    Raises BatchUnknown, BatchRunning, NotNow (also where nothing is left), NotAllowed.
    """
    table = slots.ready(db)

    def work(tx: Tx, batch: Locked) -> None:
        _require(batch, "resume", "paused", "failed")
        if batch.left == 0:
            raise NotNow("resume", f"batch {batch_id}", "through with all its items")
        create.launch(tx, batch, table)

    return _change(db, caller, batch_id, "resume", work)


def cancel_batch(db: Database, caller: Caller, batch_id: int) -> dict[str, Any]:
    """End a batch: items that wait are skipped, those under way are finished. Returns it.

    Raises BatchUnknown, NotNow for one that is over, NotAllowed.
    """

    def work(tx: Tx, batch: Locked) -> None:
        _require(batch, "cancel", *row.LIVE, "failed")
        batch.set(status="cancelled", active_key=None, completed_at=row.Now, unfinished=1)
        batch.set(rate=None, rate_from=None, error=f"cancelled by {caller.name}")

    _change(db, caller, batch_id, "cancel", work)
    keeper.finish(db, batch_id)
    return _shown(db, caller, batch_id)


def retry_failed(db: Database, caller: Caller, batch_id: int) -> dict[str, Any]:
    """Process all failed items again, with all their attempts. Returns the batch.

    One that is over runs again. Raises BatchUnknown, BatchRunning, NotNow, NotAllowed.
    """

    def lot(tx: Tx, batch: Locked, after: int) -> list[tuple[int, str]]:
        rows = tx.all(_ENDED_BADLY, b=batch_id, after=after, most=_LOT)
        return [(int(found[0]), str(found[1])) for found in rows]

    return _retry(db, caller, batch_id, lot, "retry-failed")


def retry_items(
    db: Database, caller: Caller, batch_id: int, item_ids: Sequence[str]
) -> dict[str, Any]:
    """Process these items again: failed and skipped ones. Returns the batch.

    Raises ItemUnknown, NotNow for one that has not ended or was successful, and as `retry_failed`.
    """
    wanted = _named(item_ids)

    def lot(tx: Tx, batch: Locked, after: int) -> list[tuple[int, str]]:
        if after:
            return []
        found = [_item(tx, batch, item_id) for item_id in wanted]
        for item_id, (_, status) in zip(wanted, found, strict=True):
            if status not in ("failed", "skipped"):
                raise NotNow("retry", f'item "{item_id}" of batch {batch_id}', status)
        return found

    return _retry(db, caller, batch_id, lot, "retry", items=len(wanted))


def skip_items(
    db: Database, caller: Caller, batch_id: int, item_ids: Sequence[str]
) -> dict[str, Any]:
    """Never process these items, which wait. Returns the batch.

    Raises ItemUnknown, NotNow for one that has been begun, BatchUnknown, NotAllowed.
    """
    wanted = _named(item_ids)
    alerts = ending.ready(db)

    def work(tx: Tx, batch: Locked) -> None:
        for item_id in wanted:
            item, status = _item(tx, batch, item_id)
            if status != "pending":
                raise NotNow("skip", f'item "{item_id}" of batch {batch_id}', status)
            why = f"skipped by {caller.name}"
            tx.execute(_SKIP.format(now=tx.dialect.utc_now), id=item, why=why)
        batch.count("skipped", len(wanted))
        ending.conclude(tx, batch, alerts)

    return _change(db, caller, batch_id, "skip", work, items=list(wanted[:20]))


def delete_batch(db: Database, caller: Caller, batch_id: int) -> None:
    """Delete a batch with its items; one that is not over is cancelled. Its Runs stay.

    Raises BatchUnknown or NotAllowed.
    """
    caller.require(Permission.BATCHES_WRITE)

    def work(tx: Tx) -> None:
        batch = row.lock_visible(tx, caller, batch_id)
        audit_batch(tx, caller, "delete", batch, name=batch["name"], items=batch["total_count"])

    db.run(work)
    create.discard(db, batch_id)


# --- below ----------------------------------------------------------------------------------------


def _change(
    db: Database,
    caller: Caller,
    batch_id: int,
    verb: str,
    change: Callable[[Tx, Locked], None],
    **told: Any,
) -> dict[str, Any]:
    caller.require(Permission.BATCHES_WRITE)
    keys: list[str] = []

    def work(tx: Tx) -> None:
        batch = row.lock_visible(tx, caller, batch_id)
        keys[:] = [batch["tenant_id"], batch["task_type"]]
        change(tx, batch)
        batch.save(tx)
        audit_batch(tx, caller, verb, batch, **told)

    try:
        db.run(work)
    except Exception as error:
        if db.dialect.is_duplicate(error):
            create.exclusively(db, keys[0], keys[1], partial(db.run, work))
        else:
            raise
    db.bell.ring(slots.ready(db))
    return _shown(db, caller, batch_id)


def _retry(
    db: Database,
    caller: Caller,
    batch_id: int,
    lot: Callable[[Tx, Locked, int], list[tuple[int, str]]],
    verb: str,
    **told: Any,
) -> dict[str, Any]:
    """Put items back, lot by lot in the order of their ids, so that none comes round twice."""
    table, after = slots.ready(db), 0

    def first(tx: Tx, batch: Locked) -> None:
        _require(batch, verb, "running", "paused", "completed", "failed", "cancelled")
        found = lot(tx, batch, 0)
        if not found:
            raise NotNow(verb, f"batch {batch_id}", "without failed items")
        _put_back(tx, batch, found)
        if batch["status"] not in row.LIVE:
            batch.set(unfinished=0)
            create.launch(tx, batch, table)
        elif batch["status"] == "running":
            slots.fill(tx, batch, table)
        nonlocal after
        after = max(item for item, _ in found)

    def more(tx: Tx) -> int:
        batch = row.lock(tx, batch_id)
        found = lot(tx, batch, after) if batch is not None else []
        if batch is None or not found:
            return 0
        _put_back(tx, batch, found)
        if batch["status"] == "completed":  # the workers were faster
            create.launch(tx, batch, table)
        batch.save(tx)
        return max(item for item, _ in found)

    _change(db, caller, batch_id, verb, first, **told)
    while reached := db.run(more):
        after = reached
    db.bell.ring(table)
    return _shown(db, caller, batch_id)


def _put_back(tx: Tx, batch: Locked, found: Sequence[tuple[int, str]]) -> None:
    ids = [item for item, _ in found]
    for start in range(0, len(ids), _LOT):
        which = tx.dialect.looked_up("id", ids[start : start + _LOT])
        tx.execute(_AGAIN.format(ids=which))
    for status in ("failed", "skipped"):
        batch.count(status, -sum(1 for _, was in found if was == status))
    batch.reopen(min(ids))


def _require(batch: Locked, verb: str, *statuses: str) -> None:
    if batch["status"] not in statuses or (batch["unfinished"] and batch["status"] == "pending"):
        state = "being filled" if batch["unfinished"] else batch["status"]
        raise NotNow(verb, f"batch {batch.id}", state)


def _named(item_ids: Sequence[str]) -> list[str]:
    wanted = list(dict.fromkeys(str(item_id).strip() for item_id in item_ids))
    if not wanted or len(wanted) > MOST_SELECTED:
        why = f"{len(wanted):,} are named"
        raise BatchInvalid("item_ids", why, f"Name 1 to {MOST_SELECTED:,}.")
    return wanted


def _item(tx: Tx, batch: Locked, item_id: str) -> tuple[int, str]:
    sql = "SELECT id, status FROM ty_batch_items WHERE batch_id = :b AND item_id = :i"
    found = tx.one(sql, b=batch.id, i=item_id[: items.ID_LENGTH])
    if found is None:
        raise ItemUnknown(str(batch.id), item_id[: items.ID_LENGTH])
    return int(found[0]), str(found[1])


def _shown(db: Database, caller: Caller, batch_id: int) -> dict[str, Any]:
    return db.read(lambda tx: row.shown(row.fetch(tx, caller, batch_id)))
