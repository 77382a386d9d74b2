"""Alerts: rules, channels, incidents, and the failures that the rules have not seen yet.

Revision ID: 0004
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
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
        "ty_alert_rules",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("filters", LONG_TEXT, nullable=False),
        sa.Column("settings", LONG_TEXT, nullable=False),
        sa.Column("channels", LONG_TEXT, nullable=False),
        sa.Column("remind_every", sa.Double(), nullable=False),
        sa.Column("resolve_after", sa.Double(), nullable=False),
        sa.Column("silenced_until", MOMENT, nullable=True),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("state", LONG_TEXT, nullable=True),
        sa.Column("problem", LONG_TEXT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _create_index("ty_alert_rules_name", "ty_alert_rules", ["tenant_id", "name"], unique=True)
    _create_table(
        "ty_channels",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("settings", LONG_TEXT, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("last_sent_at", MOMENT, nullable=True),
        sa.Column("last_error", LONG_TEXT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _create_index("ty_channels_name", "ty_channels", ["tenant_id", "name"], unique=True)
    _create_table(
        "ty_incidents",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("rule_id", sa.BigInteger(), nullable=False),
        sa.Column("rule_name", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=30), nullable=False),
        sa.Column("subject", sa.String(length=300), nullable=False),
        sa.Column("active_key", sa.String(length=330), nullable=True),
        sa.Column("summary", LONG_TEXT, nullable=False),
        sa.Column("state", sa.String(length=15), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("first_at", MOMENT, nullable=False),
        sa.Column("last_at", MOMENT, nullable=False),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("details", LONG_TEXT, nullable=False),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("acknowledged_by", sa.String(length=150), nullable=True),
        sa.Column("acknowledged_at", MOMENT, nullable=True),
        sa.Column("silenced_until", MOMENT, nullable=True),
        sa.Column("resolved_by", sa.String(length=150), nullable=True),
        sa.Column("resolved_at", MOMENT, nullable=True),
        sa.Column("notified_at", MOMENT, nullable=True),
        sa.Column("messages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("active_key"),
        sqlite_autoincrement=True,
    )
    _create_index("ty_incidents_state", "ty_incidents", ["state", "id"], unique=False)
    _create_index("ty_incidents_rule", "ty_incidents", ["rule_id", "id"], unique=False)
    _create_table(
        "ty_failures",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("run_ids", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Drop them again."""
    for name in ("ty_alert_rules", "ty_channels", "ty_incidents", "ty_failures"):
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
