"""Listed: what may be asked of the list of Runs, and where its rows are found.

Owns the declaration of the list and its sources. A finished Run is a row of `ty_runs`; a live one
is its Task's row, which still has an owner (rulings 3.3). The verbs are `browse.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from taskyard.core.errors import QueryInvalid, QueueUnknown
from taskyard.core.lifecycle import Origin, RunStatus
from taskyard.db.database import Tx
from taskyard.db.listing import (
    Filter,
    Listing,
    Operator,
    Source,
    integer,
    microseconds,
    one_of,
    read_filter,
    seconds,
)
from taskyard.db.rows import MAKERS
from taskyard.db.search import Way
from taskyard.db.tables import task_tables

RUNS = Listing(
    columns=(
        "id",
        "task_table",
        "task_id",
        "fence",
        "attempt",
        "task_type",
        "queue",
        "status",
        "origin",
        "tenant_id",
        "schedule_id",
        "batch_id",
        "execute_index",
        "server_id",
        "session",
        "pid",
        "memory_usage",
        "cpu_time",
        "wait_time",
        "execution_time",
        "started_at",
        "completed_at",
        "claimed_at",
    ),
    large=("payload", "output", "error"),
    filters={
        "status": Filter("status", read=one_of(*RunStatus), help="What became of it."),
        "task_type": Filter("task_type", help="Its handler."),
        "queue": Filter("queue", help="The queue that claimed it."),
        "server_id": Filter("server_id", help="The server it ran on."),
        "tenant_id": Filter("tenant_id", help="Whose it is; empty is the platform's."),
        "schedule_id": Filter("schedule_id", read=integer, help="The schedule that fired it."),
        "batch_id": Filter("batch_id", read=integer, help="The batch it worked for."),
        "task_id": Filter("task_id", read=integer, help="Its task's id, in whichever table."),
        "task_table": Filter("task_table", help="The table of its task."),
        "origin": Filter("origin", read=one_of(*Origin), help="Why it happened."),
        "from": Filter("claimed_at", Operator.FROM, microseconds, "Started then or later."),
        "to": Filter("claimed_at", Operator.TO, microseconds, "Started before then."),
        "min_duration": Filter("execution_time", Operator.FROM, seconds, "Took so long at least."),
        "max_duration": Filter("execution_time", Operator.TO, seconds, "Took less than that."),
        "min_memory": Filter("memory_usage", Operator.FROM, integer, "Bytes at its peak at least."),
        "error": Filter("error", Operator.CONTAINS, help="With this in its error."),
        "q": Filter("error", Operator.CONTAINS, help="The same, for a search box."),
    },
    # Live and finished Runs have one sort key, stamped at the claim. Ids are no order of time.
    sorts={"started_at": "claimed_at", "claimed_at": "claimed_at"},
    sort="-started_at",
    loose_sorts={
        "completed_at": "by_completed_at",
        "execution_time": "by_execution_time",
        "wait_time": "by_wait_time",
        "memory_usage": "by_memory_usage",
        "task_type": "task_type",
        "status": "status",
    },
)
"""What may be asked of the list of Runs.

Besides, `task` takes a Task as QUEUE/ID, and `params.PATH` a value in the payload (`paths.py`).
"""

_WORD_SOURCES = 20
"""Words of one filter for which the index of each is walked."""

_INDEXED = {"queue": "ty_runs_queue", "task_type": "ty_runs_type", "tenant_id": "ty_runs_tenant"}
"""Columns that have an index in the order of claims."""

_NEVER = 1e11
"""The end, in seconds since 1970, of what has none yet."""


def find_task(tx: Tx, filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filters with `task` (QUEUE/ID) as its table and id. Raises QueryInvalid, QueueUnknown."""
    found = dict(filters)
    ref = found.pop("task", None)
    if ref is None:
        return found
    queue, slash, number = str(ref).rpartition("/")
    if not slash or not number.isascii() or not number.isdigit():
        raise QueryInvalid("task", f'"{ref}" is no task.', "Name it QUEUE/ID, like email_queue/42.")
    known = dict(tx.all("SELECT queue_name, table_name FROM queue_configs"))
    if queue not in known:
        raise QueueUnknown(queue, known)
    return found | {"task_table": [known[queue]], "task_id": int(number)}


def ways(tx: Tx, filters: Mapping[str, Any], gone: Collection[str] = ()) -> list[Way]:
    """The ways to the Runs of these filters, each along an index; without the tables in `gone`."""
    live = [] if _leaves_out_live(filters) else _live_of(tx, filters, gone)
    finished = _finished_source(tx)
    if filters.get("task_id") is not None:
        return [[replace(finished, few=True), *live]]

    def along(index: str) -> Source:
        return replace(finished, table=tx.dialect.along("ty_runs", index))

    narrow = [_statuses(along("ty_runs_status"), filters)]
    narrow += [_words(along(index), filters, column) for column, index in _INDEXED.items()]
    every = [along("ty_runs_claimed")]
    return [[*sources, *live] for sources in (*narrow, every) if sources]


def live_sources(tx: Tx, gone: Collection[str] = ()) -> list[Source]:
    """The live Runs of every task table."""
    tables = [table for table in task_tables(tx) if table not in gone]
    return [_live_source(tx, number, table) for number, table in enumerate(tables)]


# --- finished ------------------------------------------------------------------------------------


def _finished_source(tx: Tx) -> Source:
    ended = tx.dialect.epoch("completed_at")
    return Source(
        "ty_runs",
        columns={
            "by_completed_at": f"COALESCE({ended}, {_NEVER})",
            "by_execution_time": "COALESCE(execution_time, -1)",
            "by_wait_time": "COALESCE(wait_time, -1)",
            "by_memory_usage": "COALESCE(memory_usage, -1)",
        },
    )


def _statuses(finished: Source, filters: Mapping[str, Any]) -> list[Source]:
    """A source a status, because the index is in order for one status only.

    Those that completed are not in it. The second condition is that of the partial index, which
    SQLite wants to read word for word.
    """
    asked = filters.get("status")
    statuses = [] if asked is None else read_filter(RUNS, "status", asked)
    if RunStatus.COMPLETED in statuses:
        return []
    return [
        replace(
            finished,
            where=f"status = '{RunStatus(status)}' AND status <> 'completed'",
            settles=frozenset({"status"}),
        )
        for status in dict.fromkeys(statuses)
    ]


def _words(finished: Source, filters: Mapping[str, Any], column: str) -> list[Source]:
    asked = filters.get(column)
    words = [] if asked is None else list(dict.fromkeys(read_filter(RUNS, column, asked)))
    if len(words) > _WORD_SOURCES or (column == "tenant_id" and "" in words):
        return []  # the platform's own are not in the index of tenants
    partial = " AND tenant_id <> ''" if column == "tenant_id" else ""
    return [
        replace(
            finished,
            where=f"{column} = :_{column}_{number}{partial}",
            parameters={f"_{column}_{number}": word},
            settles=frozenset({column}),
        )
        for number, word in enumerate(words)
    ]


# --- live ----------------------------------------------------------------------------------------


def _leaves_out_live(filters: Mapping[str, Any]) -> bool:
    """Do the filters ask for what no live Run has?"""
    asked = filters.get("status")
    running = asked is None or RunStatus.RUNNING in read_filter(RUNS, "status", asked)
    return not running or any(filters.get(name) is not None for name in ("q", "error"))


def _live_of(tx: Tx, filters: Mapping[str, Any], gone: Collection[str]) -> list[Source]:
    only = filters.get("task_table")
    if only is None:
        return live_sources(tx, gone)
    tables = set(read_filter(RUNS, "task_table", only))
    return [source for source in live_sources(tx, gone) if tables & {*source.parameters.values()}]


def _live_source(tx: Tx, number: int, table: str) -> Source:
    """A task table's owned rows, as Runs. NULLIF(x, x) is a null of the type of x."""
    moment = f"CAST(NULL AS {tx.dialect.time_type})"
    text = "NULLIF(owner, owner)"
    whole = "NULLIF(run_id, run_id)"
    number_ = "NULLIF(timeout, timeout)"
    now = tx.dialect.epoch(tx.dialect.utc_now)
    running_for = f"({now} - claimed_at / 1000000.0)"
    return Source(
        table=tx.dialect.quote(table),
        where="owner IS NOT NULL",
        columns={
            "id": "run_id",
            "task_table": f":_table_{number}",
            "task_id": "id",
            "attempt": "COALESCE(retry_count, 0) + 1",
            "status": "'running'",
            **{name: tx.dialect.in_context("context", name) for name in MAKERS},
            "session": "owner",
            "pid": whole,
            "memory_usage": whole,
            "cpu_time": number_,
            "wait_time": number_,
            "execution_time": running_for,
            "started_at": moment,
            "completed_at": moment,
            "payload": tx.dialect.as_text("task_params"),
            "output": text,
            "error": text,
            "by_completed_at": str(_NEVER),
            "by_execution_time": running_for,
            "by_wait_time": "-1",
            "by_memory_usage": "-1",
        },
        parameters={f"_table_{number}": table},
        few=True,
    )
