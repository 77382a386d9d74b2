"""The spine: queues, task tables, servers, runs, logs, counters.

Revision ID: 0001
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
MOMENT = (
    sa.DateTime(timezone=True)
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(sa.Text(), "sqlite")
)
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NOW = sa.text("CURRENT_TIMESTAMP")
OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Create the platform's tables; a `queue_configs` that is there already is adopted."""
    _there.cache_clear()
    _queue_configs()
    _create_table(
        "ty_counters",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        **OPTIONS,
    )
    _create_table(
        "ty_progress",
        sa.Column("task_table", sa.String(length=100), nullable=False),
        sa.Column("task_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("done", sa.Double(), nullable=True),
        sa.Column("total", sa.Double(), nullable=True),
        sa.Column("note", LONG_TEXT, nullable=True),
        sa.Column("checkpoint", LONG_TEXT, nullable=True),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("task_table", "task_id"),
        **OPTIONS,
    )
    _create_table(
        "ty_rates",
        sa.Column("queue_name", sa.String(length=100), nullable=False),
        sa.Column("next_free", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("queue_name"),
        **OPTIONS,
    )
    _create_table(
        "ty_run_logs",
        sa.Column("run_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", LONG_TEXT, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "seq"),
        **OPTIONS,
    )
    _create_table(
        "ty_runs",
        sa.Column("id", ID, autoincrement=False, nullable=False),
        sa.Column("task_table", sa.String(length=100), nullable=True),
        sa.Column("task_id", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="1", nullable=False),
        sa.Column("task_type", sa.String(length=255), nullable=False),
        sa.Column("queue", sa.String(length=100), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("origin", sa.String(length=20), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("schedule_id", sa.BigInteger(), nullable=True),
        sa.Column("batch_id", sa.BigInteger(), nullable=True),
        sa.Column("server_id", sa.String(length=50), nullable=True),
        sa.Column("session", sa.String(length=40), nullable=True),
        sa.Column("pid", sa.BigInteger(), nullable=True),
        sa.Column("payload", LONG_TEXT, nullable=True),
        sa.Column("output", LONG_TEXT, nullable=True),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("memory_usage", sa.BigInteger(), nullable=True),
        sa.Column("cpu_time", sa.Double(), nullable=True),
        sa.Column("wait_time", sa.Double(), nullable=True),
        sa.Column("execution_time", sa.Double(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("claimed_at", sa.BigInteger(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **OPTIONS,
    )
    _create_index("ty_runs_claimed", "ty_runs", ["claimed_at", "id"], unique=False)
    _create_index(
        "ty_runs_status",
        "ty_runs",
        ["status", "claimed_at", "id"],
        unique=False,
        postgresql_where=sa.text("status <> 'completed'"),
        sqlite_where=sa.text("status <> 'completed'"),
    )
    _create_index("ty_runs_task", "ty_runs", ["task_id", "task_table"], unique=False)
    _create_index("ty_runs_type", "ty_runs", ["task_type", "claimed_at", "id"], unique=False)
    _create_table(
        "ty_servers",
        sa.Column("session", sa.String(length=40), nullable=False),
        sa.Column("server_id", sa.String(length=50), nullable=False),
        sa.Column("kind", sa.String(length=10), server_default="server", nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("pid_namespace", sa.String(length=64), server_default="", nullable=False),
        sa.Column("process_started", sa.String(length=32), server_default="", nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("lease_until", MOMENT, nullable=False),
        sa.Column("beat_at", MOMENT, nullable=False),
        sa.Column("started_at", MOMENT, nullable=False),
        sa.Column("runners", sa.Integer(), server_default="0", nullable=False),
        sa.Column("handlers", LONG_TEXT, nullable=True),
        sa.Column("problems", LONG_TEXT, nullable=True),
        sa.PrimaryKeyConstraint("session"),
        **OPTIONS,
    )
    _create_index("ty_servers_state", "ty_servers", ["state", "lease_until"], unique=False)
    _create_table(
        "ty_task_tables",
        sa.Column("table_name", sa.String(length=100), nullable=False),
        sa.Column("created_here", sa.SmallInteger(), nullable=False),
        sa.Column("own_columns", LONG_TEXT, nullable=False),
        sa.Column("ready", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("table_name"),
        **OPTIONS,
    )


def downgrade() -> None:
    """Drop the platform's tables; `queue_configs` and the task tables belong to the users."""
    for name in (
        "ty_counters",
        "ty_progress",
        "ty_rates",
        "ty_run_logs",
        "ty_runs",
        "ty_servers",
        "ty_task_tables",
    ):
        op.drop_table(name)


def _create_table(name: str, *parts: Any, **options: Any) -> None:
    if _is_wanted(name):
        op.create_table(name, *parts, **options)


def _create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    if _is_wanted(table, name):
        op.create_index(name, table, columns, **options)


def _is_wanted(table: str, index: str | None = None) -> bool:
    """MySQL commits each statement: an upgrade that broke off is taken up where it was."""
    if table not in _there():
        return True
    return index is not None and index not in _there()[table]


@cache
def _there() -> dict[str, set[str]]:
    """The tables that an upgrade that broke off has left, with their indexes."""
    if context.is_offline_mode() or op.get_bind().dialect.name not in ("mysql", "mariadb"):
        return {}
    inspector = sa.inspect(op.get_bind())
    names = [name for name in inspector.get_table_names() if name.startswith("ty_")]
    return {name: {str(one["name"]) for one in inspector.get_indexes(name)} for name in names}


def _queue_configs() -> None:
    columns: list[sa.Column[Any]] = [
        sa.Column("id", ID, primary_key=True, autoincrement=True),
        sa.Column("queue_name", sa.String(100), nullable=False, unique=True),
        sa.Column("table_name", sa.String(100), nullable=False),
        sa.Column("server_id", sa.String(50), nullable=False, server_default=""),
        sa.Column("max_workers", sa.Integer, nullable=False, server_default="5"),
        sa.Column("scan_interval", sa.Double, nullable=False, server_default="5"),
        sa.Column("status", sa.SmallInteger, nullable=False, server_default="1"),
        sa.Column("rate_limit", sa.Double),
        sa.Column("timeout", sa.Double),
        sa.Column("problem", LONG_TEXT),
        sa.Column("created_at", sa.DateTime, nullable=False, server_default=NOW),
        sa.Column("updated_at", sa.DateTime, nullable=False, server_default=NOW),
    ]
    if context.is_offline_mode() or not sa.inspect(op.get_bind()).has_table("queue_configs"):
        op.create_table("queue_configs", *columns, **OPTIONS)
        return
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("queue_configs")}
    for column in columns:
        if column.name in present:
            continue
        # SQLite can't add a column whose default is an expression.
        if column.name in ("created_at", "updated_at"):
            column = sa.Column(column.name, sa.DateTime)
        op.add_column("queue_configs", column)
