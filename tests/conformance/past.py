"""Past: rows of history and of task tables by plain SQL, for the tests of lists and retention."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from taskyard.db.database import Database
from taskyard.db.tables import ensure_table

START = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)

_RUN: dict[str, Any] = {
    "task_table": "default_tasks",
    "task_id": 1,
    "fence": 1,
    "attempt": 1,
    "task_type": "mail",
    "queue": "default",
    "status": "completed",
    "origin": "enqueued",
    "tenant_id": "",
    "server_id": "a",
    "session": "s",
    "pid": 7,
    "payload": '{"n": 1}',
    "output": None,
    "error": None,
    "memory_usage": None,
    "cpu_time": None,
    "wait_time": 0.5,
    "execution_time": 1.0,
}


class Past:
    """A database with a schema, a queue "default", and rows that tests put into it."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        self.queue("default", "default_tasks")

    def queue(self, name: str, table: str) -> None:
        ensure_table(self.db, table)
        self.db.run(
            lambda tx: tx.execute(
                "INSERT INTO queue_configs (queue_name, table_name) VALUES (:name, :table)",
                name=name,
                table=table,
            )
        )

    def moment(self, when: datetime | None) -> Any:
        """A time as this database's driver takes it for a `ty_*` table."""
        if when is None or self.db.dialect.name == "postgresql":
            return when
        if self.db.dialect.name == "mysql":
            return when.replace(tzinfo=None)
        return when.strftime("%Y-%m-%d %H:%M:%S.%f")

    def run(
        self, run_id: int, *, second: float = 0.0, ended: float | None = -1.0, **columns: Any
    ) -> int:
        """A Run, claimed `second` s after START and ended `ended` s after it (default: 1 s on)."""
        started = START + timedelta(seconds=second)
        over = second + 1.0 if ended == -1.0 else ended
        completed = None if over is None else START + timedelta(seconds=over)
        row = {
            **_RUN,
            **columns,
            "id": run_id,
            "started_at": self.moment(started),
            "completed_at": self.moment(completed),
            "claimed_at": micros(started),
            "created_at": self.moment(started),
            "updated_at": self.moment(started),
        }
        self.insert("ty_runs", row)
        return run_id

    def log(self, run_id: int, *texts: str) -> None:
        for seq, text in enumerate(texts):
            row = {"run_id": run_id, "seq": seq, "text": text, "created_at": self.moment(START)}
            self.insert("ty_run_logs", row)

    def task(self, table: str = "default_tasks", **columns: Any) -> int:
        """A row of a task table; returns its id."""
        quoted = self.db.dialect.quote(table)
        self.insert(quoted, {"task_type": "mail", **columns})
        newest: int = self.db.read(lambda tx: tx.value(f"SELECT MAX(id) FROM {quoted}"))
        return newest

    def live(
        self, run_id: int, *, second: float = 0.0, table: str = "default_tasks", **columns: Any
    ) -> int:
        """A Task that is running, as a claim leaves it; returns its id."""
        claimed = micros(START + timedelta(seconds=second))
        stamped = {"status": 1, "owner": "s", "server_id": "a", "queue": "default", "fence": 1}
        return self.task(table, run_id=run_id, claimed_at=claimed, **(stamped | columns))

    def insert(self, table: str, row: dict[str, Any]) -> None:
        names = ", ".join(row)
        marks = ", ".join(f":{name}" for name in row)
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        self.db.run(lambda tx: tx.execute(sql, **row))

    def ids(self, table: str) -> list[int]:
        column = "run_id" if table == "ty_run_logs" else "id"
        rows = self.db.read(lambda tx: tx.all(f"SELECT {column} FROM {table} ORDER BY {column}"))
        return [row[0] for row in rows]


def micros(when: datetime) -> int:
    return round(when.timestamp() * 1_000_000)
