"""Browse: Runs as people look at them, the live ones among the finished.

Owns the list of Runs, one Run in full, and which task types there are. What may be asked of the
list is `listed.py`'s; who writes Runs is `record.py` and `tasks/settle.py`; logs are `logs.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.errors import RunUnknown
from taskyard.core.lifecycle import RunStatus
from taskyard.core.payload import mask_json
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Page, Query, Source, utc
from taskyard.db.search import search
from taskyard.db.tables import task_tables
from taskyard.runs import paths
from taskyard.runs.listed import RUNS as RUNS
from taskyard.runs.listed import find_task, live_sources, ways

_MASKED = ("payload", "output")

_TYPES_DEPTH = 10_000
"""How many of their newest Runs tenants' task types are read from."""


def list_runs(db: Database, caller: Caller, query: Query) -> Page:
    """One page of Runs, live and finished, at one moment; the newest first unless asked otherwise.

    In payload and output secrets are masked. Raises QueryInvalid, NotAllowed, or QueueUnknown for a
    `task` of no queue.
    """
    caller.require(Permission.RUNS_READ)
    found = read_runs(db, replace(query, filters=caller.narrow(query.filters)))
    return replace(found, rows=[_masked(row) for row in found.rows])


def read_runs(db: Database, query: Query) -> Page:
    """`list_runs` for this process's own code: of all tenants, and nothing is masked."""
    try:
        return db.read(partial(_list, query=query))
    except Exception as error:
        if not db.dialect.is_table_missing(error):
            raise
        # Somebody dropped a task table and no Server has noticed yet.
        gone = gone_tables(db)
        return db.read(partial(_list, query=query, gone=gone))


def show_run(db: Database, caller: Caller, run_id: int, *, raw: bool = False) -> dict[str, Any]:
    """One Run with payload, output, error and, while it lives, `progress`.

    In payload and output secrets are masked; `raw` gives them as they are, which is audited. Raises
    RunUnknown, also for a Run of a tenant that the caller does not see; NotAllowed.
    """
    caller.require(Permission.RUNS_READ)
    for look in (_finished, _live, _finished):  # it may end between the first look and the second
        run = db.read(partial(look, run_id=run_id))
        if run is not None and caller.sees(run["tenant_id"]):
            return _raw(db, caller, _presented(run)) if raw else _masked(_presented(run))
    raise RunUnknown(run_id)


def task_types(db: Database, caller: Caller) -> list[str]:
    """The task types that Runs were made of, finished or live.

    For a Caller who sees some tenants only, those of their newest Runs. Raises NotAllowed.
    """
    caller.require(Permission.RUNS_READ)

    def work(tx: Tx) -> list[str]:
        finished = _walk_types(tx) if caller.tenants is None else _newest_types(tx, caller.tenants)
        live = (pair for source in live_sources(tx) for pair in _live_types(tx, source))
        return sorted({*finished, *(name for name, tenant in live if caller.sees(tenant))})

    return db.read(work)


# --- the list ------------------------------------------------------------------------------------


def _list(tx: Tx, query: Query, gone: Collection[str] = ()) -> Page:
    wanted, filters = paths.take(query.filters)
    filters = find_task(tx, filters)
    large = (*query.large, *(["payload"] if wanted else []))
    found = search(
        tx,
        RUNS,
        ways(tx, filters, gone),
        replace(query, filters=filters, large=large),
        also=[path.condition("payload") for path in wanted],
        keep=(lambda row: all(path.fits(row["payload"]) for path in wanted)) if wanted else None,
    )
    rows = [_presented(row) for row in found.rows]
    if wanted and "payload" not in query.large:
        for row in rows:
            del row["payload"]
    return replace(found, rows=rows)


def gone_tables(db: Database) -> set[str]:
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
    run = {name: value for name, value in row.items() if not name.startswith("by_")}
    for name in ("started_at", "completed_at", "created_at", "updated_at"):
        if name in run:
            run[name] = utc(run[name])
    if run["status"] == RunStatus.RUNNING:
        run["started_at"] = run["started_at"] or moment(run["claimed_at"])
    return run


def moment(micros: int) -> datetime:
    """A time in microseconds since 1970, as a datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


def _masked(run: dict[str, Any]) -> dict[str, Any]:
    return run | {name: mask_json(run[name]) for name in _MASKED if name in run}


def _raw(db: Database, caller: Caller, run: dict[str, Any]) -> dict[str, Any]:
    """The Run as it is, once the look is written down."""
    caller.require(Permission.PAYLOAD_RAW)
    thing, tenant = f"run/{run['id']}", run["tenant_id"]
    db.run(lambda tx: audit.write(tx, caller, "run.read-raw", thing, tenant_id=tenant))
    return run


# --- one run -------------------------------------------------------------------------------------


def _finished(tx: Tx, run_id: int) -> dict[str, Any] | None:
    columns = ", ".join((*RUNS.columns, *RUNS.large, "created_at", "updated_at"))
    rows = tx.rows(f"SELECT {columns} FROM ty_runs WHERE id = :id", id=run_id)
    return rows[0] | {"progress": None} if rows else None


def _live(tx: Tx, run_id: int) -> dict[str, Any] | None:
    for source in live_sources(tx):
        found = _live_in(tx, source, run_id)
        if found is not None:
            claimed = moment(found["claimed_at"])
            return found | {
                "progress": _progress(tx, found),
                "created_at": claimed,
                "updated_at": claimed,
            }
    return None


def _live_in(tx: Tx, source: Source, run_id: int) -> dict[str, Any] | None:
    """The live Run of this id; through the index of owned rows, which are few."""
    columns = ", ".join(f"{source.column(n)} AS {n}" for n in (*RUNS.columns, *RUNS.large))
    try:
        rows = tx.rows(
            f"SELECT {columns} FROM {source.table} WHERE {source.where} AND run_id = :run_id",
            run_id=run_id,
            **source.parameters,
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


def _newest_types(tx: Tx, tenants: Collection[str]) -> set[str]:
    """The types among the newest Runs of each tenant."""
    sql = (
        "SELECT DISTINCT task_type FROM (SELECT task_type FROM ty_runs"
        " WHERE tenant_id = :tenant AND tenant_id <> ''"
        " ORDER BY claimed_at DESC, id DESC LIMIT :depth) AS newest"
    )
    depth = _TYPES_DEPTH // max(1, len(tenants))
    return {row[0] for tenant in tenants for row in tx.all(sql, tenant=tenant, depth=depth)}


def _live_types(tx: Tx, source: Source) -> list[tuple[Any, ...]]:
    return tx.all(f"SELECT DISTINCT task_type, tenant_id FROM {source.table} WHERE {source.where}")
