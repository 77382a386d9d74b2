"""Holds: keeps Tasks that cannot run out of the line, and lets them go when they can.

Owns `hold` and its reasons: no live Server has the Handler, the tenant is disabled, the time cannot
be read. A Server's dispatchers hold what stands in the way, its sync releases.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from taskyard.core.errors import HandlerUnknown
from taskyard.core.lifecycle import Hold
from taskyard.core.payload import short_forms
from taskyard.db.database import Database, Tx
from taskyard.db.rows import Head
from taskyard.tasks.claim import CANDIDATES

logger = logging.getLogger("taskyard.holds")

_HEAD = 500
"""Rows at the head of the line that one pass looks at for what no Server can run."""

_HOLD = """
UPDATE {table} SET hold = :hold, error_msg = :why
 WHERE id IN ({ids}) AND status = 0 AND hold = 0
"""

_HELD_TYPES = """
SELECT DISTINCT {task_type} FROM {table} WHERE status = 0 AND hold <> 0 AND hold = :hold
"""

_UNHOLD = """
UPDATE {table} SET hold = 0, error_msg = NULL
 WHERE status = 0 AND hold <> 0 AND hold = :hold AND {task_type} = :task_type
"""

_TENANTS = "SELECT id, tenant_id FROM {table} WHERE id IN ({ids})"

_HELD_TENANTS = """
SELECT DISTINCT tenant_id FROM {table} WHERE status = 0 AND hold <> 0 AND hold = :hold
"""

_UNHOLD_TENANT = """
UPDATE {table} SET hold = 0, error_msg = NULL
 WHERE status = 0 AND hold <> 0 AND hold = :hold AND tenant_id = :tenant_id
"""

_UNREADABLE = "SELECT id FROM {table} WHERE status = 0 AND hold = 0 AND {due} IS NULL LIMIT 500"

_MENDED = """
UPDATE {table} SET hold = 0, error_msg = NULL
 WHERE status = 0 AND hold <> 0 AND hold = :hold AND {due} IS NOT NULL
"""


def hold_blocked(
    db: Database, table: str, fleet: Collection[str], closed: Collection[str] = ()
) -> int:
    """Put a hold on rows at the head of the line that cannot run; returns how many.

    That is: no live Server runs their task type, or their tenant is disabled. They would be read by
    every claim otherwise (100 000 of them cost 20 ms a claim). The row says why in `error_msg`;
    `release_holds` takes them back when they can run.
    """

    def work(tx: Tx) -> int:
        heads = _heads(tx, table)
        held = _hold_closed(tx, table, heads, closed) + _hold_unknown(tx, table, heads, fleet)
        return held + _hold_unreadable(tx, table)

    return db.run(work)


def release_holds(
    db: Database, table: str, fleet: Collection[str], closed: Collection[str] = ()
) -> int:
    """Take back the holds of rows that can run by now; returns how many.

    That is: a live Server runs their task type, their tenant is enabled again, or somebody has
    mended their time.
    """

    def work(tx: Tx) -> int:
        mended = 0
        if tx.dialect.loose_times:
            mended = tx.execute(tx.dialect.fill(_MENDED, table), hold=int(Hold.TIME_UNREADABLE))
        return mended + _release_types(tx, table, fleet) + _release_tenants(tx, table, closed)

    return db.run(work)


def _release_types(tx: Tx, table: str, fleet: Collection[str]) -> int:
    hold = int(Hold.HANDLER_UNKNOWN)
    held = {row[0] for row in tx.all(tx.dialect.fill(_HELD_TYPES, table), hold=hold)}
    return sum(
        tx.execute(tx.dialect.fill(_UNHOLD, table), hold=hold, task_type=task_type)
        for task_type in sorted(held.intersection(fleet))
    )


def _release_tenants(tx: Tx, table: str, closed: Collection[str]) -> int:
    hold = int(Hold.TENANT_DISABLED)
    held = {row[0] for row in tx.all(tx.dialect.fill(_HELD_TENANTS, table), hold=hold)}
    return sum(
        tx.execute(tx.dialect.fill(_UNHOLD_TENANT, table), hold=hold, tenant_id=tenant_id)
        for tenant_id in sorted(held.difference(closed))
    )


def _heads(tx: Tx, table: str) -> list[Head]:
    """The rows that claims look at first."""
    levels, keyed = tx.dialect.look(tx, table)
    heads: list[Head] = tx.dialect.free_heads(tx, table, "")[0] if keyed else []
    for priority in levels:
        found = tx.all(
            tx.dialect.fill(CANDIDATES, table),
            **tx.dialect.clock(),
            priority=priority,
            limit=_HEAD,
        )
        heads += map(Head._make, found)
    return heads


def _hold_closed(tx: Tx, table: str, heads: list[Head], closed: Collection[str]) -> int:
    if not closed or not heads:
        return 0
    ids = ", ".join(str(int(head.id)) for head in heads)
    blocked: dict[str, list[int]] = {}
    for task_id, tenant_id in tx.all(_TENANTS.format(table=tx.dialect.quote(table), ids=ids)):
        if tenant_id in closed:
            blocked.setdefault(tenant_id, []).append(task_id)
    return sum(
        _hold(tx, table, ids, Hold.TENANT_DISABLED, f'TY309 Tenant "{tenant_id}" is disabled')
        for tenant_id, ids in blocked.items()
    )


def _hold_unknown(tx: Tx, table: str, heads: list[Head], fleet: Collection[str]) -> int:
    unknown: dict[str, list[int]] = {}
    for head in heads:
        if head.task_type not in fleet:
            unknown.setdefault(head.task_type, []).append(head.id)
    return sum(
        _hold(tx, table, ids, Hold.HANDLER_UNKNOWN, str(HandlerUnknown(task_type, fleet)))
        for task_type, ids in unknown.items()
    )


def _hold_unreadable(tx: Tx, table: str) -> int:
    if not tx.dialect.loose_times:
        return 0
    ids = [row[0] for row in tx.all(tx.dialect.fill(_UNREADABLE, table))]
    why = "schedule_time is not a date that SQLite can read; write YYYY-MM-DD HH:MM:SS (UTC)"
    return _hold(tx, table, ids, Hold.TIME_UNREADABLE, why) if ids else 0


def _hold(tx: Tx, table: str, ids: list[int], hold: Hold, why: str) -> int:
    sql = _HOLD.format(table=tx.dialect.quote(table), ids=", ".join(map(str, ids)))
    for text in (why, *short_forms(why)):
        try:
            with tx.savepoint():
                return tx.execute(sql, hold=int(hold), why=text)
        except Exception as error:
            if tx.dialect.is_disconnect(error) or tx.dialect.is_transient(error):
                raise
            logger.warning("%s: the reason of a hold is refused: %s", table, error)
    return 0
