"""Schedules: their rows, what they fired, and by which schedule a Run was made.

Revision ID: 0003
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LONG_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), "mysql", "mariadb")
MOMENT = (
    sa.DateTime(timezone=True)
    .with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
    .with_variant(sa.Text(), "sqlite")
)
ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_bin",
}


def upgrade() -> None:
    """Create the tables; give Runs the number of their fire, and an index by schedule."""
    _there.cache_clear()
    _create_table(
        "ty_schedules",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("task_type", sa.String(length=255), nullable=False),
        sa.Column("task_params", LONG_TEXT, nullable=True),
        sa.Column("queue", sa.String(length=100), nullable=True),
        sa.Column("cron_expression", sa.String(length=255), nullable=True),
        sa.Column("interval_seconds", sa.Double(), nullable=True),
        sa.Column("dialect", sa.String(length=10), server_default="unix", nullable=False),
        sa.Column("time_zone", sa.String(length=64), nullable=True),
        sa.Column("retry_count", sa.Integer(), nullable=True),
        sa.Column("retry_interval", sa.Double(), nullable=True),
        sa.Column("monitor_timeout", sa.Double(), nullable=True),
        sa.Column("timeout", sa.Double(), nullable=True),
        sa.Column("misfire", sa.String(length=10), server_default="one", nullable=False),
        sa.Column("misfire_window", sa.Double(), nullable=True),
        sa.Column("overlap", sa.String(length=10), server_default="allow", nullable=False),
        sa.Column("jitter", sa.Double(), server_default="0", nullable=False),
        sa.Column("start_at", MOMENT, nullable=True),
        sa.Column("end_at", MOMENT, nullable=True),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("source", sa.String(length=10), server_default="sql", nullable=False),
        sa.Column("problem", LONG_TEXT, nullable=True),
        sa.Column("next_fire_at", MOMENT, nullable=True),
        sa.Column("last_fire_at", MOMENT, nullable=True),
        sa.Column("last_lateness", sa.Double(), nullable=True),
        sa.Column("last_missed_at", MOMENT, nullable=True),
        sa.Column("last_task_table", sa.String(length=100), nullable=True),
        sa.Column("last_task_id", sa.BigInteger(), nullable=True),
        sa.Column("fired", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("skipped", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("missed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("declared", LONG_TEXT, nullable=True),
        sa.Column("seen", LONG_TEXT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=True),
        sa.Column("updated_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _create_index("ty_schedules_name", "ty_schedules", ["tenant_id", "name"], unique=True)
    _create_index("ty_schedules_due", "ty_schedules", ["status", "next_fire_at"], unique=False)
    _create_table(
        "ty_fires",
        sa.Column("schedule_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("fire_time", MOMENT, nullable=False),
        sa.Column("task_table", sa.String(length=100), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("fired_at", MOMENT, nullable=False),
        sa.Column("lateness", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("schedule_id", "fire_time"),
    )
    if not _has_column("ty_runs", "execute_index"):
        op.add_column("ty_runs", sa.Column("execute_index", sa.BigInteger(), nullable=True))
    _create_index(
        "ty_runs_schedule",
        "ty_runs",
        ["schedule_id", "claimed_at", "id"],
        unique=False,
        postgresql_where=sa.text("schedule_id IS NOT NULL"),
        sqlite_where=sa.text("schedule_id IS NOT NULL"),
    )


def downgrade() -> None:
    """Take them away again."""
    op.drop_index("ty_runs_schedule", table_name="ty_runs")
    op.drop_column("ty_runs", "execute_index")
    op.drop_table("ty_fires")
    op.drop_table("ty_schedules")


def _create_table(name: str, *parts: Any, **options: Any) -> None:
    if name not in _there():
        op.create_table(name, *parts, **OPTIONS, **options)


def _create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    if name not in _there().get(table, set()):
        op.create_index(name, table, columns, **options)


def _has_column(table: str, column: str) -> bool:
    return column in _there().get(table, set())


@cache
def _there() -> dict[str, set[str]]:
    """The tables with their columns and indexes; MySQL commits each statement, so that an upgrade
    that broke off is taken up where it was."""
    if context.is_offline_mode() or op.get_bind().dialect.name not in ("mysql", "mariadb"):
        return {}
    inspector = sa.inspect(op.get_bind())
    names = [name for name in inspector.get_table_names() if name.startswith("ty_")]
    return {
        name: {
            *(str(one["name"]) for one in inspector.get_indexes(name)),
            *(str(one["name"]) for one in inspector.get_columns(name)),
        }
        for name in names
    }
