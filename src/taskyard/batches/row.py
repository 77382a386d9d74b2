"""Row: a batch as `ty_batches` keeps it, read or locked.

Owns the row. Whatever changes a batch or its items locks the row first, so that counters and items
change together (protocol I11), and an item is taken once. What is changed where is the verbs'.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from taskyard.access.caller import Caller
from taskyard.core.errors import BatchUnknown
from taskyard.core.payload import mask
from taskyard.db.database import Tx
from taskyard.db.listing import utc

LIVE = ("pending", "running", "paused")
"""The statuses in which a batch holds its key."""
STATUSES = (*LIVE, "completed", "failed", "cancelled")
ITEM_STATUSES = ("pending", "running", "completed", "failed", "skipped")

COLUMNS = (
    *("id", "tenant_id", "task_type", "name", "status", "params", "concurrency", "rate_limit"),
    *("pause", "max_retries", "stop_after", "on_inflight", "notify", "template_id", "total_count"),
    *("processed_count", "success_count", "failed_count", "skipped_count", "rate", "created_by"),
    *("error", "started_at", "completed_at", "created_at", "updated_at"),
)
"""What people see of a batch."""

_INSIDE = ("unfinished", "failed_before", "next_item", "next_free", "rate_from", "rate_count")
_TIMES = ("started_at", "completed_at", "created_at", "updated_at")

COUNTERS = {"completed": "success_count", "failed": "failed_count", "skipped": "skipped_count"}
"""What counts the items of a status."""

_RATE_WINDOW = 5.0


class Now:
    """Stands for the database's clock among the values of `Locked.set`."""


class Locked:
    """A batch whose row is locked until the end of the transaction; `save` writes what was set."""

    def __init__(self, row: dict[str, Any]) -> None:
        self._row = row
        self._changed: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._row[name]

    @property
    def id(self) -> int:
        """Its id."""
        return int(self._row["id"])

    @property
    def now(self) -> float:
        """The database's clock when it was locked, in seconds since 1970."""
        return float(self._row["now"])

    @property
    def left(self) -> int:
        """How many items have not ended."""
        ended = self["processed_count"] + self["skipped_count"]
        return int(self["total_count"] - ended)

    def set(self, **values: Any) -> None:
        """Change columns; the class `Now` as a value is the database's clock."""
        self._row.update(values)
        self._changed.update(values)

    def count(self, status: str, items: int) -> None:
        """So many items more (or fewer) have come to this end."""
        if items:
            name = COUNTERS[status]
            self.set(**{name: self[name] + items})
            if status != "skipped":
                self.set(processed_count=self["processed_count"] + items)

    def reopen(self, item: int) -> None:
        """An item waits again: the next look begins there, or before."""
        if item < self["next_item"]:
            self.set(next_item=item)

    def save(self, tx: Tx) -> None:
        """Write what was set."""
        if not self._changed:
            return
        self._measure()
        now = tx.dialect.utc_now
        marks = [f"{n} = {now if v is Now else ':' + n}" for n, v in self._changed.items()]
        tx.execute(
            f"UPDATE ty_batches SET {', '.join(marks)}, updated_at = {now} WHERE id = :id",
            **{name: value for name, value in self._changed.items() if value is not Now},
            id=self.id,
        )
        self._changed = {}

    def _measure(self) -> None:
        """Keep the rate: items a second over the last few seconds."""
        if "processed_count" not in self._changed or self["status"] != "running":
            return
        begin, done = self["rate_from"], self["processed_count"]
        if begin is None:
            self.set(rate_from=self.now, rate_count=done)
            return
        passed = self.now - begin
        if passed >= (1.0 if self["rate"] is None else _RATE_WINDOW):
            rate = max(0.0, (done - self["rate_count"]) / passed)
            self.set(rate=rate, rate_from=self.now, rate_count=done)


def lock(tx: Tx, batch_id: int) -> Locked | None:
    """A batch, locked; None where there is none."""
    wait = "FOR UPDATE" if tx.dialect.skip_locked else ""
    names = ", ".join((*COLUMNS, *_INSIDE))
    now = tx.dialect.epoch(tx.dialect.utc_now)
    rows = tx.rows(
        f"SELECT {names}, {now} AS now FROM ty_batches WHERE id = :id {wait}", id=batch_id
    )
    return Locked(rows[0]) if rows else None


def lock_visible(tx: Tx, caller: Caller, batch_id: int) -> Locked:
    """A batch that the caller sees, locked. Raises BatchUnknown."""
    found = lock(tx, batch_id)
    if found is None or not caller.sees(found["tenant_id"]):
        raise BatchUnknown(str(batch_id))
    return found


def fetch(tx: Tx, caller: Caller, batch_id: int) -> dict[str, Any]:
    """A batch that the caller sees, as the database has it. Raises BatchUnknown."""
    rows = tx.rows(f"SELECT {', '.join(COLUMNS)} FROM ty_batches WHERE id = :id", id=batch_id)
    if not rows or not caller.sees(rows[0]["tenant_id"]):
        raise BatchUnknown(str(batch_id))
    return rows[0]


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as people see it: its JSON read, its times aware, with what can be told of its end."""
    found = {name: row[name] for name in COLUMNS}
    found |= {name: utc(found[name]) for name in _TIMES}
    for name in ("params", "notify"):
        found[name] = None if found[name] is None else mask(orjson.loads(found[name]))
    left = found["total_count"] - found["processed_count"] - found["skipped_count"]
    rate = found["rate"] if found["status"] == "running" else None
    return found | {"rate": rate, "eta": left / rate if rate else None}
