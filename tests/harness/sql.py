"""Plain SQL on three databases, through the bare drivers: what any foreign program could do.

Owns the spelling differences that a writer of requirement 5's tables meets (placeholders, the words
for now, the CREATE TABLE of a task table). Knows no table of ours except by name.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

Row = dict[str, Any]

NOW = {
    "postgresql": "now()",
    "mysql": "NOW()",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
}

# Requirement 5's task table word for word (MariaDB), and what its author would write elsewhere.
CREATE_TASKS = {
    "mysql": """CREATE TABLE `{table}` (
  `id` bigint(20) NOT NULL AUTO_INCREMENT,
  `task_type` varchar(50) NOT NULL COMMENT '任务类型',
  `task_params` text COMMENT '任务参数(JSON格式)',
  `status` tinyint(1) DEFAULT 0 COMMENT '0:待执行 1:执行中 2:已完成 3:失败 4:取消',
  `schedule_time` datetime NOT NULL COMMENT '计划执行时间',
  `start_time` datetime DEFAULT NULL,
  `end_time` datetime DEFAULT NULL,
  `retry_count` int(11) DEFAULT 0,
  `max_retries` int(11) DEFAULT 3,
  `error_msg` text,
  `server_id` varchar(50) DEFAULT '',
  `created_at` datetime DEFAULT CURRENT_TIMESTAMP,
  `updated_at` datetime DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP,
  PRIMARY KEY (`id`),
  KEY `idx_status_schedule` (`status`, `schedule_time`)
)""",
    "postgresql": """CREATE TABLE {table} (
  id bigserial PRIMARY KEY,
  task_type varchar(50) NOT NULL,
  task_params text,
  status smallint DEFAULT 0,
  schedule_time timestamptz NOT NULL,
  start_time timestamptz,
  end_time timestamptz,
  retry_count integer DEFAULT 0,
  max_retries integer DEFAULT 3,
  error_msg text,
  server_id varchar(50) DEFAULT '',
  created_at timestamptz DEFAULT CURRENT_TIMESTAMP,
  updated_at timestamptz DEFAULT CURRENT_TIMESTAMP
)""",
    "sqlite": """CREATE TABLE {table} (
  id integer PRIMARY KEY AUTOINCREMENT,
  task_type varchar(50) NOT NULL,
  task_params text,
  status tinyint DEFAULT 0,
  schedule_time datetime NOT NULL,
  start_time datetime,
  end_time datetime,
  retry_count int DEFAULT 0,
  max_retries int DEFAULT 3,
  error_msg text,
  server_id varchar(50) DEFAULT '',
  created_at datetime DEFAULT CURRENT_TIMESTAMP,
  updated_at datetime DEFAULT CURRENT_TIMESTAMP
)""",
}

INDEX_TASKS = {
    "mysql": "",
    "postgresql": "CREATE INDEX idx_{table} ON {table} (status, schedule_time)",
    "sqlite": "CREATE INDEX idx_{table} ON {table} (status, schedule_time)",
}


def family_of(url: str) -> str:
    """``postgresql``, ``mysql`` (MariaDB too) or ``sqlite``."""
    scheme = urlsplit(url).scheme.split("+")[0]
    return {"mariadb": "mysql", "postgres": "postgresql"}.get(scheme, scheme)


class Database:
    """One connection of a stranger: autocommit, every statement on its own, ``?`` as placeholder.

    A lost connection is opened again at the next statement; the failed statement is not repeated,
    except by ``run(..., patient=seconds)``: for reading while the database comes and goes.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.family = family_of(url)
        self._connection: Any = None

    @property
    def now(self) -> str:
        """The words for the present instant in a task table's own convention."""
        return NOW[self.family]

    def run(self, sql: str, *params: object, patient: float = 0.0) -> list[Row]:
        """Run one statement and return its rows as dicts (empty for a statement without rows)."""
        deadline = time.monotonic() + patient
        while True:
            try:
                return self._run_once(sql, params)
            except Exception:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def changed(self, sql: str, *params: object) -> int:
        """Run one statement and return how many rows it changed."""
        with self._cursor() as cursor:
            cursor.execute(self._spell(sql), tuple(params))
            return int(cursor.rowcount)

    def value(self, sql: str, *params: object, patient: float = 0.0) -> Any:
        """The single value of a one-row query."""
        row = self.run(sql, *params, patient=patient)[0]
        return next(iter(row.values()))

    def many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run one INSERT for many rows in one transaction."""
        with self._cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.executemany(self._spell(sql), list(rows))
            cursor.execute("COMMIT")

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _run_once(self, sql: str, params: Sequence[object]) -> list[Row]:
        with self._cursor() as cursor:
            cursor.execute(self._spell(sql), tuple(params))
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def _cursor(self) -> Any:
        if self._connection is None:
            self._connection = connect(self.url)
        return _Closing(self._connection.cursor())

    def _spell(self, sql: str) -> str:
        return sql if self.family == "sqlite" else sql.replace("%", "%%").replace("?", "%s")


class _Closing:
    """A cursor as a context manager: sqlite3's is none."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def __enter__(self) -> Any:
        return self._cursor

    def __exit__(self, *exc: object) -> None:
        with suppress(Exception):
            self._cursor.close()


def connect(url: str, timeout: float = 10.0, autocommit: bool = True) -> Any:
    """A connection of the bare driver that belongs to the URL's family."""
    family, parts = family_of(url), urlsplit(url)
    if family == "sqlite":
        path = url.split("///", 1)[1].split("?")[0]
        return sqlite3.connect(
            path,
            timeout=60,
            isolation_level=None if autocommit else "DEFERRED",
            check_same_thread=False,
        )
    if family == "postgresql":
        import psycopg

        conninfo = f"postgresql://{url.split('://', 1)[1]}"
        return psycopg.connect(conninfo, autocommit=autocommit, connect_timeout=int(timeout))
    import pymysql

    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.lstrip("/")) or None,
        autocommit=autocommit,
        connect_timeout=int(timeout),
        charset="utf8mb4",
    )


def create_task_table(db: Database, table: str) -> None:
    """A task table exactly as requirement 5 describes it: base columns only, none of ours."""
    db.run(CREATE_TASKS[db.family].format(table=table))
    if INDEX_TASKS[db.family]:
        db.run(INDEX_TASKS[db.family].format(table=table))


def is_adopted(db: Database, table: str) -> bool:
    """Whether a task table is there and has been given the product's own columns."""
    try:
        db.run(f"SELECT priority, fence, owner, retry_interval FROM {table} WHERE 1 = 0")
    except Exception:
        db.close()
        return False
    return True


def insert_tasks(
    db: Database,
    table: str,
    task_type: str,
    params: Iterable[str | None],
    *,
    max_retries: int = 0,
    due: str | None = None,
) -> list[int]:
    """INSERT one row for each of ``params`` with base columns only; return the ids in order."""
    rows = [(task_type, text, max_retries) for text in params]
    before = int(db.value(f"SELECT COALESCE(MAX(id), 0) FROM {table}"))
    db.many(
        f"INSERT INTO {table} (task_type, task_params, schedule_time, max_retries)"
        f" VALUES (?, ?, {due or db.now}, ?)",
        rows,
    )
    found = db.run(
        f"SELECT id FROM {table} WHERE id > ? AND task_type = ? ORDER BY id", before, task_type
    )
    assert len(found) >= len(rows), "the database swallowed an INSERT"
    return [row["id"] for row in found[: len(rows)]]


def insert_queue(db: Database, name: str, table: str, **columns: object) -> None:
    """INSERT a row of ``queue_configs`` with the given columns and no others."""
    names = ["queue_name", "table_name", *columns]
    marks = ", ".join("?" for _ in names)
    db.run(
        f"INSERT INTO queue_configs ({', '.join(names)}) VALUES ({marks})",
        name,
        table,
        *columns.values(),
    )
