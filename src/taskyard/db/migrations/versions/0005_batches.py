"""Batches: batches, their items, the Tasks that work for them, and templates.

Revision ID: 0005
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0005"
down_revision = "0004"
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
    """Create the tables."""
    _there.cache_clear()
    _create_table(
        "ty_batches",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("task_type", sa.String(length=50), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("active_key", sa.String(length=130), nullable=True),
        sa.Column("unfinished", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("params", LONG_TEXT, nullable=True),
        sa.Column("concurrency", sa.Integer(), nullable=False),
        sa.Column("rate_limit", sa.Double(), nullable=True),
        sa.Column("pause", sa.Double(), nullable=True),
        sa.Column("max_retries", sa.Integer(), nullable=False),
        sa.Column("stop_after", sa.BigInteger(), nullable=True),
        sa.Column("on_inflight", sa.String(length=20), nullable=False),
        sa.Column("notify", LONG_TEXT, nullable=True),
        sa.Column("template_id", sa.BigInteger(), nullable=True),
        sa.Column("total_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("processed_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("success_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("skipped_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("failed_before", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_item", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_free", sa.Double(), server_default="0", nullable=False),
        sa.Column("rate", sa.Double(), nullable=True),
        sa.Column("rate_from", sa.Double(), nullable=True),
        sa.Column("rate_count", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_by", sa.String(length=150), nullable=False),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("active_key"),
        sqlite_autoincrement=True,
    )
    _create_index("ty_batches_status", "ty_batches", ["status", "id"], unique=False)
    _create_index("ty_batches_unfinished", "ty_batches", ["unfinished"], unique=False)
    _create_index("ty_batches_tenant", "ty_batches", ["tenant_id", "id"], unique=False)
    _create_table(
        "ty_batch_items",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.String(length=190), nullable=False),
        sa.Column("data", LONG_TEXT, nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("result", LONG_TEXT, nullable=True),
        sa.Column("error", LONG_TEXT, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retry_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("crashes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("due", sa.Double(), nullable=True),
        sa.Column("duration", sa.Double(), nullable=True),
        sa.Column("started_at", MOMENT, nullable=True),
        sa.Column("completed_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    _create_index("ty_batch_items_item", "ty_batch_items", ["batch_id", "item_id"], unique=True)
    _create_index(
        "ty_batch_items_status", "ty_batch_items", ["batch_id", "status", "id"], unique=False
    )
    _create_index(
        "ty_batch_items_due",
        "ty_batch_items",
        ["batch_id", "due"],
        unique=False,
        postgresql_where=sa.text("due IS NOT NULL"),
        sqlite_where=sa.text("due IS NOT NULL"),
    )
    _create_table(
        "ty_batch_slots",
        sa.Column("batch_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("slot", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_table", sa.String(length=100), nullable=False),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "slot"),
    )
    _create_table(
        "ty_batch_templates",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("task_type", sa.String(length=50), nullable=False),
        sa.Column("fields", LONG_TEXT, nullable=False),
        sa.Column("variables", LONG_TEXT, nullable=False),
        sa.Column("created_by", sa.String(length=150), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _create_index(
        "ty_batch_templates_name", "ty_batch_templates", ["tenant_id", "name"], unique=True
    )


def downgrade() -> None:
    """Drop them again."""
    for name in ("ty_batches", "ty_batch_items", "ty_batch_slots", "ty_batch_templates"):
        op.drop_table(name)


def _create_table(name: str, *parts: Any, **options: Any) -> None:
    if name not in _there():
        op.create_table(name, *parts, **OPTIONS, **options)


def _create_index(name: str, table: str, columns: list[str], **options: Any) -> None:
    if name not in _there().get(table, set()):
        op.create_index(name, table, columns, **options)


@cache
def _there() -> dict[str, set[str]]:
    """The tables with their indexes; MySQL commits each statement, so that an upgrade that broke
    off is taken up where it was."""
    if context.is_offline_mode() or op.get_bind().dialect.name not in ("mysql", "mariadb"):
        return {}
    inspector = sa.inspect(op.get_bind())
    names = [name for name in inspector.get_table_names() if name.startswith("ty_")]
    return {name: {str(one["name"]) for one in inspector.get_indexes(name)} for name in names}
