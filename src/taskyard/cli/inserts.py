"""Inserts: the SQL that puts a Task into a queue, for a program that only speaks SQL.

Owns the text of `queue sql`: a handler of the queue with parameters of the right types, now and
later, in the words of the database at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from taskyard.cli.adding import live_specs
from taskyard.cli.faults import warn
from taskyard.cli.invocation import Invocation
from taskyard.core.errors import HandlerImportFailed

if TYPE_CHECKING:
    from taskyard.db.database import Database
    from taskyard.handlers import HandlerSpec

_SAMPLES = {"string": "…", "integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}


def insert_statements(here: Invocation, name: str) -> str:
    """The INSERTs for a queue; raises QueueUnknown."""
    from taskyard.queues import get_queue

    database = here.database()
    queue = get_queue(database, name)
    spec = _handler_of(here, name)
    task_type = spec.name if spec else "HANDLER"
    params = _sample_params(spec) if spec else {"name": "value"}
    text = orjson.dumps(params).decode()
    values = {"task_type": _quoted(task_type), "task_params": _quoted(text)}
    table = database.dialect.quote(queue.table_name)
    now = (
        {} if _has_default(database, queue.table_name) else {"schedule_time": database.dialect.now}
    )
    later = {"schedule_time": database.dialect.after("300")}
    return (
        f"-- Now:\n{_insert(table, values | now)}"
        f"-- In five minutes, before others, with one retry:\n"
        f"{_insert(table, values | later | {'priority': '10', 'max_retries': '1'})}"
    )


def _handler_of(here: Invocation, queue: str) -> HandlerSpec | None:
    """A handler that names this queue, of the application here or of a live server."""
    try:
        application = here.application(here.settings())
    except HandlerImportFailed as error:
        warn(error)
        application = None
    specs = [handler.spec for handler in application.registry] if application else []
    specs += live_specs(here).values()
    return next((spec for spec in specs if spec.queue == queue), None)


def _sample_params(spec: HandlerSpec) -> dict[str, Any]:
    """A value of the right type for each parameter that must be given."""
    properties = spec.parameters.get("properties", {})
    required = spec.parameters.get("required", [])
    return {name: _SAMPLES.get(properties[name].get("type", ""), "…") for name in required}


def _has_default(database: Database, table: str) -> bool:
    """May schedule_time be left out? Not in a table that SQLite adopted (rulings 2.8)."""
    from taskyard.db.tables import columns_of

    columns = columns_of(database, table) or {}
    column = columns.get("schedule_time")
    return column is None or column.get("default") is not None


def _insert(table: str, values: dict[str, str]) -> str:
    return f"INSERT INTO {table} ({', '.join(values)})\nVALUES ({', '.join(values.values())});\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
