"""Seals: makes it show when the audit was changed afterwards.

Owns the chain in `ty_audit.seal`: the seal of a row is the SHA-256 of the row before's seal and of
all that the row says, so that no row can be changed, put in or taken out without breaking each seal
behind it. Rows are sealed a minute after they were written, when no transaction with a smaller id
can be under way any more; not by whoever writes them, who would all wait for one another. Whoever
may rewrite the whole table can seal it anew: note the newest seal elsewhere now and then.

Owns the retention of the audit as well, because a chain that lost its beginning needs an anchor:
what was removed is said in the audit itself, with the last seal of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any

import orjson

from taskyard.access import audit
from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.db.database import Database, Tx
from taskyard.db.listing import utc
from taskyard.db.locks import lock

_SETTLED = 60.0
"""Seconds after which a row's predecessors are written or never will be: a transaction ends within
35 s."""
_CHUNK = 500
_MOST_PROBLEMS = 100
_LOCK = "audit_seals"
_PRUNE = "audit.prune"

_NEWEST_SEALED = """
SELECT id, seal FROM ty_audit WHERE seal IS NOT NULL ORDER BY id DESC LIMIT 1
"""

_ROWS = """
SELECT id, at, actor, user_id, token_id, address, request_id, action, object, tenant_id, {before},
       {after}, seal, CASE WHEN at < {settled} THEN 1 ELSE 0 END AS settled
  FROM ty_audit WHERE id > :after ORDER BY id LIMIT :chunk
"""

_OLD = """
SELECT id, seal FROM ty_audit WHERE at < {bound} AND seal IS NOT NULL ORDER BY id DESC LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a look through the whole audit found.

    `sealed` and `waiting` count rows with and still without a seal; `head` is the id and the seal
    of the newest sealed row. `problems` says of each row what is wrong with it; none is good.
    """

    sealed: int
    waiting: int
    head: tuple[int, str] | None
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON-ready data."""
        return asdict(self)


def seal(db: Database, most: int = 2_000) -> int:
    """Seal what was written more than a minute ago, about `most` rows; returns how many."""
    total, last = 0, db.read(_end)
    while total < most and db.read(partial(_has_work, after=last[0])):
        done, last = db.run(partial(_seal_some, last=last))
        total += done
    return total


def verify(db: Database, caller: Caller) -> Verified:
    """Look through the whole audit for what was changed, put in or taken out. Raises NotAllowed."""
    caller.require(Permission.AUDIT_READ)
    last, previous = db.read(_beginning)
    waiting: list[int] = []
    sealed, head, problems = 0, None, []
    for row in _rows(db, last):
        if row["seal"] is None:
            waiting.append(row["id"])
            continue
        problems += [f"row {n} was put in, or lost its seal" for n in waiting]
        waiting.clear()
        if row["seal"] != _seal_of(previous, row):
            problems.append(f"row {row['id']}, or one that was before it, was changed or removed")
        sealed, previous, head = sealed + 1, row["seal"], (row["id"], row["seal"])
        if len(problems) > _MOST_PROBLEMS:
            break
    return Verified(sealed, len(waiting), head, problems[:_MOST_PROBLEMS])


def prune(db: Database, caller: Caller, max_age: float) -> int:
    """Remove sealed rows older than `max_age` seconds; returns how many.

    A row of the audit keeps the last seal that was removed. Raises NotAllowed.
    """
    caller.require(Permission.PURGE)
    last = db.run(partial(_announce, caller=caller, max_age=max_age))
    total = 0
    while last is not None and (done := db.run(partial(_remove_some, last=last))):
        total += done
    return total


# --- sealing -------------------------------------------------------------------------------------


def _seal_some(tx: Tx, last: tuple[int, str]) -> tuple[int, tuple[int, str]]:
    """Seal rows behind `last`, while nobody else does; how many, and the last that has a seal."""
    lock(tx, _LOCK)
    seals = []
    for row in _unsealed(_chunk(tx, last[0])):
        if row["seal"] is None:
            row["seal"] = _seal_of(last[1], row)
            seals.append({"id": row["id"], "seal": row["seal"]})
        last = (row["id"], row["seal"])
    tx.many("UPDATE ty_audit SET seal = :seal WHERE id = :id", seals)
    return len(seals), last


def _unsealed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settled rows from the last on that another sealer has sealed meanwhile."""
    sealed = [place for place, row in enumerate(rows) if row["seal"] is not None]
    behind = rows[sealed[-1] if sealed else 0 :]
    return list(takewhile(lambda row: row["settled"] or row["seal"] is not None, behind))


def _has_work(tx: Tx, after: int) -> bool:
    return any(row["settled"] for row in _chunk(tx, after, 1))


def _end(tx: Tx) -> tuple[int, str]:
    """The newest sealed row, from which the chain goes on, and its seal."""
    found = tx.one(_NEWEST_SEALED)
    return (int(found[0]), str(found[1])) if found else _beginning(tx)


def _seal_of(previous: str, row: dict[str, Any]) -> str:
    at = utc(row["at"])
    assert at is not None
    said = [at.isoformat(timespec="microseconds")]
    said += [value for name, value in row.items() if name not in ("at", "seal", "settled")]
    return hashlib.sha256(previous.encode() + b"\n" + orjson.dumps(said)).hexdigest()


def _beginning(tx: Tx) -> tuple[int, str]:
    """Behind which row, with which seal, the chain begins: a prune has said so, or at the start."""
    quoted = tx.dialect.quote("after")
    sql = (
        f"SELECT {quoted} FROM ty_audit WHERE object = 'audit' AND action = :action"
        " ORDER BY id DESC LIMIT 1"
    )
    pruned = tx.value(sql, action=_PRUNE)
    if pruned is None:
        return 0, ""
    through = orjson.loads(pruned)
    return int(through["id"]), str(through["seal"])


# --- reading -------------------------------------------------------------------------------------


def _rows(db: Database, after: int) -> Iterator[dict[str, Any]]:
    while found := db.read(partial(_chunk, after=after)):
        yield from found
        after = found[-1]["id"]


def _chunk(tx: Tx, after: int, rows: int = _CHUNK) -> list[dict[str, Any]]:
    quote, settled = tx.dialect.quote, tx.dialect.utc_after(f"-{_SETTLED}")
    sql = _ROWS.format(before=quote("before"), after=quote("after"), settled=settled)
    return tx.rows(sql, after=after, chunk=rows)


# --- retention -----------------------------------------------------------------------------------


def _announce(tx: Tx, caller: Caller, max_age: float) -> int | None:
    """Write down up to which row the audit goes; None when nothing does."""
    found = tx.one(_OLD.format(bound=tx.dialect.utc_after("-(:age)")), age=max_age)
    if found is None or found[0] <= _beginning(tx)[0]:
        return None
    audit.write(tx, caller, _PRUNE, "audit", after={"id": found[0], "seal": found[1]})
    return int(found[0])


def _remove_some(tx: Tx, last: int) -> int:
    ids = tx.all(
        "SELECT id FROM ty_audit WHERE id <= :last ORDER BY id LIMIT :chunk",
        last=last,
        chunk=_CHUNK,
    )
    return tx.execute("DELETE FROM ty_audit WHERE id <= :last", last=ids[-1][0]) if ids else 0
