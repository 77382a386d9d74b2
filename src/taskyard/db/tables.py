"""Tables: the task tables, ours and those of others.

Owns the contract of a task table (contract 1): which columns requirement 5 asks for, which are our
own, how a missing table is created and an existing one adopted. The words of the DDL are each
dialect's.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from taskyard.core.errors import TableInvalid
from taskyard.db.database import Database, Tx
from taskyard.db.dialect import INDEX_PURPOSES

BASE_COLUMNS = (
    "id",
    "task_type",
    "task_params",
    "status",
    "schedule_time",
    "start_time",
    "end_time",
    "retry_count",
    "max_retries",
    "error_msg",
    "server_id",
    "created_at",
    "updated_at",
)
"""What requirement 5 says that every task table has."""

_KINDS: dict[str, tuple[str, tuple[type[TypeEngine[Any]], ...]]] = {
    **dict.fromkeys(("id", "status", "retry_count", "max_retries"), ("numbers", (sa.Integer,))),
    **dict.fromkeys(("task_type", "error_msg", "server_id"), ("text", (sa.String,))),
    "task_params": ("text", (sa.String, sa.JSON)),
    **dict.fromkeys(
        ("schedule_time", "start_time", "end_time", "created_at", "updated_at"),
        ("instants", (sa.DateTime,)),
    ),
}
_MUST_BE_NULLABLE = ("start_time", "end_time", "error_msg")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
_SYSTEM = re.compile(r"(ty_.*|pg_.*|sqlite_.*|queue_configs|alembic_version)", re.IGNORECASE)


def check_table_name(name: str) -> str:
    """Return `name` when it may be the name of a task table; raises TableInvalid when not."""
    if not _NAME.fullmatch(name):
        raise TableInvalid(
            name,
            ["its name is not a plain identifier (letters, digits, _; optionally schema.table)"],
        )
    if _SYSTEM.fullmatch(name.split(".")[-1]):
        raise TableInvalid(name, ["its name belongs to the platform or to the database"])
    return name


def ensure_table(db: Database, table: str) -> None:
    """Make sure that `table` can be worked with: create it, adopt it, or find it ready.

    Safe when several servers do it at once. Raises TableInvalid with every fault and the
    statements that would mend it.
    """
    check_table_name(table)
    if db.read(lambda tx: _is_ready(tx, table)):
        return
    with db.exclusive(f"taskyard:{table}") as tx:
        if _is_ready(tx, table):
            return
        existing = columns_of(db, table)
        if existing is None:
            _create(tx, table)
        else:
            _adopt(tx, table, existing)


def forget_table(db: Database, table: str) -> None:
    """Look at `table` anew at the next `ensure_table` (it was dropped, or changed by hand)."""
    # Which columns are ours stays known: else those that are left would pass for somebody else's.
    db.run(
        lambda tx: tx.execute("UPDATE ty_task_tables SET ready = 0 WHERE table_name = :t", t=table)
    )


def task_tables(tx: Tx) -> list[str]:
    """Names of all task tables that are ready."""
    return [
        row[0] for row in tx.all("SELECT table_name FROM ty_task_tables WHERE ready = 1 ORDER BY 1")
    ]


def instant(tx: Tx, local: datetime) -> datetime:
    """A time without an offset as a task table means it: in the zone of the database's session."""
    sql = f"SELECT {tx.dialect.iso(':local')}"
    return datetime.fromisoformat(tx.value(sql, local=local.isoformat(" "))).replace(tzinfo=UTC)


def columns_of(db: Database, table: str) -> dict[str, Any] | None:
    """The columns of a table by name, as SQLAlchemy's inspector tells them; None: no such table."""
    schema, _, name = table.rpartition(".")
    with db.inspecting() as inspector:
        if not inspector.has_table(name, schema=schema or None):
            return None
        return {c["name"]: c for c in inspector.get_columns(name, schema=schema or None)}


def index_name(table: str, purpose: str) -> str:
    """Name of one of our indexes; unique in a PostgreSQL schema, at most 63 characters."""
    name = f"{table.replace('.', '_')}_ty_{purpose}"
    if len(name) <= 60:
        return name
    return f"ty_{purpose}_{hashlib.sha256(table.encode()).hexdigest()[:16]}"


def _is_ready(tx: Tx, table: str) -> bool:
    return bool(
        tx.value("SELECT ready FROM ty_task_tables WHERE table_name = :t AND ready = 1", t=table)
    )


def _create(tx: Tx, table: str) -> None:
    own = list(tx.dialect.own_columns)
    _remember(tx, table, created=True, own=own)
    _make(tx, table)
    _check_index_names(tx, table)
    for statement in tx.dialect.index_statements(table, index_name):
        tx.execute(statement)
    _mark_ready(tx, table)


def _make(tx: Tx, table: str) -> None:
    statement = tx.dialect.create_table(table)
    try:
        tx.execute(statement)
    except Exception as error:
        if tx.dialect.is_disconnect(error) or tx.dialect.is_transient(error):
            raise
        why = "it is not there, and cannot be made: its schema is missing, or we lack the right"
        raise TableInvalid(table, [why], [statement]) from error


def _adopt(tx: Tx, table: str, existing: dict[str, Any]) -> None:
    ours = _made_by_us(tx, table)
    _check_base(tx, table, existing)
    _check_kinds(tx, table, existing)
    _check_clashes(tx, table, existing, ours)
    _check_index_names(tx, table)
    missing = [name for name in tx.dialect.own_columns if name not in existing]
    # Remembered before the first ALTER: where DDL is not transactional, a crash in between must not
    # make our own half-added columns look like somebody else's.
    _remember(tx, table, created=False, own=[*ours, *missing])
    statements = tx.dialect.adopt_statements(table, missing, existing)
    statements += tx.dialect.repairs(tx, table)
    statements += _missing_indexes(tx, table)
    for number, statement in enumerate(statements):
        try:
            tx.execute(statement)
        except Exception as error:
            if tx.dialect.is_present(error):
                continue
            raise TableInvalid(
                table, [f"adopting it failed: {error}"], statements[number:]
            ) from error
    _mark_ready(tx, table)


def _missing_indexes(tx: Tx, table: str) -> list[str]:
    """Only what is not there: its owner may have run the statements that we have no right to."""
    there = [f"{tx.dialect.quote(name)} ON " for name in tx.dialect.indexes(tx, table)]
    statements = tx.dialect.index_statements(table, index_name)
    return [sql for sql in statements if not any(name in sql for name in there)]


def _check_base(tx: Tx, table: str, existing: dict[str, Any]) -> None:
    missing = [name for name in BASE_COLUMNS if name not in existing]
    if missing:
        statements = [
            f"ALTER TABLE {tx.dialect.quote(table)} ADD COLUMN"
            f" {tx.dialect.base_columns[name].replace(' PRIMARY KEY', '')}"
            for name in missing
        ]
        raise TableInvalid(table, [f"it lacks column {name}" for name in missing], statements)


def _check_kinds(tx: Tx, table: str, existing: dict[str, Any]) -> None:
    """SQLite keeps anything anywhere; elsewhere a wrong type would fail every claim."""
    problems = [
        f"its column {name} is {existing[name]['type']}, which cannot hold {wanted}"
        for name, (wanted, kinds) in _KINDS.items()
        if not (tx.dialect.loose_times or isinstance(existing[name]["type"], kinds))
    ]
    strict = [name for name in _MUST_BE_NULLABLE if not existing[name]["nullable"]]
    problems += [f"its column {name} must allow NULL" for name in strict]
    if problems:
        statements = [tx.dialect.allow_null(table, name, existing[name]["type"]) for name in strict]
        raise TableInvalid(table, problems, [s for s in statements if s])


def _check_index_names(tx: Tx, table: str) -> None:
    """A table that was renamed keeps its indexes and their names, which the new one cannot have."""
    taken = tx.dialect.taken_names(tx, table, [index_name(table, p) for p in INDEX_PURPOSES])
    if taken:
        raise TableInvalid(
            table,
            [f"its index {name} cannot be made: table {by} has one" for name, by in taken],
            [f'DROP INDEX "{name}"' for name, _ in taken],
        )


def _check_clashes(tx: Tx, table: str, existing: dict[str, Any], ours: list[str]) -> None:
    clashes = [name for name in tx.dialect.own_columns if name in existing and name not in ours]
    if clashes:
        raise TableInvalid(
            table,
            [
                f"its column {name} has a name that Taskyard needs for a column of its own"
                for name in clashes
            ],
            [f"ALTER TABLE {table} RENAME COLUMN {name} TO {name}_of_yours" for name in clashes],
        )


def _made_by_us(tx: Tx, table: str) -> list[str]:
    text = tx.value("SELECT own_columns FROM ty_task_tables WHERE table_name = :t", t=table)
    return list(json.loads(text)) if text else []


def _remember(tx: Tx, table: str, *, created: bool, own: list[str]) -> None:
    values = {"t": table, "created": int(created), "own": json.dumps(own)}
    if not tx.execute(
        "UPDATE ty_task_tables SET created_here = :created, own_columns = :own, ready = 0"
        " WHERE table_name = :t",
        **values,
    ):
        tx.execute(
            "INSERT INTO ty_task_tables (table_name, created_here, own_columns, ready, created_at)"
            f" VALUES (:t, :created, :own, 0, {tx.dialect.utc_now})"
            + tx.dialect.or_nothing("table_name"),
            **values,
        )


def _mark_ready(tx: Tx, table: str) -> None:
    tx.execute("UPDATE ty_task_tables SET ready = 1 WHERE table_name = :t", t=table)
