"""Rows: Schedules as `ty_schedules` keeps them.

Owns the row and its statements: read, written, locked; and `seen`, what of it the platform last
knew, by which an edit by SQL is told from ours (`edits.py`). Who may change what is `manage.py`'s,
what a Schedule may be `definition.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from taskyard.core.cron import EPOCH
from taskyard.db.database import Tx
from taskyard.db.listing import utc
from taskyard.schedules.definition import FIELDS, Definition, read

_COLUMN = {"interval": "interval_seconds"}
"""Fields whose column is called otherwise: INTERVAL is a word of SQL."""

MOMENTS = ("start_at", "end_at")

NAMES = (
    *("id", *FIELDS),
    *("source", "problem", "next_fire_at", "last_fire_at", "last_lateness", "last_missed_at"),
    *("last_task_table", "last_task_id", "fired", "skipped", "missed", "declared"),
    *("created_at", "updated_at"),
)

_TIMES = (*MOMENTS, "next_fire_at", "last_fire_at", "last_missed_at", "created_at", "updated_at")


def column(name: str) -> str:
    """The column of a field."""
    return _COLUMN.get(name, name)


COLUMNS = tuple(map(column, NAMES))
SELECTED = ", ".join(COLUMNS)


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the database gives it, by the names of the fields."""
    return {name: row[column(name)] for name in NAMES}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A Schedule: what it is to do, and what it has done.

    `fired` counts its fires (triggers too), `skipped` instants at which it was held back by its
    overlap policy or its tenant, `missed` those that came too late for its misfire policy.
    """

    id: int
    definition: Definition
    source: str
    problem: str | None
    next_fire_at: datetime | None
    last_task_table: str | None
    last_task_id: int | None
    fired: int
    declared: str | None
    created_at: datetime

    @property
    def name(self) -> str:
        """Its name, unique within its tenant."""
        return self.definition.name

    @property
    def tenant_id(self) -> str:
        """Whose it is."""
        return self.definition.tenant_id

    def next(self, after: datetime) -> datetime | None:
        """The first instant later than `after`; None when it fires no more."""
        return self.definition.next(after, self.created_at)


# --- reading --------------------------------------------------------------------------------------


def now_of(tx: Tx) -> datetime:
    """The database's clock, in whole milliseconds."""
    seconds = float(tx.value(f"SELECT {tx.dialect.epoch(tx.dialect.utc_now)}"))
    return datetime.fromtimestamp(round(seconds * 1000) / 1000, UTC)


def fetch(tx: Tx, schedule_id: int, *, locked: bool = False) -> dict[str, Any] | None:
    """A row by its id, as the database has it; `locked` until the end of the transaction."""
    lock = " FOR UPDATE" if locked and tx.dialect.skip_locked else ""
    sql = f"SELECT {SELECTED} FROM ty_schedules WHERE id = :id{lock}"
    rows = tx.rows(sql, id=schedule_id)
    return named(rows[0]) if rows else None


def schedule_of(row: Mapping[str, Any], time_zone: str = "UTC") -> Schedule:
    """A row as a Schedule. Raises what `definition.read` raises, and the same for times.

    `time_zone` holds where the row names none.
    """
    found = {name: row[name] for name in FIELDS}
    found.update({name: _time(found[name]) for name in MOMENTS})
    definition = read(found, time_zone)
    created = _time(row["created_at"])
    return Schedule(
        id=int(row["id"]),
        definition=definition,
        source=str(row["source"]),
        problem=row["problem"],
        next_fire_at=_time(row["next_fire_at"]),
        last_task_table=row["last_task_table"],
        last_task_id=row["last_task_id"],
        fired=int(row["fired"]),
        declared=row["declared"],
        created_at=created if isinstance(created, datetime) else EPOCH,
    )


def presented(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as people see it: its times aware, or as they are where SQL has left no time."""
    return {name: _time(value) if name in _TIMES else value for name, value in row.items()}


def _time(value: Any) -> Any:
    """A time as a driver gives it; what is none stays as it is, for the check to refuse."""
    try:
        return utc(value)
    except ValueError:
        return value


# --- writing --------------------------------------------------------------------------------------


def insert(
    tx: Tx,
    definition: Definition,
    *,
    source: str,
    next_fire_at: datetime | None,
    declared: str | None = None,
) -> int:
    """Insert a Schedule; returns its id."""
    names = [*map(column, FIELDS), "source", "declared", "next_fire_at", "created_at", "updated_at"]
    now = tx.dialect.utc_now
    marks = [_mark(tx, name) for name in FIELDS]
    marks += [":source", ":declared", tx.dialect.utc_from(":next_fire_at"), now, now]
    tx.execute(
        f"INSERT INTO ty_schedules ({', '.join(names)}) VALUES ({', '.join(marks)})",
        **values(definition, FIELDS),
        source=source,
        declared=declared,
        next_fire_at=seconds(next_fire_at),
    )
    key = {"tenant_id": definition.tenant_id, "name": definition.name}
    found = tx.value(
        "SELECT id FROM ty_schedules WHERE tenant_id = :tenant_id AND name = :name", **key
    )
    return int(found)


def update(tx: Tx, schedule_id: int, definition: Definition, names: Sequence[str]) -> None:
    """Write some fields of a Schedule; what was wrong with it is right again."""
    changes = [f"{column(name)} = {_mark(tx, name)}" for name in names]
    changes += ["problem = NULL", f"updated_at = {tx.dialect.utc_now}"]
    tx.execute(
        f"UPDATE ty_schedules SET {', '.join(changes)} WHERE id = :id",
        id=schedule_id,
        **values(definition, names),
    )


def plan(tx: Tx, schedule_id: int, next_fire_at: datetime | None) -> None:
    """Write when it fires next."""
    tx.execute(
        f"UPDATE ty_schedules SET next_fire_at = {tx.dialect.utc_from(':at')} WHERE id = :id",
        id=schedule_id,
        at=seconds(next_fire_at),
    )


def values(definition: Definition, names: Sequence[str]) -> dict[str, Any]:
    """Some fields as parameters of a statement."""
    given = asdict(definition)
    return {name: seconds(given[name]) if name in MOMENTS else given[name] for name in names}


def seconds(moment: datetime | None) -> float | None:
    """A moment as `utc_from` takes it."""
    return None if moment is None else moment.timestamp()


def _mark(tx: Tx, name: str) -> str:
    return tx.dialect.utc_from(f":{name}") if name in MOMENTS else f":{name}"


# --- what the platform has seen -------------------------------------------------------------------


def state(tx: Tx) -> str:
    """Expression: the fields of a row in one text."""
    return tx.dialect.json_of(
        {name: _instant(tx, name) if name in MOMENTS else column(name) for name in FIELDS}
    )


def _instant(tx: Tx, name: str) -> str:
    """Expression: a moment as a number; -1 is text that is no time."""
    return f"CASE WHEN {name} IS NOT NULL THEN COALESCE({tx.dialect.epoch(name)}, -1) END"


def remember(tx: Tx, schedule_id: int) -> None:
    """Keep a row as seen, in the transaction that has changed and audited it."""
    tx.execute(f"UPDATE ty_schedules SET seen = {state(tx)} WHERE id = :id", id=schedule_id)
