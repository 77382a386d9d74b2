"""Borrowed: a Tx on a connection that belongs to the caller.

Owns the recognition of what callers hand over: a DB-API connection, a SQLAlchemy connection, or a
SQLAlchemy session. Nothing here commits, rolls back or closes: that is the caller's.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from taskyard.core.errors import BadSetting
from taskyard.db.database import Tx
from taskyard.db.dialect import Dialect

_FAMILY = {"sqlite3": "sqlite", "psycopg": "postgresql", "psycopg2": "postgresql"}


def borrow(connection: Any, dialect: Dialect) -> Tx:
    """A Tx that speaks on `connection`, inside whatever transaction is open there.

    Raises BadSetting when it is no connection that we know, or one to another family of database.
    """
    if hasattr(connection, "get_bind") and hasattr(connection, "connection"):
        connection = connection.connection()  # a SQLAlchemy session
    if isinstance(connection, sa.Connection):
        _check(connection.dialect.name, dialect)
        return _OnSqlAlchemy(connection, dialect)
    module = type(connection).__module__.partition(".")[0]
    _check(_FAMILY.get(module, "mysql" if "mysql" in module.lower() else module), dialect)
    return _OnDriver(connection, dialect)


def _check(family: str, dialect: Dialect) -> None:
    family = "mysql" if family == "mariadb" else family
    if family != dialect.name:
        raise BadSetting(
            "connection",
            f"it speaks to {family}, and this yard's tasks live in {dialect.name}",
        )


class _OnDriver(Tx):
    """On a driver's connection, whatever row type its owner has chosen."""

    __slots__ = ()

    def all(self, sql: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
        self.cursor.execute(self.dialect.text(sql), parameters)
        return [_as_tuple(row) for row in self.cursor.fetchall()]

    def one(self, sql: str, /, **parameters: Any) -> tuple[Any, ...] | None:
        self.cursor.execute(self.dialect.text(sql), parameters)
        row = self.cursor.fetchone()
        return None if row is None else _as_tuple(row)


class _OnSqlAlchemy(Tx):
    """On a SQLAlchemy connection, through it, so that it knows a transaction has begun."""

    __slots__ = ("_sa",)

    def __init__(self, connection: sa.Connection, dialect: Dialect) -> None:
        super().__init__(connection.connection.driver_connection, dialect)
        self._sa = connection

    def execute(self, sql: str, /, **parameters: Any) -> int:
        return int(self._sa.exec_driver_sql(self.dialect.text(sql), parameters).rowcount)

    def insert_id(self, sql: str, /, **parameters: Any) -> int:
        return int(self._sa.exec_driver_sql(self.dialect.text(sql), parameters).lastrowid)

    def many(self, sql: str, rows: Any) -> int:
        if not rows:
            return 0
        return int(self._sa.exec_driver_sql(self.dialect.text(sql), list(rows)).rowcount)

    def all(self, sql: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self._sa.exec_driver_sql(self.dialect.text(sql), parameters)]

    def one(self, sql: str, /, **parameters: Any) -> tuple[Any, ...] | None:
        rows = self.all(sql, **parameters)
        return rows[0] if rows else None


def _as_tuple(row: Any) -> tuple[Any, ...]:
    return tuple(row.values()) if isinstance(row, dict) else tuple(row)
