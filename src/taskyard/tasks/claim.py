"""Claim: takes due Tasks for a Session.

Owns which Tasks are next (priority, then time, then id; exclusive keys; the queue's rate) and the
lease they are taken under. Does not run anything (`engine/attempt.py`), does not write ends
(`settle.py`); what cannot run is kept out of the line by `holds.py`. The taking statement itself is
each dialect's: one UPDATE that stamps status, fence, owner and run_id on the row, which from then
on is the record of the live Run.

What is not due, held back or keyed is never scanned: the index of claimable rows starts with the
priority and goes on with the time, so a claim walks the priorities that have something due
(`Dialect.look`) and reads only rows it takes. (With a plain `schedule_time <= now` filter 200 000
future rows of higher priority cut the drain to a quarter.)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from taskyard.core.payload import PARAMS_LIMIT
from taskyard.db.database import Database, Tx
from taskyard.db.rows import Claim, ClaimedRow, Head

CANDIDATES = """
SELECT id, priority, {due}, task_type FROM {table}
 WHERE {pending} AND owner IS NULL AND priority = :priority AND {due} <= {due_now}
 ORDER BY {due}, id LIMIT :limit
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a dispatcher asks a claim for.

    `first_run_id` is the first of `limit` reserved ids; `known` are the task types that this Server
    runs, `fleet` those that some live Server runs; `rate_limit` is in Tasks a second; `closed` are
    the disabled tenants.
    """

    table: str
    queue: str
    session: str
    server_id: str
    limit: int
    first_run_id: int
    known: frozenset[str]
    fleet: frozenset[str]
    rate_limit: float | None = None
    after_key: str = ""
    closed: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Taken:
    """What a claim gave: the rows, and when it pays to ask again.

    `full`: it pays to ask again at once. `wait`: seconds until the queue's rate allows another, or
    None. `after_key`: where the walk over exclusive keys goes on.
    """

    rows: list[ClaimedRow]
    full: bool
    wait: float | None = None
    after_key: str = ""


NOTHING = Taken([], full=False)


def claim(db: Database, ask: Ask) -> Taken:
    """Take up to `ask.limit` due Tasks for a Session that is live; each is running from now on.

    Raises what the driver raises; nothing has been taken then, unless the answer of a commit was
    lost, which `rescue.reconcile` finds.
    """
    if not ask.known:
        return NOTHING
    try:
        if db.dialect.claims_alone and ask.rate_limit is None:
            # Where taking is one statement, no transaction is opened around it, and nothing is run
            # again: what was taken from a higher priority is committed.
            with db.autocommit() as tx:
                return _within_rate(tx, ask)
        if not db.read(lambda tx: _has_work(tx, ask.table)):
            return NOTHING  # an idle Server must not take the turn of those who write
        return db.run(lambda tx: _within_rate(tx, ask), again=False)
    except Exception as error:
        if not db.dialect.is_duplicate(error):
            raise
        # Between our look and our claim another Server has taken a Task of one of these keys.
        return Taken([], full=True, after_key=ask.after_key)


def _has_work(tx: Tx, table: str) -> bool:
    levels, keyed = tx.dialect.look(tx, table)
    return keyed or any(True for _ in levels)


def _within_rate(tx: Tx, ask: Ask) -> Taken:
    allowed, wait = _allowance(tx, ask)
    if allowed < 1:
        return Taken([], full=False, wait=wait, after_key=ask.after_key)
    taken = _take(tx, replace(ask, limit=min(ask.limit, allowed)))
    if ask.rate_limit is not None:
        _spend(tx, ask, len(taken.rows))
    return taken


def _take(tx: Tx, ask: Ask) -> Taken:
    levels, keyed = tx.dialect.look(tx, ask.table)
    heads, after_key, round_over = _free_heads(tx, ask) if keyed else ([], "", True)
    rows = _take_mixed(tx, ask, levels, heads) if heads else _take_plain(tx, ask, levels)
    assert len(rows) <= ask.limit, f"claimed {len(rows)}, asked for {ask.limit}"
    # Keys that are all taken must not hide those behind them; once round without a find is enough.
    more = bool(after_key) and (not round_over or bool(rows))
    return Taken(rows, full=more or len(rows) == ask.limit, after_key=after_key)


def _free_heads(tx: Tx, ask: Ask) -> tuple[list[Head], str, bool]:
    """Heads of free keys that we can run, the key to go on from, and: did the walk come round?"""
    heads, after_key = _known_heads(tx, ask, ask.after_key)
    if heads or after_key or not ask.after_key:
        return heads, after_key, False
    return *_known_heads(tx, ask, ""), True


def _known_heads(tx: Tx, ask: Ask, after_key: str) -> tuple[list[Head], str]:
    heads, after_key = tx.dialect.free_heads(tx, ask.table, after_key)
    return [head for head in heads if head.task_type in ask.known], after_key


def _take_plain(tx: Tx, ask: Ask, levels: Iterable[int]) -> list[ClaimedRow]:
    rows: list[ClaimedRow] = []
    for priority in levels:
        rows += tx.dialect.claim(tx, _claim(ask, len(rows), priority=priority))
        if len(rows) >= ask.limit:
            break
    return rows


def _take_mixed(tx: Tx, ask: Ask, levels: Iterable[int], heads: list[Head]) -> list[ClaimedRow]:
    """Where rows with and without keys are waiting, one order for all: priority, time, id."""
    candidates = list(heads)
    for priority in levels:
        if len(candidates) - len(heads) >= ask.limit:
            break
        found = tx.all(
            tx.dialect.fill(CANDIDATES, ask.table),
            **tx.dialect.clock(),
            priority=priority,
            limit=ask.limit,
        )
        candidates += [head for head in map(Head._make, found) if head.task_type in ask.known]
    candidates.sort(key=lambda head: (-head.priority, head.due, head.id))
    ids = tuple(head.id for head in candidates[: ask.limit])
    rows = tx.dialect.claim(tx, _claim(ask, 0, ids=ids)) if ids else []
    place = {task_id: n for n, task_id in enumerate(ids)}
    return sorted(rows, key=lambda row: place[row.id])


def _claim(ask: Ask, done: int, *, priority: int = 0, ids: tuple[int, ...] | None = None) -> Claim:
    return Claim(
        table=ask.table,
        owner=ask.session,
        server_id=ask.server_id,
        queue=ask.queue,
        limit=ask.limit - done,
        first_run_id=ask.first_run_id + done,
        task_types=tuple(sorted(ask.known)),
        max_params=PARAMS_LIMIT,
        priority=priority,
        ids=ids,
        closed=tuple(sorted(ask.closed)),
    )


# --- the queue's rate ---------------------------------------------------------------------------

# GCRA: one number a queue, the moment from which the next Task is free of the rate (rulings 3.11).
# Locked for the length of the claim, on the database's clock, so it holds over all servers.


def _allowance(tx: Tx, ask: Ask) -> tuple[int, float | None]:
    """How many Tasks the rate allows now, and else how many seconds to wait."""
    if ask.rate_limit is None:
        return ask.limit, None
    interval = 1.0 / ask.rate_limit
    burst = max(1.0, ask.rate_limit / 10)
    next_free, now = _rate_row(tx, ask.queue)
    slack = burst * interval - max(0.0, next_free - now)
    # A microsecond of tolerance, more than the rounding errors of such large numbers (0.2 µs):
    # without it a wake-up that is early by one waits a whole interval more.
    allowed = int((slack + 1e-6) / interval)
    return allowed, None if allowed else max(0.001, interval - slack)


def _rate_row(tx: Tx, queue: str) -> tuple[float, float]:
    lock = "" if not tx.dialect.skip_locked else " FOR UPDATE"
    sql = (
        f"SELECT next_free, {tx.dialect.epoch(tx.dialect.utc_now)} FROM ty_rates"
        f" WHERE queue_name = :queue{lock}"
    )
    row = tx.one(sql, queue=queue)
    if row is None:
        tx.execute(
            "INSERT INTO ty_rates (queue_name, next_free) VALUES (:queue, 0)"
            + tx.dialect.or_nothing("queue_name"),
            queue=queue,
        )
        row = tx.one(sql, queue=queue)
        assert row is not None
    return float(row[0]), float(row[1])


def _spend(tx: Tx, ask: Ask, taken: int) -> None:
    if taken and ask.rate_limit is not None:
        next_free, now = _rate_row(tx, ask.queue)
        tx.execute(
            "UPDATE ty_rates SET next_free = :next_free WHERE queue_name = :queue",
            next_free=max(next_free, now) + taken / ask.rate_limit,
            queue=ask.queue,
        )
