"""Edits: changes of `queue_configs` by SQL, noticed afterwards and audited as by the actor `sql`.

Owns `ty_queue_seen`: the settings of each Queue as the audit last had them. The verbs of
`queues.py` write theirs there with their own audit row; what differs from it at a Server's next
look was somebody's SQL. Of several edits between two looks only what they came to is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson

from taskyard.access import audit
from taskyard.access.caller import ENGINE
from taskyard.db.database import Database, Tx
from taskyard.db.locks import lock

SQL = replace(ENGINE, name="sql")
"""Whoever changed a row without asking us."""

_SETTINGS = (
    "table_name",
    "server_id",
    "max_workers",
    "scan_interval",
    "status",
    "rate_limit",
    "timeout",
)

_CONFIGS = f"SELECT queue_name, {', '.join(_SETTINGS)} FROM queue_configs"
_LOCK = "queue_edits"
_LONGEST = 100
"""Characters of a queue_name; an adopted table may have longer ones, which no verb knows."""


def remember(tx: Tx, queue_name: str) -> None:
    """Keep a Queue's settings as seen, in the transaction that has changed and audited them."""
    lock(tx, _LOCK)
    rows = tx.all(f"{_CONFIGS} WHERE queue_name = :name", name=queue_name)
    _keep(tx, queue_name, _text(rows[0][1:]) if rows else None)


def notice_queue_edits(db: Database) -> int:
    """Audit what was changed by SQL since the last look; returns how many Queues."""
    return db.run(_audit_edits) if _differing(*db.read(_both)) else 0


def _audit_edits(tx: Tx) -> int:
    """Write the edits down. Of several Servers that see one, the first takes it."""
    # Under the lock, or a verb that commits between the two reads would look like an edit.
    lock(tx, _LOCK)
    now, seen = _both(tx)
    names = _differing(now, seen)
    for name in names:
        _keep(tx, name, now.get(name))
        _audit(tx, name, _settings(seen.get(name)), _settings(now.get(name)))
    return len(names)


def _audit(tx: Tx, name: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
    verb = "create" if before is None else "delete" if after is None else "update"
    if before is not None and after is not None:
        changed = [key for key in after if before.get(key) != after[key]]
        before = {key: before.get(key) for key in changed}
        after = {key: after[key] for key in changed}
    audit.write(tx, SQL, f"queue.{verb}", f"queue/{name}", before=before, after=after)


def _both(tx: Tx) -> tuple[dict[str, str], dict[str, str]]:
    """The Queues as they are and as they were seen, each in the same words."""
    rows = [(str(name), values) for name, *values in tx.all(_CONFIGS)]
    now = {name: _text(values) for name, values in rows if len(name) <= _LONGEST}
    return now, dict(tx.all("SELECT queue_name, state FROM ty_queue_seen"))


def _differing(now: dict[str, str], seen: dict[str, str]) -> list[str]:
    return sorted(name for name in now.keys() | seen.keys() if now.get(name) != seen.get(name))


def _keep(tx: Tx, name: str, state: str | None) -> None:
    tx.execute("DELETE FROM ty_queue_seen WHERE queue_name = :name", name=name)
    if state is not None:
        sql = "INSERT INTO ty_queue_seen (queue_name, state) VALUES (:name, :state)"
        tx.execute(sql, name=name, state=state)


def _text(values: Sequence[Any]) -> str:
    return orjson.dumps(dict(zip(_SETTINGS, values, strict=True)), default=str).decode()


def _settings(state: str | None) -> dict[str, Any] | None:
    return None if state is None else orjson.loads(state)
