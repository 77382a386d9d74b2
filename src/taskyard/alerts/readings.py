"""Readings: what rules that watch states are judged by.

Owns the reading: how long Runs have been running, how many failed of how many, when a type last
succeeded, how long queues wait, which Servers are lost. Each is an index look-up or a few rows of
the roll-ups, whatever lies in history. What is made of them is `judge.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from taskyard.alerts.rule import Rule
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Database, Tx
from taskyard.db.tables import task_tables
from taskyard.queues import load_queues
from taskyard.runs.errors import FAILURES
from taskyard.runs.grains import GRAINS, MINUTE, Piece, cover, is_kept, widen
from taskyard.runs.stats import HEADINGS
from taskyard.runs.sums import JUDGED, Narrowing, Span
from taskyard.runs.sums import read as read_sums
from taskyard.tasks.depth import oldest_wait

_MOST_RUNS = 1_000
_SHORTEST = 1.0

_LIVE = """
SELECT run_id, task_type, COALESCE(queue, '') AS queue, tenant_id, claimed_at,
       {schedule} AS schedule_id
  FROM {table} WHERE owner IS NOT NULL AND claimed_at <= :before
 ORDER BY claimed_at LIMIT :most
"""

_LIVE_TRACKED = """
SELECT id AS run_id, task_type, COALESCE(queue, '') AS queue, tenant_id, claimed_at, schedule_id
  FROM ty_runs
 WHERE status = 'running' AND status <> 'completed' AND claimed_at <= :before
 ORDER BY claimed_at, id LIMIT :most
"""

_SUCCESS_SINCE = """
SELECT 1 FROM ty_runs
 WHERE {which} AND claimed_at >= :since AND status = 'completed' LIMIT 1
"""

_LATE = """
SELECT id AS schedule_id, name, tenant_id, {now} - {due} AS late FROM ty_schedules
 WHERE status = 1 AND next_fire_at < {before} ORDER BY next_fire_at LIMIT 500
"""

_MISSED = """
SELECT id AS schedule_id, name, tenant_id, missed FROM ty_schedules WHERE missed > 0 ORDER BY id
"""

_SERVERS = """
SELECT server_id, state, {beat} AS beat_at, {until} AS lease_until
  FROM ty_servers WHERE kind = 'server'
 ORDER BY started_at, CASE WHEN state = 'dead' THEN 0 ELSE 1 END, session
"""


def clock(db: Database) -> datetime:
    """The database's clock."""
    return db.read(moment)


def moment(tx: Tx) -> datetime:
    """The database's clock, in a transaction."""
    return datetime.fromtimestamp(
        float(tx.value(f"SELECT {tx.dialect.epoch(tx.dialect.utc_now)}")), UTC
    )


# --- runs ----------------------------------------------------------------------------------------


def too_long(db: Database, rule: Rule, now: datetime) -> list[dict[str, Any]]:
    """The Runs that a `run_long` rule is about and that have been running for too long.

    The longest first; each has its `limit` and its `execution_time` in seconds.
    """
    limit = rule.settings.get("longer_than")
    runs = [run for run in _running(db, limit or _SHORTEST, now) if rule.fits(run)]
    if limit is not None:
        return [run | {"limit": limit} for run in runs]
    limits = db.read(partial(_monitored, ids={run["schedule_id"] for run in runs} - {None}))
    return [
        run | {"limit": limits[run["schedule_id"]]}
        for run in runs
        if run["execution_time"] > limits.get(run["schedule_id"], math.inf)
    ]


def _running(db: Database, seconds: float, now: datetime) -> list[dict[str, Any]]:
    """The Runs that have been running for longer than that; a thousand a table at most."""
    asked = {"before": int((now.timestamp() - seconds) * 1_000_000), "most": _MOST_RUNS}
    found = db.read(lambda tx: tx.rows(_LIVE_TRACKED, **asked))
    for table in db.read(task_tables):
        sql = _LIVE.format(
            table=db.dialect.quote(table),
            schedule=db.dialect.in_context("context", "schedule_id"),
        )
        try:
            found += db.read(lambda tx, sql=sql: tx.rows(sql, **asked))  # type: ignore[misc]
        except Exception as error:
            if not db.dialect.is_table_missing(error):
                raise  # else somebody dropped it, and no Server has noticed yet
    runs = [_live_run(row, now) for row in found]
    return sorted(runs, key=lambda run: (-run["execution_time"], run["id"]))


def _live_run(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    schedule_id = row["schedule_id"]
    return {
        "id": int(row["run_id"]),
        **{name: row[name] for name in ("task_type", "queue", "tenant_id")},
        "schedule_id": None if schedule_id is None else int(schedule_id),
        "execution_time": now.timestamp() - int(row["claimed_at"]) / 1_000_000,
    }


def _monitored(tx: Tx, ids: Collection[int]) -> dict[int, float]:
    """By schedule its `monitor_timeout`, where it has one."""
    if not ids:
        return {}
    listed = ", ".join(str(int(number)) for number in sorted(ids))
    rows = tx.all(f"SELECT id, monitor_timeout FROM ty_schedules WHERE id IN ({listed})")
    return {int(row[0]): float(row[1]) for row in rows if row[1] is not None}


def has_succeeded(db: Database, rule: Rule, subject: str, since: datetime) -> bool:
    """Has a Run of a schedule or task type that a rule is about, started since then, completed?"""
    what, _, name = subject.partition(":")
    column = {"schedule": "schedule_id", "task_type": "task_type"}.get(what)
    if column is None:
        return True  # of "others" nobody knows; they are over when there are no more
    asked = _narrowing(rule).also(column, [int(name) if what == "schedule" else name])
    micros = int(since.timestamp() * 1_000_000)
    sql = _SUCCESS_SINCE.format(which=asked.where)
    return db.read(lambda tx: tx.value(sql, since=micros, **asked.parameters)) is not None


def ended_within(db: Database, rule: Rule, now: datetime) -> dict[str, tuple[int, int]]:
    """By task type how many Runs that started within the rule's window failed, and of how many."""
    asked = _narrowing(rule).also("status", JUDGED)
    rows = db.read(partial(_sums, asked, ("task_type", "status"), rule.settings["window"], now))
    counts: dict[str, tuple[int, int]] = {}
    for task_type, status, count in ((row[1], row[2], int(row[3])) for row in rows):
        failed, total = counts.get(task_type, (0, 0))
        counts[task_type] = failed + (count if status in FAILURES else 0), total + count
    return counts


def last_successes(
    db: Database, rule: Rule, task_types: Sequence[str], now: datetime
) -> dict[str, float | None]:
    """By task type when its last Run that completed started, as closely as the roll-ups know it.

    Within the rule's window that is now; None where nobody remembers any.
    """
    asked = _narrowing(rule).also("status", [RunStatus.COMPLETED]).also("task_type", task_types)
    headings = ("task_type", "start")
    recent = db.read(partial(_sums, asked, headings, rule.settings["window"], now))
    older = db.read(partial(_sums, asked, headings, _REMEMBERED, now))
    last: dict[str, float | None] = dict.fromkeys(task_types)
    for row in older:
        last[row[1]] = max(float(row[2]), last[row[1]] or 0.0)
    return last | {row[1]: now.timestamp() for row in recent}


_REMEMBERED = 60 * 86_400.0


def over_time(
    db: Database,
    rule: Rule,
    now: datetime,
    within: float,
    statuses: Sequence[RunStatus] = JUDGED,
    task_types: Sequence[str] = (),
) -> list[tuple[str, str, float, int, float]]:
    """The Runs that a rule is about over so many seconds, ten minutes (or an hour) at a time.

    Each is task type, status, the start of the ten minutes, how many, and their longest time.
    """
    asked = _narrowing(rule).also("status", statuses)
    if task_types and "task_type" not in rule.filters:
        asked = asked.also("task_type", task_types)
    headings = ("task_type", "status", "start")
    rows = db.read(partial(_sums, asked, headings, within, now, alike=True))
    return [(row[1], row[2], float(row[3]), int(row[4]), float(row[7])) for row in rows]


def longest_waits(
    db: Database, rule: Rule, now: datetime, within: float
) -> list[tuple[str, float, float]]:
    """By queue and ten minutes the longest that a Run which started then had waited, in seconds."""
    asked, headings = _narrowing(rule), ("queue", "start")
    rows = db.read(partial(_sums, asked, headings, within, now, alike=True, measure="wait"))
    return [(row[1], float(row[2]), float(row[6])) for row in rows]


def _narrowing(rule: Rule) -> Narrowing:
    """What a rule is about in the roll-ups; a tenant's is about what is the tenant's."""
    own = {"tenant_id": [rule.tenant_id]} if rule.tenant_id else {}
    found = Narrowing()
    for name, words in {**rule.filters, **own}.items():
        if name in HEADINGS:
            found = found.also(name, words)
    return found


def _sums(
    asked: Narrowing,
    headings: tuple[str, ...],
    within: float,
    now: datetime,
    tx: Tx,
    *,
    alike: bool = False,
    measure: str = "run",
) -> list[tuple[Any, ...]]:
    """The roll-ups of the Runs that started within so many seconds.

    They are read in the longest steps that fit, or `alike`: in the shortest of ten minutes or more
    that are kept for so long.
    """
    end = int(now.timestamp())
    start, until = widen(int(end - within), end + MINUTE, end)
    pieces = cover(start, until)
    if alike:
        grain = next(g for g in GRAINS if g > MINUTE and is_kept(g, start, end))
        pieces = [Piece(grain, start // grain * grain, until)]
    return read_sums(tx, [Span(0, start, until, pieces)], (measure,), headings, asked)


# --- schedules -----------------------------------------------------------------------------------


def late_schedules(db: Database, seconds: float) -> list[dict[str, Any]]:
    """The schedules that should have fired longer ago than that, the latest first."""
    sql = _LATE.format(
        due=db.dialect.epoch("next_fire_at"),
        now=db.dialect.epoch(db.dialect.utc_now),
        before=db.dialect.utc_after("-(:seconds)"),
    )
    rows = db.read(lambda tx: tx.rows(sql, seconds=seconds))
    return [row | {"late": float(row["late"])} for row in rows]


def missed_fires(db: Database) -> list[dict[str, Any]]:
    """The schedules that have ever missed a fire, and how many each."""
    return db.read(lambda tx: tx.rows(_MISSED))


# --- queues and servers --------------------------------------------------------------------------


def waits(db: Database) -> dict[str, float]:
    """By queue for how many seconds its oldest Task that is due, and could be claimed, has waited.

    Queues that are paused or quarantined are left out, and so are Tasks whose key somebody holds.
    """
    found = {}
    for queue in load_queues(db):
        if queue.enabled:
            try:
                found[queue.queue_name] = db.read(partial(oldest_wait, table=queue.table_name))
            except Exception as error:
                if not db.dialect.is_table_missing(error):
                    raise
    return found


def lost_servers(db: Database, now: datetime) -> dict[str, float]:
    """By server_id when those were last heard of that went silent, or died, without a stop.

    Whoever stops in order gives the rest of its lease back (`servers.close`).
    """
    epoch = db.dialect.epoch
    sql = _SERVERS.format(beat=epoch("beat_at"), until=epoch("lease_until"))
    lost: dict[str, float] = {}
    for server_id, state, beat_at, lease_until in db.read(lambda tx: tx.all(sql)):
        stopped = state == "dead" and float(lease_until) <= float(beat_at)
        silent = float(lease_until) < now.timestamp()
        lost.pop(server_id, None)  # what its newest Session says holds
        if not stopped and (state == "dead" or silent):
            # To the microsecond, as `clock` is: one that beat just now is not of the future.
            lost[server_id] = round(float(beat_at), 6)
    return lost
