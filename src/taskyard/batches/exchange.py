"""Exchange: a worker's one transaction with its batch: what is done is settled, what is next taken.

Owns the statements that move items, each under the lock of the batch's row: so counters move with
the items, an item is taken once, and pausing, stopping and the rate limit hold at once. An item is
settled under its Run's id, taken only while the Run still has its Task: what a zombie brings late
counts if nobody else has begun the item again, and it gets nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from taskyard.batches import ending, slots
from taskyard.batches.reclaim import reclaim
from taskyard.batches.row import Locked, lock
from taskyard.db.database import Tx
from taskyard.db.rows import ItemEnd

AHEAD = 0.5
"""Seconds that an item may be taken before the rate limit lets it start: so a pause is quick."""

_CATCH_UP = 0.25
"""Seconds of lateness that the rate limit makes good."""

_LONGEST = 10.0
_LOT = 1_000


class Taken(NamedTuple):
    """An item that a worker has: `attempts` and `retry_count` are those before this attempt."""

    id: int
    item_id: str
    data: str | None
    attempts: int
    retry_count: int


class Done(NamedTuple):
    """What became of an item. `status` is its new one; "pending" waits `delay` seconds (None: it
    was not begun), and `retries` says whether that costs it a retry."""

    item: Taken
    status: str
    result: str | None = None
    error: str | None = None
    duration: float | None = None
    delay: float | None = None
    retries: int = 0


@dataclass(frozen=True, slots=True)
class Worker:
    """Who asks: a slot's Task and its Run."""

    batch_id: int
    slot: int
    task_table: str
    task_id: int
    run_id: int
    alerts: str
    """The table that the end of the batch is told in."""


@dataclass(slots=True)
class Answer:
    """What a worker got.

    `items` to work on, after `wait` seconds; nothing and `more`: look again after `wait`. Without
    both the worker ends, and `over` says that the batch did. `params`, `max_retries` and `pause`
    are the batch's own; `one_by_one` says that nothing may be taken ahead.
    """

    items: list[Taken] = field(default_factory=list)
    wait: float = 0.0
    more: bool = False
    over: bool = False
    handed_over: bool = False
    params: str | None = None
    max_retries: int = 0
    pause: float = 0.0
    one_by_one: bool = False


def exchange(
    tx: Tx, worker: Worker, done: Sequence[Done], want: int, *, first: bool, hand_over: bool
) -> Answer:
    """Settle what is done and take at most `want` items.

    `first` takes back what earlier Runs have left. `hand_over` takes nothing: another Task gets the
    slot, at the end of the line, if anything waits.
    """
    batch = lock(tx, worker.batch_id)
    if batch is None:
        return Answer(over=True)
    settle(tx, batch, worker.run_id, done)
    if first:
        reclaim(tx, batch)
    ending.conclude(tx, batch, worker.alerts)
    answer = _next(tx, batch, worker, want, hand_over)
    batch.save(tx)
    answer.params, answer.max_retries = batch["params"], int(batch["max_retries"])
    answer.pause = float(batch["pause"] or 0.0)
    answer.one_by_one = bool(answer.pause) or batch["on_inflight"] == "mark_unknown"
    return answer


def report(tx: Tx, worker: Worker, done: Sequence[Done]) -> None:
    """Settle what is done, and take nothing."""
    batch = lock(tx, worker.batch_id)
    if batch is not None:
        settle(tx, batch, worker.run_id, done)
        ending.conclude(tx, batch, worker.alerts)
        batch.save(tx)


def fail(tx: Tx, worker: Worker, why: str) -> None:
    """End the batch as failed, unless it is over or the Run has lost its Task."""
    batch = lock(tx, worker.batch_id)
    mine = worker.batch_id, worker.slot, worker.task_table, worker.task_id, worker.run_id
    if batch is not None and batch["status"] == "running" and slots.holds(tx, *mine):
        ending.end(tx, batch, "failed", why, worker.alerts)
        batch.save(tx)


def settle(tx: Tx, batch: Locked, run_id: int, done: Sequence[Done]) -> None:
    """Write what became of items that the Run still has, and count it."""
    cancelled = batch["status"] == "cancelled"
    by_status: dict[str, list[Done]] = {}
    for one in done:
        status = "skipped" if cancelled and one.status == "pending" else one.status
        by_status.setdefault(status, []).append(one)
    for status, some in by_status.items():
        if status == "pending":
            _put_back(tx, batch, run_id, some)
        else:
            batch.count(status, tx.dialect.settle_items(tx, run_id, status, _ends(some)))


def give_back_unknown(tx: Tx, batch_id: int, run_id: int, mine: Sequence[int]) -> None:
    """Put back what the Run has taken without knowing it: the answer of a commit was lost."""
    batch = lock(tx, batch_id)
    if batch is None:
        return
    sql = "SELECT id FROM ty_batch_items WHERE batch_id = :b AND status = 'running' AND run_id = :r"
    lost = sorted({row[0] for row in tx.all(sql, b=batch_id, r=run_id)} - set(mine))
    if lost:
        _return(tx, batch, run_id, lost)
        batch.save(tx)


# --- below ----------------------------------------------------------------------------------------


_BEFORE = """
UPDATE ty_batch_items SET status = 'pending', attempts = attempts - 1, due = NULL, started_at = NULL
 WHERE {ids} AND status = 'running' AND run_id = :run_id
"""

_AGAIN = """
UPDATE ty_batch_items SET status = 'pending', error = :error, duration = :duration,
       retry_count = :retry_count, due = :due
 WHERE id = :id AND status = 'running' AND run_id = :run_id
"""

_FRESH = """
SELECT id, item_id, data, attempts, retry_count FROM ty_batch_items
 WHERE batch_id = :b AND status = 'pending' AND due IS NULL AND id >= :first
 ORDER BY id LIMIT :most
"""

_DUE = """
SELECT id, item_id, data, attempts, retry_count FROM ty_batch_items
 WHERE batch_id = :b AND due IS NOT NULL AND due <= :now AND status = 'pending'
 ORDER BY due LIMIT :most
"""

_TAKE = """
UPDATE ty_batch_items SET status = 'running', run_id = :run_id, attempts = attempts + 1,
       due = NULL, started_at = {now}, completed_at = NULL
 WHERE {ids}
"""

_NEXT_DUE = "SELECT MIN(due) FROM ty_batch_items WHERE batch_id = :b AND due IS NOT NULL"


def _ends(done: Sequence[Done]) -> list[ItemEnd]:
    return [ItemEnd(one.item.id, one.result, one.error, one.duration) for one in done]


def _put_back(tx: Tx, batch: Locked, run_id: int, done: Sequence[Done]) -> None:
    _return(tx, batch, run_id, sorted(one.item.id for one in done if one.delay is None))
    tx.many(
        _AGAIN,
        [
            {
                "id": one.item.id,
                "run_id": run_id,
                "error": one.error,
                "duration": one.duration,
                "retry_count": one.item.retry_count + one.retries,
                "due": batch.now + one.delay,
            }
            for one in done
            if one.delay is not None
        ],
    )


def _return(tx: Tx, batch: Locked, run_id: int, items: Sequence[int]) -> None:
    """Put items back, in the order of their ids, as if they had not been taken."""
    for start in range(0, len(items), _LOT):
        ids = items[start : start + _LOT]
        tx.execute(_BEFORE.format(ids=tx.dialect.looked_up("id", ids)), run_id=run_id)
        batch.reopen(ids[0])


def _next(tx: Tx, batch: Locked, worker: Worker, want: int, hand_over: bool) -> Answer:
    """What the worker does next."""
    mine = worker.batch_id, worker.slot, worker.task_table, worker.task_id, worker.run_id
    if not slots.holds(tx, *mine):
        return Answer(over=batch["completed_at"] is not None)
    if batch["status"] != "running":
        slots.leave(tx, batch.id, worker.slot)
        return Answer(over=batch["status"] != "paused")
    if hand_over:
        return _hand_over(tx, batch, worker)
    count, wait = _allowed(batch, want)
    items = _take(tx, batch, worker.run_id, count) if count else []
    if items and batch["rate_limit"] is not None:
        _use(batch, len(items))
    if items or not count:
        return Answer(items, wait, more=True)
    return _hand_over(tx, batch, worker)


def _hand_over(tx: Tx, batch: Locked, worker: Worker) -> Answer:
    """Another Task gets the slot, as far as items wait; it is due when the first of them is."""
    if slots.waiting(tx, batch.id, 1):
        first = None if _take_fresh(tx, batch, 1) else tx.value(_NEXT_DUE, b=batch.id)
        delay = None if first is None else min(_LONGEST, max(0.05, first - batch.now))
        slots.enter(tx, batch, worker.task_table, worker.slot, delay)
        return Answer(handed_over=True)
    slots.leave(tx, batch.id, worker.slot)
    return Answer()


def _take(tx: Tx, batch: Locked, run_id: int, count: int) -> list[Taken]:
    items = _take_fresh(tx, batch, count)
    if items:
        batch.set(next_item=items[-1].id + 1)
    if len(items) < count:
        rows = tx.all(_DUE, b=batch.id, now=batch.now, most=count - len(items))
        items += [Taken(*row) for row in rows]
    if items:
        ids = tx.dialect.looked_up("id", [item.id for item in items])
        tx.execute(_TAKE.format(now=tx.dialect.utc_now, ids=ids), run_id=run_id)
    return items


def _take_fresh(tx: Tx, batch: Locked, count: int) -> list[Taken]:
    rows = tx.all(_FRESH, b=batch.id, first=batch["next_item"], most=count)
    return [Taken(*row) for row in rows]


def _allowed(batch: Locked, want: int) -> tuple[int, float]:
    """How many items the rate limit allows now, and how long to wait before (or instead)."""
    rate = batch["rate_limit"]
    if rate is None:
        return want, 0.0
    wait = max(0.0, float(batch["next_free"]) - batch.now)
    if wait > AHEAD:
        return 0, min(wait - AHEAD / 2, 1.0)
    return min(want, max(1, int(rate * 0.05))), wait


def _use(batch: Locked, count: int) -> None:
    """The rate limit (GCRA by the database's clock): so many items have gone."""
    begin = max(float(batch["next_free"]), batch.now - _CATCH_UP)
    batch.set(next_free=begin + count / float(batch["rate_limit"]))
