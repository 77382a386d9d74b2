"""Watching: what each statement of ours reads, as the database itself tells it.

Owns one way of asking for each family. PostgreSQL explains and runs the statement (and rolls that
back) before the real one, which gives the plan and the pages it touched; SQLite tells its query
plan and counts the steps of its machine; MariaDB counts the rows that its storage handed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from taskyard.db import database
from taskyard.db.database import Tx

_WORDS = ("SELECT", "WITH", "UPDATE", "INSERT", "DELETE")


@dataclass
class Statement:
    """One statement that was run: what it cost, and which tables it read from end to end."""

    sql: str
    family: str
    scans: list[str] = field(default_factory=list)
    """Tables or indexes read as a whole, as the database calls them."""
    read: int = 0
    """Pages (PostgreSQL), rows (MariaDB) or hundreds of machine steps (SQLite)."""
    plan: str = ""

    def __str__(self) -> str:
        text = re.sub(r"\s+", " ", self.sql).strip()
        return f"[{self.family}: read {self.read}, scans {self.scans}] {text}\n{self.plan}"


class Watch:
    """The statements that were run while it watched."""

    def __init__(self) -> None:
        self.statements: list[Statement] = []

    def on(self, table: str) -> list[Statement]:
        """Those that name a task table."""
        return [one for one in self.statements if re.search(rf"\b{table}\b", one.sql)]

    @property
    def read(self) -> int:
        """What all of them read together."""
        return sum(one.read for one in self.statements)


@contextmanager
def watching() -> Iterator[Watch]:
    """Watch every statement that is run through a `Tx` within the block."""
    watch = Watch()

    class WatchedTx(Tx):
        __slots__ = ()

        def __init__(self, connection: Any, dialect: Any) -> None:
            super().__init__(connection, dialect)
            self.cursor = _CURSORS[dialect.name](self.cursor, connection, watch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "Tx", WatchedTx)
        yield watch


class _Cursor:
    """A driver's cursor that asks about each statement before, or counts around, its run."""

    def __init__(self, cursor: Any, connection: Any, watch: Watch) -> None:
        self._cursor = cursor
        self._connection = connection
        self._watch = watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, parameters: Any = None) -> Any:
        arguments = (sql,) if parameters is None else (sql, parameters)
        if not sql.lstrip().upper().startswith(_WORDS):
            return self._cursor.execute(*arguments)
        statement = Statement(sql, type(self).__name__.strip("_"))
        self._watch.statements.append(statement)
        return self._observe(statement, arguments)

    def executemany(self, sql: str, rows: Sequence[Any]) -> None:
        for row in rows:
            self.execute(sql, row)

    def _observe(self, statement: Statement, arguments: tuple[Any, ...]) -> Any:
        raise NotImplementedError


class _PostgreSQL(_Cursor):
    def _observe(self, statement: Statement, arguments: tuple[Any, ...]) -> Any:
        idle = self._connection.info.transaction_status == 0
        with self._connection.cursor() as cursor:
            cursor.execute("BEGIN" if idle else "SAVEPOINT watched")
            cursor.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {arguments[0]}",
                *arguments[1:],
            )
            plan = cursor.fetchone()[0][0]["Plan"]
            cursor.execute("ROLLBACK" if idle else "ROLLBACK TO SAVEPOINT watched")
        for node in _nodes(plan):
            statement.plan += f"  {node['Node Type']} {node.get('Relation Name', '')}"
            statement.plan += f" {node.get('Index Name', '')} rows {node['Actual Rows']}\n"
            if node["Node Type"] == "Seq Scan":
                statement.scans.append(node["Relation Name"])
        statement.read = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        return self._cursor.execute(*arguments)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


class _SQLite(_Cursor):
    def _observe(self, statement: Statement, arguments: tuple[Any, ...]) -> Any:
        explain = f"EXPLAIN QUERY PLAN {arguments[0]}"
        for *_, detail in self._connection.execute(explain, *arguments[1:]):
            statement.plan += f"  {detail}\n"
            # A walk along an index is read off the steps it took.
            if detail.startswith("SCAN") and "USING" not in detail:
                statement.scans.append(detail)

        def step() -> int:
            statement.read += 1
            return 0

        self._connection.set_progress_handler(step, 100)
        try:
            return self._cursor.execute(*arguments)
        finally:
            self._connection.set_progress_handler(None, 0)


class _MariaDB(_Cursor):
    def _observe(self, statement: Statement, arguments: tuple[Any, ...]) -> Any:
        before = self._counted()
        result = self._cursor.execute(*arguments)
        after = self._counted()
        counts = {name: after[name] - before[name] for name in after if after[name] > before[name]}
        statement.plan = f"  {counts}\n"
        statement.read = sum(counts.values())
        return result

    def _counted(self) -> dict[str, int]:
        with self._connection.cursor() as cursor:
            cursor.execute("SHOW SESSION STATUS LIKE 'Handler_read%'")
            return {name: int(value) for name, value in cursor.fetchall()}


_CURSORS = {"postgresql": _PostgreSQL, "sqlite": _SQLite, "mysql": _MariaDB}
