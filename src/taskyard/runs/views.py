"""Views: history and schedules in the words of the requirements, for reports that expect them.

Owns the read-only views that `taskyard db views` makes, and that nothing of somebody else's is
replaced. A view knows the task tables that were there when it was made (live Runs stand in them),
so it is made again when there is another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from taskyard.core.errors import ViewTaken
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Source
from taskyard.runs.listed import live_sources

_OURS = ("ty_runs", "ty_schedules")
"""One of these stands in the text of each of our views."""

_HISTORY_STATUS = """
CASE status WHEN 'running' THEN 'started' WHEN 'completed' THEN 'success'
 WHEN 'failed' THEN 'failed' WHEN 'timeout' THEN 'failed' ELSE 'unknown' END
"""

_LOG_STATUS = "CASE status WHEN 'completed' THEN 1 WHEN 'running' THEN NULL ELSE 0 END"

_MILLISECONDS = "CASE WHEN completed_at IS NOT NULL THEN ROUND(execution_time * 1000) END"


@dataclass(frozen=True, slots=True)
class View:
    """A view: its columns by name, as expressions over one Run or one Schedule."""

    name: str
    columns: Mapping[str, str]
    source: str = "runs"
    where: str = "1 = 1"


def make_views(db: Database, prefix: str = "") -> list[str]:
    """Make the views, or make them anew; returns their names.

    `prefix` stands before each name, where a table has it already. Raises ViewTaken, and what the
    database says to an account that may make no views.
    """
    views = _views(db)
    _check_free(db, [prefix + view.name for view in views])

    def work(tx: Tx) -> list[str]:
        runs = _runs(tx)
        for view in views:
            name = tx.dialect.quote(prefix + view.name)
            tx.execute(f"DROP VIEW IF EXISTS {name}")
            tx.execute(f"CREATE VIEW {name} AS {_select(tx, view, runs)}")
        return [prefix + view.name for view in views]

    return db.run(work)


def drop_views(db: Database, prefix: str = "") -> list[str]:
    """Drop the views that are there; returns their names. Raises ViewTaken."""
    names = [prefix + view.name for view in _views(db)]
    there = _check_free(db, names)
    db.run(lambda tx: [tx.execute(f"DROP VIEW {tx.dialect.quote(name)}") for name in there])
    return there


def _check_free(db: Database, names: Iterable[str]) -> list[str]:
    """Those of the names that are views of ours; raises ViewTaken for what is not."""
    inspector = sa.inspect(db.engine)
    tables, views = set(inspector.get_table_names()), set(inspector.get_view_names())
    ours = []
    for name in names:
        if name in views and _is_ours(inspector.get_view_definition(name)):
            ours.append(name)
        elif name in views | tables:
            raise ViewTaken(name)
    return ours


def _is_ours(definition: str | None) -> bool:
    return any(table in (definition or "") for table in _OURS)


# --- what stands in them --------------------------------------------------------------------------


def _views(db: Database) -> tuple[View, ...]:
    details = db.dialect.json_of(
        {"status": "status", "message": "error", "original-info": "payload"}
    )
    return (
        View(
            "job_runs",
            {
                **_same("id"),
                "job_id": "task_id",
                "job_class": "task_type",
                **_same("queue", "status", "payload", "output", "error", "memory_usage"),
                **_same("execution_time", "started_at", "completed_at", "created_at"),
                **_same("updated_at"),
            },
        ),
        View(
            "task_history",
            {
                **_same("id"),
                "task": "task_type",
                "status": _HISTORY_STATUS,
                **_same("started_at"),
                "ended_at": "completed_at",
                "duration": _MILLISECONDS,
                "task_details": f"CASE WHEN error IS NULL THEN payload ELSE {details} END",
            },
        ),
        View(
            "infra_job",
            {
                **_same("id", "name", "status"),
                "handlerName": "task_type",
                "handlerParam": "task_params",
                "cronExpression": "cron_expression",
                "retryCount": "retry_count",
                "retryInterval": "retry_interval",
                "monitorTimeout": "monitor_timeout",
            },
            source="ty_schedules",
        ),
        View(
            "infra_job_log",
            {
                **_same("id"),
                "jobId": "schedule_id",
                "handlerName": "task_type",
                "handlerParam": "payload",
                "executeIndex": "execute_index",
                "beginTime": "started_at",
                "endTime": "completed_at",
                "duration": _MILLISECONDS,
                "status": _LOG_STATUS,
                "result": "COALESCE(error, output)",
            },
            where="schedule_id IS NOT NULL",
        ),
    )


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


_RUN = (
    *("id", "task_id", "task_type", "queue", "status", "schedule_id", "execute_index"),
    *("payload", "output", "error", "memory_usage", "execution_time"),
    *("started_at", "completed_at", "created_at", "updated_at"),
)
"""What of a Run the views are made of."""


def _select(tx: Tx, view: View, runs: str) -> str:
    columns = ", ".join(
        f"{expression} AS {tx.dialect.quote(name)}" for name, expression in view.columns.items()
    )
    if view.source == "runs":
        return f"SELECT {columns} FROM ({runs}) AS runs WHERE {view.where}"
    # Of one table alone a view could be written through.
    part = f"SELECT {columns} FROM {view.source}"
    return f"{part} WHERE {view.where} UNION ALL {part} WHERE 1 = 0"


def _runs(tx: Tx) -> str:
    """All Runs, those that live among those that ended."""
    ended = f"SELECT {', '.join(_RUN)} FROM ty_runs"
    return " UNION ALL ".join([ended, *(_live(tx, source) for source in live_sources(tx))])


def _live(tx: Tx, source: Source) -> str:
    claimed = tx.dialect.utc_from("claimed_at / 1000000.0")
    exact = {name: tx.dialect.exact(source.column(name)) for name in ("task_type", "payload")}
    known = exact | dict.fromkeys(("started_at", "created_at", "updated_at"), claimed)
    columns = ", ".join(f"{known.get(name, source.column(name))} AS {name}" for name in _RUN)
    return f"SELECT {columns} FROM {source.table} WHERE {source.where}"
