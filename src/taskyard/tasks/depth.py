"""Depth: how much waits in each task table, how long it has waited, and whether anybody works it.

Owns the figures of the tables as they are now, for those who watch over them. Each is an index
look-up or a count with an end, so that a backlog of millions costs no more than one of MOST. How
many Runs there were is `runs/counters.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from taskyard import queues, servers
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.db.database import Database, Tx

MOST = 100_000
"""Where the counting of Tasks ends."""

# The order is that of the index, which without statistics would not be thought of.
_COUNT = """
SELECT COUNT(*) FROM (
  SELECT 1 AS n FROM {table} WHERE {which} ORDER BY {order} LIMIT :most) AS counted
"""

_HELD = "status = 0 AND hold <> 0"
_OWNED = "owner IS NOT NULL"

_OLDEST = """
SELECT {age} FROM {table} WHERE {pending} AND priority = {priority} AND {due} IS NOT NULL
 ORDER BY priority, {due}, id LIMIT 1
"""

_OLDEST_OF_KEYS = "SELECT MAX({age}) FROM {table} WHERE id IN ({ids})"

_ORPHANED = """
SELECT {now} - MIN(claimed_at) / 1000000.0 FROM {table} WHERE owner = :owner
"""


@dataclass(frozen=True, slots=True)
class Depth:
    """A task table and its Queues, by name.

    `pending` Tasks could be claimed now or when they are due, `held` ones could not; each is
    counted up to MOST. `oldest_wait` is for how many seconds the oldest that is due has waited,
    `oldest_orphan` for how many one has been running whose Server is not alive; 0 is none.
    """

    queues: tuple[str, ...]
    table: str
    pending: int
    held: int
    running: int
    oldest_wait: float
    oldest_orphan: float


def depths(db: Database, caller: Caller) -> list[Depth]:
    """All task tables that Queues have, by name; one that is gone is left out.

    Raises NotAllowed.
    """
    caller.require(Permission.MONITORING)
    alive = {row.session for row in servers.sessions(db) if row.alive}
    known = sorted((queue.table_name, queue.queue_name) for queue in queues.load_queues(db))
    found = []
    for table, pairs in groupby(known, key=lambda pair: pair[0]):
        look = partial(_depth, table=table, names=tuple(name for _, name in pairs), alive=alive)
        try:
            found.append(db.read(look))
        except Exception as error:
            if not db.dialect.is_table_missing(error):
                raise
    return found


def oldest_wait(tx: Tx, table: str) -> float:
    """For how many seconds the oldest Task that is due and could be claimed has waited; 0 is none.

    It is one of the oldest of each priority that has something due, and of each free key's next.
    """
    quoted = tx.dialect.quote(table)
    priorities, keyed = tx.dialect.look(tx, table)
    ages = [_oldest_of_priority(tx, quoted, int(priority)) for priority in list(priorities)]
    if keyed:
        ages.append(_oldest_of_keys(tx, table, quoted))
    return max((float(age) for age in ages if age is not None), default=0.0)


def _depth(tx: Tx, table: str, names: tuple[str, ...], alive: Collection[str]) -> Depth:
    quoted = tx.dialect.quote(table)
    count = partial(_count, tx, quoted)
    pending = count(tx.dialect.pending, "priority") + count(tx.dialect.keyed, "excl_key")
    return Depth(
        queues=names,
        table=table,
        pending=min(MOST, pending),
        held=count(_HELD, "hold"),
        running=count(_OWNED, "owner"),
        oldest_wait=oldest_wait(tx, table),
        oldest_orphan=_oldest_orphan(tx, table, quoted, alive),
    )


def _count(tx: Tx, quoted: str, which: str, order: str) -> int:
    return int(tx.value(_COUNT.format(table=quoted, which=which, order=order), most=MOST))


def _oldest_of_priority(tx: Tx, quoted: str, priority: int) -> Any:
    return tx.value(
        _OLDEST.format(
            age=tx.dialect.age("schedule_time"),
            table=quoted,
            pending=tx.dialect.pending,
            priority=priority,
            due=tx.dialect.due(),
        )
    )


def _oldest_of_keys(tx: Tx, table: str, quoted: str) -> Any:
    heads, _ = tx.dialect.free_heads(tx, table, "")
    if not heads:
        return None
    ids = ", ".join(str(int(head.id)) for head in heads)
    age = tx.dialect.age("schedule_time")
    return tx.value(_OLDEST_OF_KEYS.format(age=age, table=quoted, ids=ids))


def _oldest_orphan(tx: Tx, table: str, quoted: str, alive: Collection[str]) -> float:
    now = tx.dialect.epoch(tx.dialect.utc_now)
    sql = _ORPHANED.format(now=now, table=quoted)
    dead = [owner for owner in tx.dialect.owners(tx, table) if owner not in alive]
    ages = [tx.value(sql, owner=owner) for owner in dead]
    return max((float(age) for age in ages if age is not None), default=0.0)
