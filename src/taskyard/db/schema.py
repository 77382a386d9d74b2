"""Schema: the platform's own tables, as data.

Owns the columns of `queue_configs` and of every `ty_*` table (contract 1). Migrations build them;
task tables, which may belong to others, are `tables.py`'s. Times of these tables are UTC.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

metadata = sa.MetaData()

Moment = (
    sa.DateTime(timezone=True)
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(sa.Text(), "sqlite")
)
"""A UTC time; on SQLite text `YYYY-MM-DD HH:MM:SS.ffffff`."""

LongText = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
Float: sa.Double[float] = sa.Double()
# SQLite gives a rowid only to a column of exactly this type.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

NOW = sa.text("CURRENT_TIMESTAMP")


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        *parts,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        # Names, keys and types are compared byte by byte, as on the other databases (rulings 3.6).
        mysql_collate="utf8mb4_bin",
    )


queue_configs = _table(
    "queue_configs",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("queue_name", sa.String(100), nullable=False, unique=True),
    sa.Column("table_name", sa.String(100), nullable=False),
    sa.Column("server_id", sa.String(50), nullable=False, server_default=""),
    sa.Column("max_workers", sa.Integer, nullable=False, server_default="5"),
    sa.Column("scan_interval", Float, nullable=False, server_default="5"),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("rate_limit", Float),
    sa.Column("timeout", Float),
    sa.Column("problem", LongText),
    sa.Column("created_at", sa.DateTime, nullable=False, server_default=NOW),
    sa.Column("updated_at", sa.DateTime, nullable=False, server_default=NOW),
)

servers = _table(
    "ty_servers",
    sa.Column("session", sa.String(40), primary_key=True),
    sa.Column("server_id", sa.String(50), nullable=False),
    sa.Column("kind", sa.String(10), nullable=False, server_default="server"),
    sa.Column("host", sa.String(255), nullable=False),
    sa.Column("pid", sa.BigInteger, nullable=False),
    sa.Column("boot_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("pid_namespace", sa.String(64), nullable=False, server_default=""),
    sa.Column("process_started", sa.String(32), nullable=False, server_default=""),
    sa.Column("version", sa.String(32), nullable=False),
    sa.Column("state", sa.String(10), nullable=False),
    sa.Column("lease_until", Moment, nullable=False),
    sa.Column("beat_at", Moment, nullable=False),
    sa.Column("started_at", Moment, nullable=False),
    sa.Column("runners", sa.Integer, nullable=False, server_default="0"),
    sa.Column("handlers", LongText),
    sa.Column("problems", LongText),
    sa.Index("ty_servers_state", "state", "lease_until"),
)

task_tables = _table(
    "ty_task_tables",
    sa.Column("table_name", sa.String(100), primary_key=True),
    sa.Column("created_here", sa.SmallInteger, nullable=False),
    sa.Column("own_columns", LongText, nullable=False),
    sa.Column("ready", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("created_at", Moment, nullable=False),
)

counters = _table(
    "ty_counters",
    sa.Column("name", sa.String(50), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)

rates = _table(
    "ty_rates",
    sa.Column("queue_name", sa.String(100), primary_key=True),
    sa.Column("next_free", Float, nullable=False),
)

runs = _table(
    "ty_runs",
    sa.Column("id", Id, primary_key=True, autoincrement=False),
    sa.Column("task_table", sa.String(100)),
    sa.Column("task_id", sa.BigInteger),
    sa.Column("fence", sa.BigInteger),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
    sa.Column("task_type", sa.String(255), nullable=False),
    sa.Column("queue", sa.String(100)),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("origin", sa.String(20), nullable=False),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("schedule_id", sa.BigInteger),
    sa.Column("batch_id", sa.BigInteger),
    sa.Column("server_id", sa.String(50)),
    sa.Column("session", sa.String(40)),
    sa.Column("pid", sa.BigInteger),
    sa.Column("payload", LongText),
    sa.Column("output", LongText),
    sa.Column("error", LongText),
    sa.Column("memory_usage", sa.BigInteger),
    sa.Column("cpu_time", Float),
    sa.Column("wait_time", Float),
    sa.Column("execution_time", Float),
    sa.Column("started_at", Moment),
    sa.Column("completed_at", Moment),
    sa.Column("claimed_at", sa.BigInteger, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ty_runs_claimed", "claimed_at", "id"),
    sa.Index("ty_runs_type", "task_type", "claimed_at", "id"),
    sa.Index("ty_runs_task", "task_id", "task_table"),
    # What people look for is what went wrong; where the database can, only that is indexed.
    sa.Index(
        "ty_runs_status",
        "status",
        "claimed_at",
        "id",
        postgresql_where=sa.text("status <> 'completed'"),
        sqlite_where=sa.text("status <> 'completed'"),
    ),
)

run_logs = _table(
    "ty_run_logs",
    sa.Column("run_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", LongText, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
)

progress = _table(
    "ty_progress",
    sa.Column("task_table", sa.String(100), primary_key=True),
    sa.Column("task_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("run_id", sa.BigInteger),
    sa.Column("done", Float),
    sa.Column("total", Float),
    sa.Column("note", LongText),
    sa.Column("checkpoint", LongText),
    sa.Column("updated_at", Moment, nullable=False),
)
