"""Alembic's entry: runs the revisions on the connection that `db.migrate` hands over."""

from __future__ import annotations

from typing import Any

from alembic import context

from taskyard.db.schema import metadata

connection = context.config.attributes.get("connection")
options: dict[str, Any] = {
    "target_metadata": metadata,
    "render_as_batch": True,
    "version_table": "ty_schema",
}

if connection is None:
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        literal_binds=True,
        as_sql=True,
        **options,
    )
else:
    context.configure(connection=connection, **options)

with context.begin_transaction():
    context.run_migrations()
