"""Reclaim: items whose Run is over give up waiting for it.

Owns what becomes of an item that was being worked on when its Run ended without settling it: a
server was killed, a runner died, a time limit passed. Its Run is over for good when no slot's Task
has it any more, so what is read late harms nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from taskyard.batches import slots
from taskyard.batches.row import Locked
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Tx

MAX_CRASHES = 5
"""Times that an item may go down with its worker before it has failed."""

UNKNOWN = "unknown: its worker died while it had this item; nobody knows whether it was done"

_FREE = (RunStatus.INTERRUPTED, RunStatus.CANCELLED, RunStatus.COMPLETED)
"""Ends of a Run that are no fault of what it was doing."""

_HELD = """
SELECT id, run_id, crashes FROM ty_batch_items
 WHERE batch_id = :id AND status = 'running' ORDER BY id
"""

_FAIL = """
UPDATE ty_batch_items SET status = 'failed', error = :error, crashes = crashes + 1,
       completed_at = {now} WHERE {ids}
"""

_REOPEN = """
UPDATE ty_batch_items SET status = 'pending', crashes = crashes + :crashed, started_at = NULL
 WHERE {ids}
"""


@dataclass
class _Sorted:
    """Items by what becomes of them."""

    fail: dict[str, list[int]] = field(default_factory=dict)
    reopen: dict[int, list[int]] = field(default_factory=dict)


def reclaim(tx: Tx, batch: Locked) -> int:
    """Take back what nobody works on any more; returns how many items that were."""
    held = tx.all(_HELD, id=batch.id)
    if not held:
        return 0
    # The items were read before the Tasks: a Run that is not among those now never comes back.
    live = slots.live_runs(tx, batch.id)
    lost = [row for row in held if row[1] not in live]
    if not lost:
        return 0
    sorted_ = _sort(tx, batch, lost)
    now = tx.dialect.utc_now
    for error, ids in sorted_.fail.items():
        sql = _FAIL.format(now=now, ids=tx.dialect.looked_up("id", ids))
        batch.count("failed", tx.execute(sql, error=error))
    for crashed, ids in sorted_.reopen.items():
        tx.execute(_REOPEN.format(ids=tx.dialect.looked_up("id", ids)), crashed=crashed)
        batch.reopen(min(ids))
    return len(lost)


def _sort(tx: Tx, batch: Locked, lost: Sequence[tuple[int, int, int]]) -> _Sorted:
    found = _Sorted()
    ends = _ends(tx, {run_id for _, run_id, _ in lost})
    for item, run_id, crashes in lost:
        crashed = int(ends.get(run_id) not in _FREE)
        if batch["on_inflight"] == "mark_unknown":
            found.fail.setdefault(UNKNOWN, []).append(item)
        elif crashes + crashed >= MAX_CRASHES:
            why = f"its worker died {MAX_CRASHES} times while it had this item"
            found.fail.setdefault(why, []).append(item)
        else:
            found.reopen.setdefault(crashed, []).append(item)
    return found


def _ends(tx: Tx, run_ids: set[int]) -> dict[int, str]:
    which = tx.dialect.among("id", sorted(run_ids))
    return {row[0]: row[1] for row in tx.all(f"SELECT id, status FROM ty_runs WHERE {which}")}
