"""Ending: how a batch comes to its end, once, and who is told.

Owns the writes that end a batch, in the transaction that ends its last item (or stops it), together
with the Tasks that tell of it: both or neither. Who is told what is the alerts' business.
"""

from __future__ import annotations

from taskyard.alerts import telling
from taskyard.batches.row import LIVE, Locked, Now
from taskyard.db.database import Tx

ready = telling.ready
"""Make sure that there is a queue for what is told; returns its table."""


def conclude(tx: Tx, batch: Locked, table: str) -> None:
    """End the batch if nothing is left of it, or if enough of it has failed.

    `table` is that of `ready`.
    """
    if batch["status"] not in ("running", "paused"):
        return
    failed = batch["failed_count"] - batch["failed_before"]
    if batch.left == 0:
        end(tx, batch, "completed", None, table)
    elif batch["stop_after"] is not None and failed >= batch["stop_after"]:
        end(tx, batch, "failed", f"stopped after {failed:,} failed items", table)


def end(tx: Tx, batch: Locked, status: str, error: str | None, table: str) -> None:
    """End the batch, give its key free, and tell of it."""
    assert batch["status"] in LIVE, "a batch ends once"
    batch.set(
        status=status,
        error=error,
        active_key=None,
        completed_at=Now,
        rate=None,
        rate_from=None,
        unfinished=int(batch.left > 0),
    )
    # What is told is read from the row, so it must say so.
    batch.save(tx)
    telling.tell_batch(tx, table, batch.id)
