"""Rescue: gives back what nobody runs any more.

Owns three passes. `rescue`: Tasks whose owner is dead or unknown go back to the line (or to the
end, when they crashed too often or must never run twice). `reconcile`: what a Session owns in the
database but does not hold, and the other way round. Death itself is certified in `servers.py`;
every write here repeats the whole guard (id, fence, owner), so a stale reading harms nothing.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from taskyard.core.lifecycle import Attempt, Kind, Outcome, RetryPolicy, TaskStatus, decide
from taskyard.db.database import Database, Tx
from taskyard.db.rows import ClaimedRow, Ending
from taskyard.runs import record
from taskyard.servers import SessionRow, sessions
from taskyard.tasks import settle

_PAGE = 500

_ORPHANS = """
SELECT id, status, fence, run_id, task_type, {retries}, {most}, crashes, retry_interval,
       queue, server_id, tenant_id, origin, {age}, suspect
  FROM {table} WHERE owner = :owner AND {which} ORDER BY id LIMIT {page}
"""

_OWNED = "SELECT id, fence, status, run_id FROM {table} WHERE owner = :owner"

# A row at "running" that nobody owns was put there by hand, or by another program that worked the
# table before: no Session will ever end it. Where our index has no such rows this reads nothing.
_STRAYS = """
UPDATE {table} SET status = 0, error_msg = :why
 WHERE status = 1 AND owner IS NULL
"""

# The second condition is that of the partial index, which SQLite wants to read word for word.
_LOST_TRACKED = """
SELECT id FROM ty_runs
 WHERE status = 'running' AND status <> 'completed'
   AND session IN (SELECT session FROM ty_servers WHERE state = 'dead' AND kind = 'client')
"""

_FIRST = -(2**63)


class Owned(NamedTuple):
    """What the database says of a row that a Session owns."""

    fence: int
    status: int
    run_id: int


@dataclass(frozen=True, slots=True)
class Orphan:
    """A row that names a dead owner."""

    id: int
    status: int
    fence: int
    run_id: int
    task_type: str
    retry_count: int
    max_retries: int
    crashes: int
    retry_interval: float | None
    queue: str | None
    server_id: str
    tenant_id: str
    origin: str
    age: float | None
    suspect: int


def rescue(db: Database, table: str, *, max_crashes: int) -> int:
    """Give back the Tasks of a table whose owners are dead or missing; returns how many.

    Reads owners from the rows, not Sessions from their table: so a claim that was committed while
    its Session was being declared dead is found by the next pass.
    """
    owners = db.read(lambda tx: tx.dialect.owners(tx, table))
    strays = db.run(lambda tx: _release_strays(tx, table))
    if not owners:
        return strays
    by_session = {row.session: row for row in sessions(db, dead=True)}
    dead = [o for o in owners if o not in by_session or by_session[o].state == "dead"]
    everybody = list(by_session.values())
    return strays + sum(
        _rescue_owner(db, table, o, by_session.get(o), everybody, max_crashes) for o in dead
    )


def owned(db: Database, table: str, session: str) -> dict[int, Owned]:
    """What a Session owns in a table, by task id. The dispatcher compares."""
    rows = db.read(lambda tx: tx.all(_OWNED.format(table=_quoted(tx, table)), owner=session))
    return {row[0]: Owned(*row[1:]) for row in rows}


def release_forgotten(db: Database, place: settle.Place, forgotten: Mapping[int, Owned]) -> int:
    """Hand back rows that a Session owns but does not hold: a claim whose answer was lost."""
    if not forgotten:
        return 0
    ids = f"id IN ({', '.join(str(int(i)) for i in forgotten)})"
    orphans = db.read(lambda tx: _orphans(tx, place.table, place.session, ids, len(forgotten)))
    endings = [
        _ending(o, Kind.INTERRUPTED, "its claim's answer was lost; it never started", None, 0)
        for o in orphans
        if (o.fence, o.run_id) == (forgotten[o.id].fence, forgotten[o.id].run_id)
    ]
    return _write(db, place, endings, {o.id: o for o in orphans})


def close_lost_tracked(db: Database) -> int:
    """Mark tracked code's Runs as lost whose process is dead; returns how many."""
    lost = db.read(lambda tx: [row[0] for row in tx.all(_LOST_TRACKED)])
    return sum(db.run(partial(record.lose_tracked, run_id=run_id)) for run_id in lost)


def _rescue_owner(
    db: Database,
    table: str,
    owner: str,
    session: SessionRow | None,
    everybody: Sequence[SessionRow],
    max_crashes: int,
) -> int:
    # Where the dead Session is forgotten as well, what others say of the type must do.
    once = _at_most_once([session] if session else everybody)
    why = f"server {session.server_id} died" if session else "its server died"
    after, count = _FIRST, 0
    while True:
        behind = f"id > {after}"
        page = db.read(lambda tx, b=behind: _orphans(tx, table, owner, b))  # type: ignore[misc]
        for queue in {o.queue for o in page}:
            mine = [o for o in page if o.queue == queue]
            place = settle.Place(table, queue or "", owner, mine[0].server_id)
            endings = [
                _ending(o, Kind.LOST, why, max_crashes, int(o.task_type in once)) for o in mine
            ]
            count += _write(db, place, endings, {o.id: o for o in mine})
        if len(page) < _PAGE:
            return count
        after = page[-1].id


def _release_strays(tx: Tx, table: str) -> int:
    why = "it stood at running and no server had it"
    return tx.execute(_STRAYS.format(table=_quoted(tx, table)), why=why)


def _orphans(tx: Tx, table: str, owner: str, which: str, most: int = _PAGE) -> list[Orphan]:
    sql = _ORPHANS.format(
        table=_quoted(tx, table),
        which=which,
        page=most,
        age=tx.dialect.age("start_time"),
        retries=tx.dialect.whole("retry_count"),
        most=tx.dialect.whole("max_retries"),
    )
    return [Orphan(*row) for row in tx.all(sql, owner=owner)]


def _ending(o: Orphan, kind: Kind, why: str, max_crashes: int | None, once: int) -> Ending:
    outcome = Outcome(run_id=o.run_id, kind=kind, error=why)
    attempt = Attempt(
        retry_count=o.retry_count,
        max_retries=o.max_retries,
        crashes=o.crashes,
        retry_interval=o.retry_interval,
        at_most_once=bool(once),
        retry=RetryPolicy(),
        suspect=bool(o.suspect),
    )
    verdict = decide(outcome, attempt, max_crashes=max_crashes or 0, random=random.random)
    lost = kind is Kind.LOST
    return Ending(
        id=o.id,
        fence=o.fence,
        run_id=o.run_id,
        attempt=o.retry_count + 1,
        task_status=int(verdict.task_status),
        retry_count=verdict.retry_count,
        crashes=verdict.crashes,
        delay=verdict.delay,
        error_msg=verdict.error if lost else None,
        run_status=verdict.run_status.value,
        output=None,
        error=verdict.error,
        payload=None,
        # Not below zero: a column without fractions of a second rounds the start up.
        age=max(0.0, float(o.age)) if lost and o.age is not None else None,
        duration=None,
        wait=None,
        cpu_time=None,
        memory=None,
        pid=None,
        suspect=int(verdict.suspect),
    )


def _write(
    db: Database, place: settle.Place, endings: list[Ending], orphans: Mapping[int, Orphan]
) -> int:
    running = [e for e in endings if orphans[e.id].status == TaskStatus.RUNNING]
    edited = [e for e in endings if orphans[e.id].status != TaskStatus.RUNNING]
    written = settle.settle(db, place, running, _nothing).written if running else 0
    return written + sum(settle.close_edited(db, place, ending, None) for ending in edited)


def _nothing(run_id: int) -> ClaimedRow | None:
    return None


def _at_most_once(sessions: Sequence[SessionRow]) -> set[str]:
    return {
        spec["name"]
        for session in sessions
        for spec in session.specs()
        if spec.get("delivery") == "at_most_once"
    }


def _quoted(tx: Tx, table: str) -> str:
    return tx.dialect.quote(table)
