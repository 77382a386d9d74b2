"""Surplus: which finished Runs are more than is to be kept, of all types or of some.

Owns how the newest are found without an index on their end, which would cost every settle of every
day what this costs once a night. One walk along the primary key, a part in each read, counts Runs
by the minute in which they ended; only the minute in which the limit falls is then sorted. So
nothing reads or locks for long, and what goes is exact. A task type with limits of its own is kept
by these alone, all the others together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from taskyard.db.database import Database, Tx
from taskyard.db.listing import utc
from taskyard.settings import Retention

PART = 5_000
"""Runs that are read at once."""

_FIRST = -(2**63)
_ENDED = "status <> 'running' AND completed_at IS NOT NULL"

_COUNT = """
SELECT grouped, minute, COUNT(*), MAX(id) FROM (
  SELECT id, {group} AS grouped, CASE WHEN {ended} THEN {minute} END AS minute
    FROM ty_runs WHERE id > :after ORDER BY id LIMIT :part) AS part
 GROUP BY grouped, minute
"""

_OF_MINUTE = """
SELECT completed_at, id FROM ty_runs
 WHERE id > :after AND id <= :until AND {group} = :group AND {ended} AND {minute} = :minute
"""

_BEYOND = """
SELECT id FROM ty_runs
 WHERE id > :after AND id <= :until AND {group} = :group AND {ended}
   AND completed_at <= :time AND (completed_at < :time OR id <= :id)
 ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class _Limit:
    """What is kept of a group; None is no limit."""

    max_rows: int | None
    max_age: float | None


@dataclass(frozen=True, slots=True)
class _Part:
    """A stretch of ids, and the first and last minute in which Runs of each group ended in it."""

    after: int
    until: int
    minutes: dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class _Bound:
    """The newest Run to go; `time` is in the form in which the driver gives and takes it."""

    time: Any
    id: int

    @property
    def minute(self) -> int:
        ended = utc(self.time)
        assert ended is not None
        return int(ended.timestamp()) // 60 * 60

    @property
    def order(self) -> tuple[Any, int]:
        return utc(self.time), self.id


def surplus(db: Database, keep: Retention) -> Iterator[list[int]]:
    """The ids of all Runs that are beyond what is kept, some at a time; those that run never are.

    What is beyond is decided before the first are given, so two that do this at a time agree.
    """
    limits = _limits(keep)
    if not any(limit.max_rows is not None or limit.max_age is not None for limit in limits):
        return
    look = _Look(db, list(keep.task_types))
    ended = look.count()
    bounds = {
        group: bound
        for group, limit in enumerate(limits)
        if (bound := look.bound(group, limit, ended.get(group, Counter())))
    }
    yield from look.beyond(bounds)


def _limits(keep: Retention) -> list[_Limit]:
    """Of all types without limits of their own, and of each that has."""
    own = [_Limit(one.runs_max_rows, one.runs_max_age) for one in keep.task_types.values()]
    return [_Limit(keep.runs_max_rows or None, keep.runs_max_age), *own]


class _Look:
    """One look at all Runs, in parts."""

    def __init__(self, db: Database, task_types: Sequence[str]) -> None:
        self._db = db
        self._parts: list[_Part] = []
        self._names = {f"type_{number}": name for number, name in enumerate(task_types, 1)}
        cases = " ".join(f"WHEN :type_{n} THEN {n}" for n in range(1, len(task_types) + 1))
        minute = db.dialect.minute("completed_at")
        group = f"CASE task_type {cases} ELSE 0 END" if cases else "0"
        self._words = {"group": group, "ended": _ENDED, "minute": minute}

    def count(self) -> dict[int, Counter[int]]:
        """How many ended in each minute, by group."""
        ended: dict[int, Counter[int]] = {}
        after = _FIRST
        while rows := self._read(_COUNT, after=after, part=PART):
            minutes: dict[int, tuple[int, int]] = {}
            until = max(row[3] for row in rows)
            for group, minute, runs, _ in rows:
                if minute is not None:
                    ended.setdefault(group, Counter())[int(minute)] += runs
                    low, high = minutes.get(group, (minute, minute))
                    minutes[group] = (min(low, minute), max(high, minute))
            self._parts.append(_Part(after, until, minutes))
            after = until
        return ended

    def bound(self, group: int, limit: _Limit, ended: Counter[int]) -> _Bound | None:
        """The newest Run of a group that is to go."""
        bounds = (self._by_number(group, limit, ended), self._by_age(limit))
        return max(filter(None, bounds), key=lambda bound: bound.order, default=None)

    def beyond(self, bounds: dict[int, _Bound]) -> Iterator[list[int]]:
        """The Runs up to the bound of each group; parts without any are not read again."""
        for part in self._parts:
            for group, bound in bounds.items():
                if group in part.minutes and part.minutes[group][0] <= bound.minute:
                    rows = self._read_part(_BEYOND, part, group, time=bound.time, id=bound.id)
                    yield [row[0] for row in rows]

    def _by_number(self, group: int, limit: _Limit, ended: Counter[int]) -> _Bound | None:
        if limit.max_rows is None:
            return None
        left = limit.max_rows
        for minute in sorted(ended, reverse=True):
            if ended[minute] > left:
                found = sorted(self._ended_in(group, minute), key=lambda b: b.order, reverse=True)
                return found[left] if len(found) > left else None
            left -= ended[minute]
        return None

    def _by_age(self, limit: _Limit) -> _Bound | None:
        if limit.max_age is None:
            return None
        sql = f"SELECT {self._db.dialect.utc_after('-(:age)')}"
        time = self._db.read(lambda tx: tx.value(sql, age=limit.max_age))
        return _Bound(time, 2**63 - 1)

    def _ended_in(self, group: int, minute: int) -> Iterator[_Bound]:
        for part in self._parts:
            low, high = part.minutes.get(group, (minute + 1, minute))
            if low <= minute <= high:
                rows = self._read_part(_OF_MINUTE, part, group, minute=minute)
                yield from (_Bound(*row) for row in rows)

    def _read_part(self, sql: str, part: _Part, group: int, **values: Any) -> list[tuple[Any, ...]]:
        return self._read(sql, after=part.after, until=part.until, group=group, **values)

    def _read(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        return self._db.read(partial(_rows, sql=sql.format(**self._words), **self._names, **values))


def _rows(tx: Tx, /, *, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    return tx.all(sql, **values)
