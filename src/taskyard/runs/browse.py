"""Browse: Runs as people look at them, the live ones among the finished.

Owns the list of Runs, one Run in full, and which task types there are. A finished Run is a row of
`ty_runs`; a live one is its Task's row, which still has an owner (rulings 3.3). Reads only: who
writes is `record.py` and `tasks/settle.py`; logs are `logs.py`'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from taskyard.core.errors import QueryInvalid, QueueUnknown, RunUnknown
from taskyard.core.lifecycle import Origin, RunStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import (
    Filter,
    Listing,
    Operator,
    Page,
    Query,
    Source,
    integer,
    microseconds,
    one_of,
    page,
    read_filter,
    seconds,
    utc,
)
from taskyard.db.tables import task_tables

SEARCH_DEPTH = 100_000
"""How many of the newest Runs the filter `q` looks into: error texts have no index."""

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
        "status": Filter("status", read=one_of(*RunStatus)),
        "task_type": Filter("task_type"),
        "queue": Filter("queue"),
        "server_id": Filter("server_id"),
        "tenant_id": Filter("tenant_id"),
        "origin": Filter("origin", read=one_of(*Origin)),
        "task_table": Filter("task_table"),
        "task_id": Filter("task_id", read=integer),
        "schedule_id": Filter("schedule_id", read=integer),
        "batch_id": Filter("batch_id", read=integer),
        "from": Filter("claimed_at", Operator.FROM, microseconds),
        "to": Filter("claimed_at", Operator.TO, microseconds),
        "min_duration": Filter("execution_time", Operator.FROM, seconds),
        "q": Filter("error", Operator.CONTAINS),
    },
    # Live and finished Runs have one sort key, stamped at the claim. Ids are no order of time.
    sorts={"started_at": "claimed_at", "claimed_at": "claimed_at"},
    sort="-started_at",
)
"""What may be asked of the list of Runs; besides, `task` takes a Task as QUEUE/ID."""

_FINISHED = Source("ty_runs")


def list_runs(db: Database, query: Query) -> Page:
    """One page of Runs, live and finished, at one moment; the newest first unless asked otherwise.

    Raises QueryInvalid, or QueueUnknown for a `task` of no queue.
    """

    def work(tx: Tx) -> Page:
        asked = _narrow(tx, query)
        found = page(tx, RUNS, _sources(tx, asked), asked)
        return replace(found, rows=[_presented(row) for row in found.rows])

    try:
        return db.read(work)
    except Exception as error:
        if not db.dialect.is_table_missing(error):
            raise
        # Somebody dropped a task table and no Server has noticed yet.
        gone = _gone(db)
        return db.read(lambda tx: _list_without(tx, query, gone))


def show_run(db: Database, run_id: int) -> dict[str, Any]:
    """One Run with payload, output, error and, while it lives, `progress`; raises RunUnknown."""
    for look in (_finished, _live, _finished):  # it may end between the first look and the second
        run = db.read(partial(look, run_id=run_id))
        if run is not None:
            return _presented(run)
    raise RunUnknown(run_id)


def task_types(db: Database) -> list[str]:
    """The task types that Runs were made of, finished or live."""

    def work(tx: Tx) -> list[str]:
        found = set(_walk_types(tx))
        for source in _live_sources(tx, task_tables(tx)):
            rows = tx.all(f"SELECT DISTINCT task_type FROM {source.table} WHERE {source.where}")
            found.update(row[0] for row in rows)
        return sorted(found)

    return db.read(work)


# --- the list ------------------------------------------------------------------------------------


def _narrow(tx: Tx, query: Query) -> Query:
    """Turn the filters that are no single column into those that are."""
    filters = dict(query.filters)
    task = filters.pop("task", None)
    if task is not None:
        table, task_id = _task(tx, str(task))
        filters |= {"task_table": [table], "task_id": task_id}
    if filters.get("q") is not None:
        given = filters.get("from")
        since = 0 if given is None else read_filter(RUNS, "from", given)[0]
        filters["from"] = _moment(max(since, _search_floor(tx)))
    return replace(query, filters=filters)


def _task(tx: Tx, ref: str) -> tuple[str, int]:
    queue, slash, number = ref.rpartition("/")
    if not slash or not number.isascii() or not number.isdigit():
        raise QueryInvalid("task", f'"{ref}" is no task.', "Name it QUEUE/ID, like email_queue/42.")
    known = dict(tx.all("SELECT queue_name, table_name FROM queue_configs"))
    if queue not in known:
        raise QueueUnknown(queue, known)
    return known[queue], int(number)


def _search_floor(tx: Tx) -> int:
    """The claim time of the oldest Run that a search looks into, by the index alone."""
    found = tx.value(
        "SELECT claimed_at FROM ty_runs ORDER BY claimed_at DESC, id DESC LIMIT 1 OFFSET :depth",
        depth=SEARCH_DEPTH,
    )
    return int(found or 0)


def _sources(tx: Tx, query: Query) -> list[Source]:
    asked = query.filters.get("status")
    statuses = list(RunStatus) if asked is None else read_filter(RUNS, "status", asked)
    finished = [_FINISHED]
    if RunStatus.COMPLETED not in statuses:
        # A source a status, because (status, claimed_at, id) is in order for one status only. The
        # second condition is that of the partial index, which SQLite wants to read word for word.
        finished = [
            replace(_FINISHED, where=f"status = '{RunStatus(status)}' AND status <> 'completed'")
            for status in dict.fromkeys(statuses)
        ]
    if RunStatus.RUNNING not in statuses or query.filters.get("q") is not None:
        return finished
    only = query.filters.get("task_table")
    return finished + _live_sources(tx, [t for t in task_tables(tx) if only is None or t in only])


def _live_sources(tx: Tx, tables: Sequence[str]) -> list[Source]:
    return [_live_source(tx, number, table) for number, table in enumerate(tables)]


def _live_source(tx: Tx, number: int, table: str) -> Source:
    """A task table's owned rows, as Runs. NULLIF(x, x) is a null of the type of x."""
    moment = f"CAST(NULL AS {tx.dialect.time_type})"
    text = "NULLIF(owner, owner)"
    whole = "NULLIF(run_id, run_id)"
    number_ = "NULLIF(timeout, timeout)"
    now = tx.dialect.epoch(tx.dialect.utc_now)
    return Source(
        table=tx.dialect.quote(table),
        where="owner IS NOT NULL",
        columns={
            "id": "run_id",
            "task_table": f":_table_{number}",
            "task_id": "id",
            "attempt": "COALESCE(retry_count, 0) + 1",
            "status": "'running'",
            "schedule_id": whole,
            "batch_id": whole,
            "session": "owner",
            "pid": whole,
            "memory_usage": whole,
            "cpu_time": number_,
            "wait_time": number_,
            "execution_time": f"({now} - claimed_at / 1000000.0)",
            "started_at": moment,
            "completed_at": moment,
            "payload": text,
            "output": text,
            "error": text,
        },
        parameters={f"_table_{number}": table},
    )


def _list_without(tx: Tx, query: Query, gone: set[str]) -> Page:
    asked = _narrow(tx, query)
    quoted = {tx.dialect.quote(table) for table in gone}
    sources = [source for source in _sources(tx, asked) if source.table not in quoted]
    found = page(tx, RUNS, sources, asked)
    return replace(found, rows=[_presented(row) for row in found.rows])


def _gone(db: Database) -> set[str]:
    """The task tables that cannot be read."""
    gone = set()
    for table in db.read(task_tables):
        try:
            db.read(partial(_probe, table=table))
        except Exception as error:
            if not db.dialect.is_table_missing(error):
                raise
            gone.add(table)
    return gone


def _probe(tx: Tx, table: str) -> None:
    tx.all(f"SELECT run_id FROM {tx.dialect.quote(table)} WHERE owner IS NOT NULL LIMIT 1")


def _presented(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with its times as aware datetimes. A live Run has been running since its claim."""
    run = dict(row)
    for name in ("started_at", "completed_at", "created_at", "updated_at"):
        if name in run:
            run[name] = utc(run[name])
    if run["status"] == RunStatus.RUNNING:
        run["started_at"] = run["started_at"] or _moment(run["claimed_at"])
    return run


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


# --- one run -------------------------------------------------------------------------------------


def _finished(tx: Tx, run_id: int) -> dict[str, Any] | None:
    columns = ", ".join((*RUNS.columns, *RUNS.large, "created_at", "updated_at"))
    rows = tx.rows(f"SELECT {columns} FROM ty_runs WHERE id = :id", id=run_id)
    return rows[0] | {"progress": None} if rows else None


def _live(tx: Tx, run_id: int) -> dict[str, Any] | None:
    for source in _live_sources(tx, task_tables(tx)):
        found = _live_in(tx, source, run_id)
        if found is not None:
            moment = _moment(found["claimed_at"])
            return found | {
                "progress": _progress(tx, found),
                "created_at": moment,
                "updated_at": moment,
            }
    return None


def _live_in(tx: Tx, source: Source, run_id: int) -> dict[str, Any] | None:
    """The live Run of this id; through the index of owned rows, which are few."""
    here = replace(source, columns={**source.columns, "payload": "task_params"})
    columns = ", ".join(f"{here.column(n)} AS {n}" for n in (*RUNS.columns, *RUNS.large))
    try:
        rows = tx.rows(
            f"SELECT {columns} FROM {here.table} WHERE {here.where} AND run_id = :run_id",
            run_id=run_id,
            **here.parameters,
        )
    except Exception as error:
        if tx.dialect.is_table_missing(error):
            return None
        raise
    return rows[0] if rows else None


def _progress(tx: Tx, run: Mapping[str, Any]) -> dict[str, Any] | None:
    rows = tx.rows(
        "SELECT done, total, note, updated_at FROM ty_progress WHERE task_table = :task_table"
        " AND task_id = :task_id AND run_id = :run_id AND done IS NOT NULL",
        task_table=run["task_table"],
        task_id=run["task_id"],
        run_id=run["id"],
    )
    return rows[0] | {"updated_at": utc(rows[0]["updated_at"])} if rows else None


# --- task types ----------------------------------------------------------------------------------


def _walk_types(tx: Tx) -> list[str]:
    """Each distinct type by one step along the index: a DISTINCT would read all of history."""
    found: list[str] = []
    step = tx.value("SELECT task_type FROM ty_runs ORDER BY task_type LIMIT 1")
    while step is not None:
        found.append(step)
        step = tx.value(
            "SELECT task_type FROM ty_runs WHERE task_type > :step ORDER BY task_type LIMIT 1",
            step=step,
        )
    return found
