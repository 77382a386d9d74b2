"""Changes: what has become different in the database since one looked last.

Owns the few cheap questions by which that is found out, whoever changed it: a Server, a person, or
a program with SQL. New Tasks and what the audit holds are found by their growing ids; Runs,
Servers, Queues and incidents by comparing what there is now with what there was: of Runs those that
live and the newest that ended, for each tenant that is watched. No question reads more than a few
rows of an index, so they may be asked every second. Who is told of what is `listeners.py`'s.

A change by SQL that none of these shows, such as a payload edited by hand, is seen when the page
asks for its list the next time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from taskyard.access.caller import PLATFORM, Caller
from taskyard.access.permissions import Permission
from taskyard.core.lifecycle import Origin
from taskyard.db.database import Database, Tx
from taskyard.db.tables import task_tables

KINDS: Mapping[str, Permission] = {
    "run": Permission.RUNS_READ,
    "task": Permission.TASKS_READ,
    "schedule": Permission.SCHEDULES_READ,
    "batch": Permission.BATCHES_READ,
    "incident": Permission.ALERTS_READ,
    "queue": Permission.MONITORING,
    "server": Permission.MONITORING,
}
"""What may change, and the permission without which one does not hear of it."""

_OF_NO_TENANT = frozenset({"queue", "server"})

_MAKERS = {Origin.SCHEDULED.value: "schedule", Origin.BATCH.value: "batch"}
"""What else a Task or Run of this origin changes."""

_FRESH = 1_000
"""New rows of a table whose tenants are looked at; of a larger burst the others are not."""

_NEW_TASKS = """
SELECT DISTINCT tenant_id, origin FROM (
  SELECT tenant_id, origin FROM {table} WHERE id > :last ORDER BY id LIMIT :fresh) AS fresh
"""

_NEW_AUDIT = "SELECT id, action, object, tenant_id FROM ty_audit WHERE id > :last ORDER BY id"

_LIVE = """
SELECT tenant_id, origin, COUNT(*), MAX(run_id), SUM(run_id) FROM {table}
 WHERE owner IS NOT NULL GROUP BY tenant_id, origin
"""

# The second condition is that of the partial index, which SQLite wants to read word for word.
_TRACKED = """
SELECT tenant_id, origin, COUNT(*), MAX(id), SUM(id) FROM ty_runs
 WHERE status = 'running' AND status <> 'completed' GROUP BY tenant_id, origin
"""

_NEWEST = """
SELECT id, claimed_at, status, origin FROM ty_runs {where} ORDER BY claimed_at DESC, id DESC LIMIT 1
"""

_SERVERS = """
SELECT session, server_id, state, runners, CASE WHEN lease_until > {now} THEN 1 ELSE 0 END
  FROM ty_servers
"""

_QUEUES = """
SELECT queue_name, table_name, server_id, max_workers, scan_interval, status, rate_limit, timeout,
       problem
  FROM queue_configs
"""

_INCIDENTS = """
SELECT tenant_id, COUNT(*), MAX(id), MAX(updated_at) FROM ty_incidents
 WHERE active_key IS NOT NULL GROUP BY tenant_id
"""


@dataclass(frozen=True, slots=True)
class Change:
    """Something of a kind is different: of which tenant (None: of any), and which one, if known."""

    kind: str
    tenant: str | None = None
    id: str | None = None

    def concerns(self, caller: Caller) -> bool:
        """May the Caller hear of it?"""
        if not caller.may(KINDS[self.kind]):
            return False
        if self.kind in _OF_NO_TENANT or caller.tenants is None:
            return True
        return self.tenant is not None and caller.sees(self.tenant)


@dataclass(frozen=True, slots=True)
class _State:
    """What something is like now, and the change that it is when this is different."""

    value: tuple[Any, ...] | None
    change: Change
    origin: str = ""


_Key = tuple[str, ...]


class Changes:
    """What has changed in a database, from look to look; for one thread at a time."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._last: dict[str, int] = {}
        """The largest id that was seen, by table."""
        self._states: dict[_Key, _State] | None = None

    def look(self, tenants: Collection[str], *, everything: bool) -> set[Change]:
        """What has changed since the last look; nothing at the first.

        `tenants` are those of whose Runs one wants to hear, `everything` says that somebody wants
        to hear of all. Raises what the database raises; the next look then tells of more.
        """
        return self._db.read(partial(self._look, tenants=tenants, everything=everything))

    def _look(self, tx: Tx, tenants: Collection[str], everything: bool) -> set[Change]:
        tables = task_tables(tx)
        found = {change for table in tables for change in self._new_tasks(tx, table)}
        found.update(self._audited(tx))
        now = dict(_states(tx, tables, tenants, everything))
        if self._states is not None:
            found.update(_differences(self._states, now))
        self._states = now
        return found

    def _new_tasks(self, tx: Tx, table: str) -> Iterator[Change]:
        quoted = tx.dialect.quote(table)
        try:
            last = self._step(table, tx.value(f"SELECT MAX(id) FROM {quoted}"))
        except Exception as error:
            if tx.dialect.is_table_missing(error):
                return  # dropped, and no Server has noticed yet
            raise
        if last is not None:
            sql = _NEW_TASKS.format(table=quoted)
            for tenant, origin in tx.all(sql, last=last, fresh=_FRESH):
                yield from _each(Change("task", tenant or PLATFORM), origin)

    def _audited(self, tx: Tx) -> Iterator[Change]:
        """What people did."""
        last = self._step("ty_audit", tx.value("SELECT MAX(id) FROM ty_audit"))
        if last is not None:
            for _, action, thing, tenant in tx.all(f"{_NEW_AUDIT} LIMIT {_FRESH}", last=last):
                kind = action.partition(".")[0]
                if kind in KINDS:
                    yield Change(kind, tenant, thing.partition("/")[2] or None)

    def _step(self, table: str, newest: int | None) -> int | None:
        """The id behind which new rows stand; None where there are none."""
        newest = newest or 0
        last = self._last.get(table, newest)
        self._last[table] = newest
        return last if newest > last else None


def _states(
    tx: Tx, tables: Collection[str], tenants: Collection[str], everything: bool
) -> Iterator[tuple[_Key, _State]]:
    for table in tables:
        yield from _running(table, _live(tx, table))
    yield from _running("", tx.all(_TRACKED))
    if everything:
        yield ("newest",), _newest(tx, None)
    for tenant in tenants:
        yield ("newest", tenant), _newest(tx, tenant)
    for row in tx.all(_SERVERS.format(now=tx.dialect.utc_now)):
        yield ("server", row[0]), _State(row, Change("server", id=row[1]))
    for row in tx.all(_QUEUES):
        yield ("queue", row[0]), _State(row, Change("queue", id=row[0]))
    for row in tx.all(_INCIDENTS):
        yield ("incident", row[0]), _State(row, Change("incident", row[0]))


def _running(table: str, rows: list[tuple[Any, ...]]) -> Iterator[tuple[_Key, _State]]:
    for tenant, origin, *value in rows:
        state = _State(tuple(value), Change("run", tenant or PLATFORM), origin or "")
        yield ("running", table, str(tenant), str(origin)), state


def _live(tx: Tx, table: str) -> list[tuple[Any, ...]]:
    try:
        return tx.all(_LIVE.format(table=tx.dialect.quote(table)))
    except Exception as error:
        if tx.dialect.is_table_missing(error):
            return []
        raise


def _newest(tx: Tx, tenant: str | None) -> _State:
    """The newest Run of a tenant, or of all; the platform's own are in no index of tenants."""
    if tenant:
        where = "WHERE tenant_id = :tenant AND tenant_id <> ''"
        row = tx.one(_NEWEST.format(where=where), tenant=tenant)
    else:
        row = tx.one(_NEWEST.format(where=""))
    return _State(row, Change("run", tenant), row[3] if row else "")


def _differences(before: Mapping[_Key, _State], now: Mapping[_Key, _State]) -> Iterator[Change]:
    for key in before.keys() | now.keys():
        old, new = before.get(key), now.get(key)
        if key[0] == "newest" and (old is None or new is None):
            continue  # nobody asked for it before, or nobody does any more
        if (old and old.value) != (new and new.value):
            state = new or old
            assert state is not None
            yield from _each(state.change, state.origin)


def _each(change: Change, origin: str | None) -> Iterator[Change]:
    """A change of a Run or Task, and what else is different then."""
    yield change
    if change.kind == "run":
        yield Change("task", change.tenant)
    if origin in _MAKERS:
        yield Change(_MAKERS[origin], change.tenant)
