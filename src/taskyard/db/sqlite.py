"""SQLite: one file, one writer at a time, nothing to install.

Owns its SQL fragments, its claim and settle, its pragmas, and the turnstile that lets the writers
of several processes take turns (rulings 3.4). Times in task tables are UTC text; anything that
SQLite's date functions read (`T`, `Z`, offsets) is understood.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar

from taskyard.db import uncounted
from taskyard.db.dialect import RUN_COLUMNS, Dialect
from taskyard.db.rows import Claim, ClaimedRow, Ending, Settlement, When

if TYPE_CHECKING:
    import sqlalchemy as sa

    from taskyard.db.database import Tx

# Columns hold what strangers put there, of whatever type: what is claimed is cast to what its
# column says, and numbers of ours are checked by the table, so that no row can stop a claim.
_WHOLE = "CHECK (typeof({name}) = 'integer')"

# `datetime()` drops fractions of a second, so times are compared as milliseconds (rulings 3.5).
_MILLISECONDS = "CAST((julianday({column}) - 2440587.5) * 86400000.0 + 0.5 AS INTEGER)"

_NOW = "strftime('%Y-%m-%d %H:%M:%f', 'now')"

_CLAIM = """
WITH pick AS MATERIALIZED (
  SELECT id FROM {table}
   WHERE {where}
   ORDER BY {due}, id LIMIT :limit
), numbered AS MATERIALIZED (
  SELECT id, row_number() OVER () - 1 AS n FROM pick
)
UPDATE {table} AS t
   SET status = 1, fence = t.fence + 1, owner = :owner, server_id = :server_id, queue = :queue,
       run_id = :first_run_id + numbered.n, start_time = :now, end_time = NULL,
       claimed_at = :now_us, updated_at = :now
  FROM numbered
 WHERE t.id = numbered.id AND t.status = 0
   AND EXISTS (SELECT 1 FROM ty_servers WHERE session = :owner AND state = 'live')
RETURNING id, fence, run_id, task_type,
       CASE WHEN length(CAST(task_params AS BLOB)) <= :max_params
            THEN CAST(task_params AS TEXT) END,
       coalesce(length(CAST(task_params AS BLOB)), 0), CAST(coalesce(retry_count, 0) AS INTEGER),
       CAST(coalesce(max_retries, 0) AS INTEGER), crashes, CAST(retry_interval AS REAL),
       CAST(timeout AS REAL), CAST(tenant_id AS TEXT), CAST(origin AS TEXT),
       CAST(context AS TEXT), CAST(excl_key AS TEXT),
       max(0, (:now_ms - max({due}, coalesce({created}, 0))) / 1000.0),
       suspect
"""

_HELD = """
SELECT id, fence, run_id FROM {table} WHERE owner = :owner AND status = 1
"""

# Differs because SQLite runs in this process: there is no wire to hand a batch over, and every row
# of an `executemany` gives the interpreter's lock up and waits for it again (with two other threads
# at work 21 µs a row; 32 rows to a statement, 9 µs). Runs of one text stay prepared.
_RUNS_AT_ONCE = 32
_RUN_VALUES = (
    *("run_id", "id", "fence", "attempt", "run_status", "pid", "payload", "output", "error"),
    *("memory", "cpu_time", "wait", "duration", "started_at", "completed_at"),
)


@cache
def _insert_runs(table: str, count: int, makers: str) -> str:
    """Insert so many Runs, as far as their claims still hold: their values one after the other,
    then those of all: task_table, queue, server_id, owner, created_at, updated_at, owner.
    """
    row = f"({', '.join('?' * len(_RUN_VALUES))})"
    return f"""
INSERT INTO ty_runs ({RUN_COLUMNS})
WITH d ({", ".join(_RUN_VALUES)}) AS (VALUES {", ".join([row] * count)})
SELECT d.run_id, ?, t.id, t.fence, d.attempt, t.task_type, ?, d.run_status, t.origin, t.tenant_id,
       ?, ?, d.pid, coalesce(d.payload, CAST(t.task_params AS TEXT)), d.output, d.error, d.memory,
       d.cpu_time, d.wait, d.duration, d.started_at, d.completed_at, t.claimed_at, ?, ?,
       {makers}
  FROM d CROSS JOIN {table} AS t
 WHERE t.id = d.id AND t.fence = d.fence AND t.run_id = d.run_id AND t.status = 1 AND t.owner = ?
"""


# The common end of a batch needs no value of its own.
_COMPLETE = """
UPDATE {table}
   SET status = 2, owner = NULL, suspect = 0, error_msg = NULL, end_time = :now, updated_at = :now
 WHERE id IN ({ids})
"""

_END_TASK = """
UPDATE {table}
   SET status = :task_status, owner = NULL, retry_count = :retry_count, crashes = :crashes,
       suspect = :suspect, error_msg = :error_msg,
       end_time = CASE WHEN :task_status = 0 THEN NULL ELSE :now END,
       schedule_time = coalesce(:due, schedule_time), updated_at = :now
 WHERE id = :id
"""

_INSERT_TASK = """
INSERT INTO {table} (task_type, task_params, priority, max_retries, timeout, retry_interval,
                     unique_key, excl_key, tenant_id, origin, context, schedule_time, created_at,
                     updated_at)
VALUES (:task_type, :task_params, :priority, :max_retries, :timeout, :retry_interval, :unique_key,
        :excl_key, :tenant_id, :origin, :context, :due, :now, :now)
ON CONFLICT DO NOTHING RETURNING id
"""


class SQLite(Dialect):
    """SQLite 3.35 and newer (UPDATE ... FROM, RETURNING)."""

    name = "sqlite"
    writes_overlap = False
    now = _NOW
    utc_now = _NOW
    pending = "status = 0 AND hold = 0 AND excl_key IS NULL"
    keyed = "status = 0 AND hold = 0 AND excl_key IS NOT NULL"
    skip_locked = ""  # a writing transaction is alone; there is nothing to skip

    loose_times = True
    time_type = "text"
    base_columns: ClassVar = {
        "id": "id INTEGER PRIMARY KEY AUTOINCREMENT",
        "task_type": "task_type varchar(255) NOT NULL",
        "task_params": "task_params text",
        "status": "status smallint NOT NULL DEFAULT 0",
        "schedule_time": f"schedule_time text NOT NULL DEFAULT ({_NOW})",
        "start_time": "start_time text",
        "end_time": "end_time text",
        "retry_count": "retry_count integer NOT NULL DEFAULT 0",
        "max_retries": "max_retries integer NOT NULL DEFAULT 3",
        "error_msg": "error_msg text",
        "server_id": "server_id varchar(50) NOT NULL DEFAULT ''",
        "created_at": f"created_at text NOT NULL DEFAULT ({_NOW})",
        "updated_at": f"updated_at text NOT NULL DEFAULT ({_NOW})",
    }
    own_columns: ClassVar = {
        "priority": f"priority smallint NOT NULL DEFAULT 0 {_WHOLE.format(name='priority')}",
        "tenant_id": "tenant_id varchar(64) NOT NULL DEFAULT ''",
        "timeout": "timeout double",
        "retry_interval": "retry_interval double",
        "unique_key": "unique_key varchar(190)",
        "excl_key": "excl_key varchar(190)",
        "hold": f"hold smallint NOT NULL DEFAULT 0 {_WHOLE.format(name='hold')}",
        "crashes": f"crashes integer NOT NULL DEFAULT 0 {_WHOLE.format(name='crashes')}",
        "suspect": f"suspect smallint NOT NULL DEFAULT 0 {_WHOLE.format(name='suspect')}",
        "fence": f"fence bigint NOT NULL DEFAULT 0 {_WHOLE.format(name='fence')}",
        "owner": "owner varchar(40)",
        "run_id": "run_id bigint",
        "claimed_at": "claimed_at bigint",
        "queue": "queue varchar(100)",
        "origin": "origin varchar(20) NOT NULL DEFAULT 'enqueued'",
        "context": "context text",
    }

    def text(self, sql: str) -> str:
        return sql

    single_inserts = False  # every write takes its turn

    def insert_task(
        self, tx: Tx, table: str, row: Mapping[str, Any], when: When, *, ring: bool = False
    ) -> int | None:
        at, delay = when
        now = datetime.now(UTC)
        due = now if at is None else datetime.fromtimestamp(at, UTC)
        if at is None and delay is not None:
            due = now + timedelta(seconds=delay)
        sql = _INSERT_TASK.format(table=self.quote(table))
        found: int | None = tx.value(sql, **row, due=stamp(due), now=stamp(now))
        return found

    def insert_tasks(
        self, tx: Tx, table: str, rows: Sequence[Mapping[str, Any]], whens: Sequence[When]
    ) -> list[int]:
        ids = []
        for row, when in zip(rows, whens, strict=True):
            task_id = self.insert_task(tx, table, row, when)
            assert task_id is not None, "a row without unique_key met a conflict"
            ids.append(task_id)
        return ids

    def index_statements(self, table: str, name: Callable[[str, str], str]) -> list[str]:
        due = self.due()
        indexes = (
            ("", "pending", f"(priority, {due}, id) WHERE {self.pending}"),
            ("", "keyed", f"(excl_key, priority DESC, {due}, id) WHERE {self.keyed}"),
            ("", "held", "(hold, task_type) WHERE status = 0 AND hold <> 0"),
            ("", "owner", "(owner) WHERE owner IS NOT NULL"),
            ("", "odd", f"(id) WHERE status = 0 AND hold = 0 AND {due} IS NULL"),
            ("", "stray", "(id) WHERE status = 1 AND owner IS NULL"),
            (
                "UNIQUE ",
                "unique",
                "(tenant_id, unique_key) WHERE unique_key IS NOT NULL AND status IN (0, 1)",
            ),
            ("UNIQUE ", "excl", "(excl_key) WHERE excl_key IS NOT NULL AND owner IS NOT NULL"),
        )
        return [
            f'CREATE {unique}INDEX IF NOT EXISTS "{name(table, purpose)}"'
            f" ON {self.quote(table)} {rest}"
            for unique, purpose, rest in indexes
        ]

    def whole(self, column: str) -> str:
        return f"CAST(coalesce({column}, 0) AS INTEGER)"

    def indexes(self, tx: Tx, table: str) -> set[str]:
        name = table.rpartition(".")[2]
        return {row[0] for row in tx.all("SELECT name FROM pragma_index_list(:name)", name=name)}

    def allow_null(self, table: str, column: str, kind: Any) -> str:
        return ""  # differs because SQLite can't alter a column

    def taken_names(self, tx: Tx, table: str, names: Sequence[str]) -> list[tuple[str, str]]:
        found = dict(tx.all("SELECT name, tbl_name FROM sqlite_master WHERE type = 'index'"))
        own = table.rpartition(".")[2].lower()
        return [(name, found[name]) for name in names if found.get(name, own).lower() != own]

    def is_present(self, error: BaseException) -> bool:
        return "duplicate column name" in str(error)

    def is_table_missing(self, error: BaseException) -> bool:
        return "no such table" in str(error) or "no such column" in str(error)

    def due(self, column: str = "schedule_time") -> str:
        return _MILLISECONDS.format(column=column)

    def due_now(self) -> str:
        return ":now_ms"

    def after(self, seconds: str) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%f', julianday('now') + ({seconds}) / 86400.0)"

    def utc_after(self, seconds: str) -> str:
        return self.after(seconds)

    def iso(self, column: str) -> str:
        return f"strftime('%Y-%m-%dT%H:%M:%f', {column})"

    def age(self, column: str) -> str:
        return f"((julianday('now') - julianday({column})) * 86400.0)"

    def epoch(self, column: str) -> str:
        return f"((julianday({column}) - 2440587.5) * 86400.0)"

    def utc_from(self, seconds: str) -> str:
        return f"strftime('%Y-%m-%d %H:%M:%f', {seconds}, 'unixepoch')"

    def in_context(self, column: str, name: str) -> str:
        known = f"CASE WHEN json_valid({column}) THEN {column} END"
        place = f"({known}, '$.{name}')"
        return f"CASE json_type{place} WHEN 'integer' THEN json_extract{place} END"

    def json_of(self, columns: Mapping[str, str]) -> str:
        # No JSON can hold the bytes that a stranger may have put there.
        pairs = ", ".join(
            f"'{name}', CASE typeof({expression}) WHEN 'blob' THEN hex({expression})"
            f" ELSE {expression} END"
            for name, expression in columns.items()
        )
        return f"json_object({pairs})"

    def tail(self, column: str, length: int) -> str:
        return f"substr({column}, -{length})"

    def floor(self, expression: str) -> str:
        return f"CAST({expression} AS INTEGER)"  # which cuts off, and needs no compiled-in maths

    def minute(self, column: str) -> str:
        return f"CAST(strftime('%s', {column}) AS INTEGER) / 60 * 60"

    def clock(self) -> dict[str, Any]:
        # The machine's clock is the database's clock: there is no server that could have another.
        now = datetime.now(UTC)
        micros = int(now.timestamp() * 1_000_000)
        # Milliseconds rounded up, as `due` rounds to the nearest: what was enqueued as due now is
        # due now, not half a millisecond later, when nobody looks any more.
        return {"now": stamp(now), "now_ms": micros // 1000 + 1, "now_us": micros}

    def claim(self, tx: Tx, claim: Claim) -> list[ClaimedRow]:
        names = [f"type_{i}" for i in range(len(claim.task_types))]
        if claim.ids is not None:
            where = f"id IN ({_list(claim.ids)}) AND status = 0 AND hold = 0 AND owner IS NULL"
        else:
            where = (
                f"{self.pending} AND owner IS NULL AND priority = :priority"
                f" AND {self.due()} <= :now_ms"
            )
        where += f" AND task_type IN ({', '.join(':' + name for name in names)})"
        of_open, closed = claim.of_open_tenants()
        where += of_open
        sql = _CLAIM.format(
            table=self.quote(claim.table),
            where=where,
            due=self.due(),
            created=self.due("created_at"),
        )
        rows = tx.all(
            sql,
            **dict(zip(names, claim.task_types, strict=True)),
            **self.clock(),
            **closed,
            priority=claim.priority,
            limit=claim.limit,
            owner=claim.owner,
            server_id=claim.server_id,
            queue=claim.queue,
            first_run_id=claim.first_run_id,
            max_params=claim.max_params,
        )
        return sorted((ClaimedRow(*row) for row in rows), key=lambda row: row.run_id)

    def settle(self, tx: Tx, settlement: Settlement) -> set[int]:
        table = self.quote(settlement.table)
        owner = settlement.owner
        now = datetime.now(UTC)
        text, ago = stamp(now), _Ago(now)
        runs = [_run_values(e, ago, text) for e in settlement.endings]
        of = (settlement.table, settlement.queue, settlement.server_id, owner, text, text, owner)
        mine = list(settlement.endings)
        if _write_runs(tx, table, runs, of) < len(runs):
            # The transaction is alone in the database: what held then holds now.
            held = set(tx.all(_HELD.format(table=table), owner=owner))
            mine = [e for e in mine if (e.id, e.fence, e.run_id) in held]
        done = tuple(ending.id for ending in mine if ending.task_status == 2)
        if done:
            tx.execute(_COMPLETE.format(table=table, ids=_list(done)), now=text)
        others = [ending for ending in mine if ending.task_status != 2]
        tx.many(_END_TASK.format(table=table), [_task_values(e, ago, text) for e in others])
        uncounted.note(tx, [ending.run_id for ending in mine])
        return {ending.id for ending in mine}

    def begin(self) -> str:
        # A deferred BEGIN that later writes fails at once when another writer was there in between;
        # measured with 8 claimers: 341 claims against 5 000.
        return "BEGIN IMMEDIATE"

    def is_disconnect(self, error: BaseException) -> bool:
        return False

    def is_transient(self, error: BaseException) -> bool:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

    def is_duplicate(self, error: BaseException) -> bool:
        return getattr(error, "sqlite_errorcode", 0) in (
            sqlite3.SQLITE_CONSTRAINT_UNIQUE,
            sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
        )

    def is_refused(self, error: BaseException) -> bool:
        return True  # a file that cannot be opened now will not open by waiting

    def engine_options(self, url: sa.URL, pooler: bool) -> dict[str, Any]:
        return {"connect_args": {"check_same_thread": False, "timeout": 10.0}}

    def on_connect(self, connection: Any) -> None:
        connection.isolation_level = None  # transactions are ours, spelled out
        # Text that is no UTF-8 would else fail the whole statement that reads it.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            connection.execute("SELECT ln(1)")
        except sqlite3.OperationalError:  # not every SQLite is compiled with maths
            connection.create_function("ln", 1, math.log, deterministic=True)
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            "mmap_size = 0",  # with mmap the WAL-reset bug of SQLite < 3.51.3 corrupts
            "cache_size = -16000",
        ):
            connection.execute(f"PRAGMA {pragma}")


def stamp(moment: datetime) -> str:
    """A moment as our SQLite text: UTC, `YYYY-MM-DD HH:MM:SS.ffffff`."""
    return moment.isoformat(" ", "microseconds")[:26]  # six times as fast as strftime


class _Ago:
    """Moments before or after one moment, as text. Most are of the same few seconds, and keeping
    their text makes a time cost 0.5 µs instead of 3: it is a part of every Task's end."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._second = now.replace(microsecond=0)
        self._texts: dict[int, str] = {}

    def text(self, seconds: float) -> str:
        """The moment so many seconds after."""
        second, micros = divmod(round(seconds * 1_000_000) + self._now.microsecond, 1_000_000)
        text = self._texts.get(second)
        if text is None:
            text = self._texts[second] = stamp(self._second + timedelta(seconds=second))[:20]
        return f"{text}{micros:06d}"


def _run_values(e: Ending, ago: _Ago, now: str) -> tuple[Any, ...]:
    """The values of `_RUN_VALUES`."""
    started, ended = None, now
    if e.age is not None:
        started = ago.text(-e.age)
        if e.duration is not None:
            ended = ago.text(e.duration - e.age)
    of_run = (e.run_id, e.id, e.fence, e.attempt, e.run_status, e.pid, e.payload, e.output, e.error)
    return (*of_run, e.memory, e.cpu_time, e.wait, e.duration, started, ended)


def _write_runs(tx: Tx, table: str, runs: list[tuple[Any, ...]], common: tuple[Any, ...]) -> int:
    """Insert the Runs whose claims still hold; returns how many."""
    whole = len(runs) - len(runs) % _RUNS_AT_ONCE
    chunks = [runs[n : n + _RUNS_AT_ONCE] for n in range(0, whole, _RUNS_AT_ONCE)]
    many = [(*chain.from_iterable(chunk), *common) for chunk in chunks]
    makers = tx.dialect.makers("t.context")
    rest = [(*run, *common) for run in runs[whole:]]
    written = tx.many(_insert_runs(table, _RUNS_AT_ONCE, makers), many)
    return written + tx.many(_insert_runs(table, 1, makers), rest)


def _task_values(e: Ending, ago: _Ago, now: str) -> dict[str, Any]:
    due = None if e.delay is None else ago.text(e.delay)
    return {**e._asdict(), "due": due, "now": now}


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(int(n)) for n in numbers) or "NULL"
