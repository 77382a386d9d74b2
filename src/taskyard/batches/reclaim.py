"""Reclaim: items whose Run is over give up waiting for it.

Owns what becomes of an item that was being worked on when its Run ended without settling it: a
server was killed, a runner died, the item's time limit passed. Its Run is over for good when no
slot's Task has it any more, so what is read late harms nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

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
SELECT id, run_id, crashes, retry_count FROM ty_batch_items
 WHERE batch_id = :id AND status = 'running' ORDER BY id
"""

_FAIL = """
UPDATE ty_batch_items SET status = 'failed', error = :error, crashes = crashes + :crashed,
       completed_at = {now} WHERE {ids}
"""

_REOPEN = """
UPDATE ty_batch_items SET status = 'pending', crashes = crashes + :crashed, started_at = NULL
 WHERE {ids}
"""


_AGAIN = """
UPDATE ty_batch_items SET status = 'pending', error = :error, retry_count = retry_count + 1,
       due = :due, started_at = NULL
 WHERE {ids}
"""


class _Held(NamedTuple):
    """An item that a Run had which is over."""

    id: int
    run_id: int
    crashes: int
    retry_count: int


@dataclass
class _Sorted:
    """Items by what becomes of them, and what their rows then say."""

    fail: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    again: dict[str, list[int]] = field(default_factory=dict)
    reopen: dict[int, list[int]] = field(default_factory=dict)


def reclaim(tx: Tx, batch: Locked) -> int:
    """Take back what nobody works on any more; returns how many items that were."""
    held = [_Held(*row) for row in tx.all(_HELD, id=batch.id)]
    if not held:
        return 0
    # The items were read before the Tasks: a Run that is not among those now never comes back.
    live = slots.live_runs(tx, batch.id)
    lost = [item for item in held if item.run_id not in live]
    if not lost:
        return 0
    sorted_ = _sort(tx, batch, lost)
    now = tx.dialect.utc_now
    for (error, crashed), ids in sorted_.fail.items():
        sql = _FAIL.format(now=now, ids=tx.dialect.looked_up("id", ids))
        batch.count("failed", tx.execute(sql, error=error, crashed=crashed))
    for error, ids in sorted_.again.items():
        tx.execute(_AGAIN.format(ids=tx.dialect.looked_up("id", ids)), error=error, due=batch.now)
    for crashed, ids in sorted_.reopen.items():
        tx.execute(_REOPEN.format(ids=tx.dialect.looked_up("id", ids)), crashed=crashed)
        batch.reopen(min(ids))
    return len(lost)


def _sort(tx: Tx, batch: Locked, lost: Sequence[_Held]) -> _Sorted:
    found = _Sorted()
    ends = _ends(tx, {item.run_id for item in lost})
    for item in lost:
        end, error = ends.get(item.run_id, (None, None))
        crashed = int(end not in _FREE)
        if end == RunStatus.TIMEOUT:
            # What was taken ahead was put back when this one took long: it is the culprit.
            why = error or "timed out"
            if batch["on_inflight"] == "mark_unknown" or item.retry_count >= batch["max_retries"]:
                found.fail.setdefault((why, 0), []).append(item.id)
            else:
                found.again.setdefault(why, []).append(item.id)
        elif batch["on_inflight"] == "mark_unknown":
            found.fail.setdefault((UNKNOWN, 1), []).append(item.id)
        elif item.crashes + crashed >= MAX_CRASHES:
            why = f"its worker died {MAX_CRASHES} times while it had this item"
            found.fail.setdefault((why, 1), []).append(item.id)
        else:
            found.reopen.setdefault(crashed, []).append(item.id)
    return found


def _ends(tx: Tx, run_ids: set[int]) -> dict[int, tuple[str, str | None]]:
    which = tx.dialect.among("id", sorted(run_ids))
    rows = tx.all(f"SELECT id, status, error FROM ty_runs WHERE {which}")
    return {row[0]: (row[1], row[2]) for row in rows}
