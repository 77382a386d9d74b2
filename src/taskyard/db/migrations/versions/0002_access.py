"""Access and statistics: tenants, users, tokens, sign-ins, the audit, the roll-ups of Runs.

Revision ID: 0002
"""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from alembic import context, op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
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
    """Create the tables, and the indexes by which a tenant's and a queue's Runs are listed."""
    _there.cache_clear()
    _create_table(
        "ty_tenants",
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id"),
    )
    _create_table(
        "ty_users",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("username", sa.String(length=100), nullable=False),
        sa.Column("password_hash", LONG_TEXT, nullable=True),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("tenants", LONG_TEXT, nullable=False),
        sa.Column("grants", LONG_TEXT, nullable=False),
        sa.Column("status", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("last_login_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("username"),
        sqlite_autoincrement=True,
    )
    _create_table(
        "ty_tokens",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("public_id", sa.String(length=16), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("tenants", LONG_TEXT, nullable=True),
        sa.Column("scopes", LONG_TEXT, nullable=True),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.Column("last_used_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("public_id"),
        sqlite_autoincrement=True,
    )
    _create_index("ty_tokens_user", "ty_tokens", ["user_id"], unique=False)
    _create_table(
        "ty_logins",
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("user_agent", sa.String(length=255), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("seen_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key_hash"),
    )
    _create_index("ty_logins_user", "ty_logins", ["user_id"], unique=False)
    _create_table(
        "ty_login_attempts",
        sa.Column("name", sa.String(length=190), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    _create_table(
        "ty_audit",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", MOMENT, nullable=False),
        sa.Column("actor", sa.String(length=150), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("token_id", sa.BigInteger(), nullable=True),
        sa.Column("address", sa.String(length=64), nullable=True),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("action", sa.String(length=50), nullable=False),
        sa.Column("object", sa.String(length=190), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), server_default="", nullable=False),
        sa.Column("before", LONG_TEXT, nullable=True),
        sa.Column("after", LONG_TEXT, nullable=True),
        sa.Column("seal", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    _create_index("ty_audit_object", "ty_audit", ["object", "id"], unique=False)
    _create_index("ty_audit_at", "ty_audit", ["at"], unique=False)
    _create_table(
        "ty_queue_seen",
        sa.Column("queue_name", sa.String(length=100), nullable=False),
        sa.Column("state", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("queue_name"),
    )
    _create_table(
        "ty_idempotency",
        sa.Column("key_hash", sa.String(length=64), nullable=False),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", LONG_TEXT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("key_hash"),
    )
    _create_table(
        "ty_uncounted",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("run_ids", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _create_table(
        "ty_stats",
        sa.Column("grain", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("measure", sa.String(length=10), nullable=False),
        sa.Column("start", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task_type", sa.String(length=255), nullable=False),
        sa.Column("queue", sa.String(length=100), nullable=False),
        sa.Column("tenant_id", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("bin", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        sa.Column("peak", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint(
            "grain", "measure", "start", "task_type", "queue", "tenant_id", "status", "bin"
        ),
        sqlite_with_rowid=False,
    )
    _create_index("ty_runs_queue", "ty_runs", ["queue", "claimed_at", "id"], unique=False)
    _create_index(
        "ty_runs_tenant",
        "ty_runs",
        ["tenant_id", "claimed_at", "id"],
        unique=False,
        postgresql_where=sa.text("tenant_id <> ''"),
        sqlite_where=sa.text("tenant_id <> ''"),
    )


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ty_runs_tenant", table_name="ty_runs")
    op.drop_index("ty_runs_queue", table_name="ty_runs")
    for name in (
        "ty_audit",
        "ty_idempotency",
        "ty_login_attempts",
        "ty_logins",
        "ty_queue_seen",
        "ty_stats",
        "ty_tenants",
        "ty_tokens",
        "ty_uncounted",
        "ty_users",
    ):
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
