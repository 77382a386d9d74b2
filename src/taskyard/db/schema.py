"""Schema: the platform's own tables, as data.

Owns the columns of `queue_configs` and of every `ty_*` table (contract 1). Migrations build them;
task tables, which may belong to others, are `tables.py`'s. Times of these tables are UTC.
"""

from __future__ import annotations

from typing import Any

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


def _table(name: str, *parts: sa.schema.SchemaItem, **options: Any) -> sa.Table:
    return sa.Table(
        name,
        metadata,
        *parts,
        **options,
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
    sa.Column("execute_index", sa.BigInteger),
    sa.Index("ty_runs_claimed", "claimed_at", "id"),
    sa.Index("ty_runs_type", "task_type", "claimed_at", "id"),
    # Costs a settle 1 to 3 µs a Run. By what else a list is narrowed, it looks a part at a time.
    sa.Index("ty_runs_queue", "queue", "claimed_at", "id"),
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
    # An installation without tenants must not pay for them at every settle.
    sa.Index(
        "ty_runs_tenant",
        "tenant_id",
        "claimed_at",
        "id",
        postgresql_where=sa.text("tenant_id <> ''"),
        sqlite_where=sa.text("tenant_id <> ''"),
    ),
    sa.Index(
        "ty_runs_schedule",
        "schedule_id",
        "claimed_at",
        "id",
        postgresql_where=sa.text("schedule_id IS NOT NULL"),
        sqlite_where=sa.text("schedule_id IS NOT NULL"),
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

# Rows may be inserted and changed by SQL: `name`, `task_type` and a rule are enough.
schedules = _table(
    "ty_schedules",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("task_type", sa.String(255), nullable=False),
    sa.Column("task_params", LongText),
    sa.Column("queue", sa.String(100)),
    sa.Column("cron_expression", sa.String(255)),
    sa.Column("interval_seconds", Float),
    sa.Column("dialect", sa.String(10), nullable=False, server_default="unix"),
    sa.Column("time_zone", sa.String(64)),
    sa.Column("retry_count", sa.Integer),
    sa.Column("retry_interval", Float),
    sa.Column("monitor_timeout", Float),
    sa.Column("timeout", Float),
    sa.Column("misfire", sa.String(10), nullable=False, server_default="one"),
    sa.Column("misfire_window", Float),
    sa.Column("overlap", sa.String(10), nullable=False, server_default="allow"),
    sa.Column("jitter", Float, nullable=False, server_default="0"),
    sa.Column("start_at", Moment),
    sa.Column("end_at", Moment),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("source", sa.String(10), nullable=False, server_default="sql"),
    sa.Column("problem", LongText),
    sa.Column("next_fire_at", Moment),
    sa.Column("last_fire_at", Moment),
    sa.Column("last_lateness", Float),
    sa.Column("last_missed_at", Moment),
    sa.Column("last_task_table", sa.String(100)),
    sa.Column("last_task_id", sa.BigInteger),
    sa.Column("fired", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("skipped", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("missed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("declared", LongText),
    sa.Column("seen", LongText),
    sa.Column("created_at", Moment),
    sa.Column("updated_at", Moment),
    sa.Index("ty_schedules_name", "tenant_id", "name", unique=True),
    sa.Index("ty_schedules_due", "status", "next_fire_at"),
    # Runs and fires name schedules by their ids.
    sqlite_autoincrement=True,
)

fires = _table(
    "ty_fires",
    sa.Column("schedule_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("fire_time", Moment, primary_key=True),
    sa.Column("task_table", sa.String(100), nullable=False),
    sa.Column("task_id", sa.BigInteger, nullable=False),
    sa.Column("fired_at", Moment, nullable=False),
    sa.Column("lateness", Float, nullable=False),
)

tenants = _table(
    "ty_tenants",
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)

users = _table(
    "ty_users",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("username", sa.String(100), nullable=False, unique=True),
    sa.Column("password_hash", LongText),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("tenants", LongText, nullable=False),
    sa.Column("grants", LongText, nullable=False),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("last_login_at", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    # The audit names users by their ids: none may come back as another user's.
    sqlite_autoincrement=True,
)

# Secrets are kept as hashes only: of a token, a sign-in or a sign-in link nothing can be read back.
tokens = _table(
    "ty_tokens",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("public_id", sa.String(16), nullable=False, unique=True),
    sa.Column("secret_hash", sa.String(64), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("tenants", LongText),
    sa.Column("scopes", LongText),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("last_used_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Index("ty_tokens_user", "user_id"),
    sqlite_autoincrement=True,
)

logins = _table(
    "ty_logins",
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(10), nullable=False),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    sa.Column("address", sa.String(64)),
    sa.Column("user_agent", sa.String(255)),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("seen_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Index("ty_logins_user", "user_id"),
)

login_attempts = _table(
    "ty_login_attempts",
    sa.Column("name", sa.String(190), primary_key=True),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("since", Moment, nullable=False),
)

audit = _table(
    "ty_audit",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("actor", sa.String(150), nullable=False),
    sa.Column("user_id", sa.BigInteger),
    sa.Column("token_id", sa.BigInteger),
    sa.Column("address", sa.String(64)),
    sa.Column("request_id", sa.String(64)),
    sa.Column("action", sa.String(50), nullable=False),
    sa.Column("object", sa.String(190), nullable=False),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("before", LongText),
    sa.Column("after", LongText),
    sa.Column("seal", sa.String(64)),
    sa.Index("ty_audit_object", "object", "id"),
    sa.Index("ty_audit_at", "at"),
    # The chain of seals goes by the ids: the newest row's must not be given again when it is gone.
    sqlite_autoincrement=True,
)

queue_seen = _table(
    "ty_queue_seen",
    sa.Column("queue_name", sa.String(100), primary_key=True),
    sa.Column("state", LongText, nullable=False),
)

idempotency = _table(
    "ty_idempotency",
    sa.Column("key_hash", sa.String(64), primary_key=True),
    sa.Column("request_hash", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("body", LongText),
    sa.Column("created_at", Moment, nullable=False),
)

# A row for each transaction that ended Runs, until they are counted.
uncounted = _table(
    "ty_uncounted",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("run_ids", LongText, nullable=False),
)

stats = _table(
    "ty_stats",
    sa.Column("grain", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("measure", sa.String(10), primary_key=True),
    sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("task_type", sa.String(255), primary_key=True),
    sa.Column("queue", sa.String(100), primary_key=True),
    sa.Column("tenant_id", sa.String(64), primary_key=True),
    sa.Column("status", sa.String(20), primary_key=True),
    sa.Column("bin", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("total", Float, nullable=False),
    sa.Column("peak", Float, nullable=False),
    sqlite_with_rowid=False,
)

alert_rules = _table(
    "ty_alert_rules",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("filters", LongText, nullable=False),
    sa.Column("settings", LongText, nullable=False),
    sa.Column("channels", LongText, nullable=False),
    sa.Column("remind_every", Float, nullable=False),
    sa.Column("resolve_after", Float, nullable=False),
    sa.Column("silenced_until", Moment),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("state", LongText),
    sa.Column("problem", LongText),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ty_alert_rules_name", "tenant_id", "name", unique=True),
    # Incidents and the audit name rules by their ids.
    sqlite_autoincrement=True,
)

channels = _table(
    "ty_channels",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("settings", LongText, nullable=False),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("status", sa.SmallInteger, nullable=False, server_default="1"),
    sa.Column("last_sent_at", Moment),
    sa.Column("last_error", LongText),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ty_channels_name", "tenant_id", "name", unique=True),
    sqlite_autoincrement=True,
)

# `active_key` is the rule and the subject while an incident is not over, and null afterwards: so a
# subject has one at a time.
incidents = _table(
    "ty_incidents",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("rule_id", sa.BigInteger, nullable=False),
    sa.Column("rule_name", sa.String(100), nullable=False),
    sa.Column("kind", sa.String(30), nullable=False),
    sa.Column("subject", sa.String(300), nullable=False),
    sa.Column("active_key", sa.String(330), unique=True),
    sa.Column("summary", LongText, nullable=False),
    sa.Column("state", sa.String(15), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", Moment, nullable=False),
    sa.Column("last_at", Moment, nullable=False),
    sa.Column("run_id", sa.BigInteger),
    sa.Column("details", LongText, nullable=False),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("acknowledged_by", sa.String(150)),
    sa.Column("acknowledged_at", Moment),
    sa.Column("silenced_until", Moment),
    sa.Column("resolved_by", sa.String(150)),
    sa.Column("resolved_at", Moment),
    sa.Column("notified_at", Moment),
    sa.Column("messages", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ty_incidents_state", "state", "id"),
    sa.Index("ty_incidents_rule", "rule_id", "id"),
    sqlite_autoincrement=True,
)

# A row for each transaction that counted Runs that ended badly, until the alert rules have seen
# them.
failures = _table(
    "ty_failures",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("run_ids", LongText, nullable=False),
)

# `active_key` is tenant and type while a batch is live, and null afterwards: so there is one at a
# time. `next_item` is a low-water mark: no item before it waits, except for its next attempt.
# `unfinished` says that somebody has begun what a chore finishes if it breaks off: to fill it, or
# to deal with the items that an end has left.
batches = _table(
    "ty_batches",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("task_type", sa.String(50), nullable=False),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("active_key", sa.String(130), unique=True),
    sa.Column("unfinished", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("params", LongText),
    sa.Column("concurrency", sa.Integer, nullable=False),
    sa.Column("rate_limit", Float),
    sa.Column("pause", Float),
    sa.Column("max_retries", sa.Integer, nullable=False),
    sa.Column("stop_after", sa.BigInteger),
    sa.Column("on_inflight", sa.String(20), nullable=False),
    sa.Column("notify", LongText),
    sa.Column("template_id", sa.BigInteger),
    sa.Column("total_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("processed_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("success_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("failed_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("skipped_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("failed_before", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("next_item", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("next_free", Float, nullable=False, server_default="0"),
    sa.Column("rate", Float),
    sa.Column("rate_from", Float),
    sa.Column("rate_count", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_by", sa.String(150), nullable=False),
    sa.Column("error", LongText),
    sa.Column("started_at", Moment),
    sa.Column("completed_at", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ty_batches_status", "status", "id"),
    sa.Index("ty_batches_tenant", "tenant_id", "id"),
    sa.Index("ty_batches_unfinished", "unfinished"),
    # Items, Runs and the audit name batches by their ids.
    sqlite_autoincrement=True,
)

# `run_id` is the Run that has (or had last) the item; `due` is when an item that waits for another
# attempt may have it, in seconds since 1970.
batch_items = _table(
    "ty_batch_items",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("batch_id", sa.BigInteger, nullable=False),
    sa.Column("item_id", sa.String(190), nullable=False),
    sa.Column("data", LongText),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("result", LongText),
    sa.Column("error", LongText),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("retry_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("crashes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("run_id", sa.BigInteger),
    sa.Column("due", Float),
    sa.Column("duration", Float),
    sa.Column("started_at", Moment),
    sa.Column("completed_at", Moment),
    sa.Index("ty_batch_items_item", "batch_id", "item_id", unique=True),
    sa.Index("ty_batch_items_status", "batch_id", "status", "id"),
    sa.Index(
        "ty_batch_items_due",
        "batch_id",
        "due",
        postgresql_where=sa.text("due IS NOT NULL"),
        sqlite_where=sa.text("due IS NOT NULL"),
    ),
)

# The Tasks that work for a batch: one a slot, as many slots as its concurrency.
batch_slots = _table(
    "ty_batch_slots",
    sa.Column("batch_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("slot", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("task_table", sa.String(100), nullable=False),
    sa.Column("task_id", sa.BigInteger, nullable=False),
)

batch_templates = _table(
    "ty_batch_templates",
    sa.Column("id", Id, primary_key=True, autoincrement=True),
    sa.Column("tenant_id", sa.String(64), nullable=False, server_default=""),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("task_type", sa.String(50), nullable=False),
    sa.Column("fields", LongText, nullable=False),
    sa.Column("variables", LongText, nullable=False),
    sa.Column("created_by", sa.String(150), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ty_batch_templates_name", "tenant_id", "name", unique=True),
    sqlite_autoincrement=True,
)
