"""Copies what has changed from crm.db to warehouse.db."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, Literal

from taskyard import Context, Yard

HERE = Path(__file__).parent

yard = Yard()


@yard.handler("sync", max_retries=5, timeout="10m", excl_key="sync-{table}")
def sync(
    ctx: Context, table: Literal["customers"] = "customers", batch_size: int = 1000
) -> dict[str, Any]:
    """Copy the rows of a table whose version is newer than the last one copied."""
    checksum, rows = hashlib.sha256(), 0
    with closing(connect("crm")) as source, closing(connect("warehouse")) as target:
        prepare(target)
        mark = copied_up_to(target, table)
        newest = source.execute(f"SELECT coalesce(max(version), 0) FROM {table}").fetchone()[0]
        while batch := changed(source, table, mark, batch_size):
            ctx.raise_if_cancelled()
            mark = batch[-1]["version"]
            write(target, table, batch, mark)
            rows += len(batch)
            checksum.update(repr([tuple(row) for row in batch]).encode())
            ctx.progress(mark, newest, f"{rows} rows")
    ctx.log.info("%d rows of %s copied, up to version %d", rows, table, mark)
    return {"rows": rows, "version": mark, "checksum": checksum.hexdigest()}


def changed(source: sqlite3.Connection, table: str, after: int, limit: int) -> list[sqlite3.Row]:
    """The next rows to copy, in the order of their versions."""
    sql = f"SELECT id, name, version FROM {table} WHERE version > ? ORDER BY version LIMIT ?"
    return source.execute(sql, [after, limit]).fetchall()


def write(target: sqlite3.Connection, table: str, batch: list[sqlite3.Row], mark: int) -> None:
    """A batch and its mark, in one transaction: both are there, or neither."""
    with target:
        target.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", batch)
        target.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", [table, mark])


def copied_up_to(target: sqlite3.Connection, table: str) -> int:
    """The version that the last whole batch ended with; 0 at first."""
    row = target.execute("SELECT mark FROM marks WHERE name = ?", [table]).fetchone()
    return row["mark"] if row else 0


def prepare(target: sqlite3.Connection) -> None:
    """Make the target's tables unless they are there."""
    target.executescript(
        "CREATE TABLE IF NOT EXISTS customers (id INTEGER PRIMARY KEY, name TEXT, version INT);"
        "CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, mark INT);"
    )


def connect(name: str) -> sqlite3.Connection:
    """Open one of the two databases."""
    connection = sqlite3.connect(HERE / f"{name}.db", timeout=10)
    connection.row_factory = sqlite3.Row
    return connection
