"""Lanes: the databases a benchmark runs on.

Owns making and dropping a database of its own on each, and the few words of SQL in which they
differ. Knows nothing of what is measured.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Row = tuple[Any, ...]

# The servers' addresses without a database; the environment may name others.
POSTGRES = os.environ.get("TASKYARD_BENCH_POSTGRES", "postgresql://postgres@127.0.0.1:5432")
MARIADB = os.environ.get("TASKYARD_BENCH_MARIADB", "mysql://root@127.0.0.1:3306")


class Db:
    """One autocommit connection; statements are written with %s, whatever the driver's own mark."""

    def __init__(self, connection: Any, mark: str = "%s") -> None:
        self.connection = connection
        self._mark = mark

    def run(self, sql: str, *params: object) -> int:
        """Run one statement; returns the number of rows it touched."""
        return int(self._execute(sql, params).rowcount)

    def many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each of the rows."""
        self.connection.cursor().executemany(sql.replace("%s", self._mark), rows)

    def rows(self, sql: str, *params: object) -> list[Row]:
        """All rows of a query."""
        return [tuple(row) for row in self._execute(sql, params).fetchall()]

    def value(self, sql: str, *params: object) -> Any:
        """First column of the first row, or None when there is no row."""
        row = self._execute(sql, params).fetchone()
        return None if row is None else row[0]

    def close(self) -> None:
        self.connection.close()

    def _execute(self, sql: str, params: Sequence[object]) -> Any:
        cursor = self.connection.cursor()
        if params:
            cursor.execute(sql.replace("%s", self._mark), tuple(params))
        else:
            cursor.execute(sql)
        return cursor


class Lane(ABC):
    """A database of our own, made by make() and dropped by drop(); `url` is what Taskyard takes."""

    name: str
    title: str
    store: str = ""  # name of the database's processes, for their CPU; "" = inside the client
    now: str
    tomorrow: str

    def __init__(self, suffix: str = "") -> None:
        self.database = f"taskyard_bench_{os.getpid()}{suffix}"

    def sibling(self, suffix: str) -> Lane:
        """Another database beside this one."""
        return type(self)(suffix)

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def make(self) -> None: ...

    @abstractmethod
    def drop(self) -> None: ...

    @abstractmethod
    def connect(self) -> Db: ...

    @abstractmethod
    def series(self, n: int) -> str:
        """A FROM item `s` with one column `n` from 1 to n."""

    @abstractmethod
    def epoch(self, expression: str) -> str:
        """Seconds since 1970 of a time of a task table."""

    @abstractmethod
    def columns(self, db: Db, table: str) -> list[str]:
        """The table's columns that can be written, in order."""

    @abstractmethod
    def settle_down(self, db: Db, table: str) -> None:
        """Do after a bulk load what the database would do itself in the middle of a measurement."""

    @abstractmethod
    def insert_many(self, db: Db, table: str, params: list[str]) -> None:
        """Insert due no-op tasks with these params in one transaction, the driver's fastest way."""

    @contextmanager
    def opened(self) -> Iterator[Db]:
        """A connection for the length of a block."""
        db = self.connect()
        try:
            yield db
        finally:
            db.close()


class PostgresLane(Lane):
    name = "postgres"
    title = "PostgreSQL"
    store = "postgres"
    now = "now()"
    tomorrow = "now() + interval '1 day'"

    @property
    def url(self) -> str:
        return f"{POSTGRES}/{self.database}"

    def make(self) -> None:
        self.drop()
        self._admin(f"CREATE DATABASE {self.database}")

    def drop(self) -> None:
        self._admin(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")

    def connect(self) -> Db:
        import psycopg

        return Db(psycopg.connect(self.url, autocommit=True))

    def series(self, n: int) -> str:
        return f"generate_series(1, {n}) AS s(n)"

    def epoch(self, expression: str) -> str:
        return f"EXTRACT(EPOCH FROM {expression})"

    def columns(self, db: Db, table: str) -> list[str]:
        return _information_schema(db, table, "current_schema()", "is_generated = 'NEVER'")

    def settle_down(self, db: Db, table: str) -> None:
        db.run(f"VACUUM (ANALYZE) {table}")
        db.run("CHECKPOINT")

    def insert_many(self, db: Db, table: str, params: list[str]) -> None:
        # unnest is as fast as COPY and can give back ids
        db.run(
            f"INSERT INTO {table} (task_type, task_params, schedule_time) "
            "SELECT 'noop', params, now() FROM unnest(%s::text[]) AS p(params)",
            params,
        )

    def _admin(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(f"{POSTGRES}/postgres", autocommit=True) as connection:
            connection.execute(sql)


class MariadbLane(Lane):
    name = "mariadb"
    title = "MariaDB"
    store = "mariadbd"
    now = "NOW(6)"
    tomorrow = "NOW(6) + INTERVAL 1 DAY"

    @property
    def url(self) -> str:
        return f"{MARIADB}/{self.database}"

    def make(self) -> None:
        self.drop()
        self._admin(f"CREATE DATABASE {self.database} CHARACTER SET utf8mb4")

    def drop(self) -> None:
        self._admin(f"DROP DATABASE IF EXISTS {self.database}")

    def connect(self) -> Db:
        return self._open(self.database)

    def series(self, n: int) -> str:
        return f"(SELECT seq AS n FROM seq_1_to_{n}) AS s"

    def epoch(self, expression: str) -> str:
        return f"UNIX_TIMESTAMP({expression})"

    def columns(self, db: Db, table: str) -> list[str]:
        return _information_schema(db, table, "DATABASE()", "is_generated = 'NEVER'")

    def settle_down(self, db: Db, table: str) -> None:
        db.run(f"ANALYZE TABLE {table}")

    def insert_many(self, db: Db, table: str, params: list[str]) -> None:
        now = db.value("SELECT NOW(6)")
        # nothing but %s, or PyMySQL sends row by row
        db.many(
            f"INSERT INTO {table} (task_type, task_params, schedule_time) VALUES (%s, %s, %s)",
            [("noop", text, now) for text in params],
        )

    def _admin(self, sql: str) -> None:
        db = self._open(None)
        try:
            db.run(sql)
        finally:
            db.close()

    def _open(self, database: str | None) -> Db:
        import pymysql

        at = urlsplit(MARIADB)
        connection = pymysql.connect(
            host=at.hostname or "127.0.0.1",
            port=at.port or 3306,
            user=at.username or "root",
            password=at.password or "",
            database=database,
            autocommit=True,
        )
        return Db(connection)


class SqliteLane(Lane):
    name = "sqlite"
    title = "SQLite"
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    tomorrow = "strftime('%Y-%m-%d %H:%M:%f', 'now', '+1 day')"

    def __init__(self, suffix: str = "") -> None:
        super().__init__(suffix)
        self.folder = Path(tempfile.gettempdir()) / self.database

    @property
    def file(self) -> Path:
        return self.folder / "bench.db"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.file}"

    def make(self) -> None:
        self.drop()
        self.folder.mkdir(parents=True)

    def drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self) -> Db:
        connection = sqlite3.connect(
            self.file, timeout=30, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = NORMAL")  # as Taskyard by default
        return Db(connection, mark="?")

    def series(self, n: int) -> str:
        steps = f"SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {n}"
        return f"(WITH RECURSIVE s(n) AS ({steps}) SELECT n FROM s) AS s"

    def epoch(self, expression: str) -> str:
        return f"((julianday({expression}) - 2440587.5) * 86400.0)"

    def columns(self, db: Db, table: str) -> list[str]:
        # hidden: 0 = plain, 2 and 3 = generated
        names = db.rows(f"SELECT name FROM pragma_table_xinfo('{table}') WHERE hidden = 0")
        return [str(name) for (name,) in names]

    def settle_down(self, db: Db, table: str) -> None:
        db.rows("PRAGMA wal_checkpoint(TRUNCATE)")

    def insert_many(self, db: Db, table: str, params: list[str]) -> None:
        db.run("BEGIN IMMEDIATE")
        db.many(
            f"INSERT INTO {table} (task_type, task_params, schedule_time) "
            f"VALUES ('noop', %s, {self.now})",
            [(text,) for text in params],
        )
        db.run("COMMIT")


LANES: dict[str, type[Lane]] = {lane.name: lane for lane in (SqliteLane, PostgresLane, MariadbLane)}


def _information_schema(db: Db, table: str, schema: str, condition: str) -> list[str]:
    names = db.rows(
        "SELECT column_name FROM information_schema.columns "
        f"WHERE table_schema = {schema} AND table_name = '{table}' AND {condition} "
        "ORDER BY ordinal_position"
    )
    return [str(name) for (name,) in names]
