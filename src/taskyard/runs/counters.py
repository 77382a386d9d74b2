"""Counters: Runs counted since the month began, as a monitoring system reads them again and again.

Owns where the counters begin: at the first of the month (UTC), so that they are the same in every
process, survive restarts, and what they are read from stays small. They start again with each
month, which such systems expect of a counter. Read from the roll-ups (`rollups.py`), never from
history.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.histogram import UNKNOWN
from taskyard.db.database import Database, Tx
from taskyard.runs.grains import DAY, Piece
from taskyard.runs.rollups import now_of
from taskyard.runs.sums import Narrowing, Span, read

MOST = 200
"""Names that are told apart, the first by the alphabet; the others are counted as OTHERS."""

OTHERS = "(others)"


@dataclass(slots=True)
class Timed:
    """What was measured under one name: how often by bin (`core/histogram.py`), and the seconds."""

    by_bin: dict[int, int] = field(default_factory=dict)
    total: float = 0.0

    def add(self, number: int, count: int, total: float) -> None:
        """Add what was measured of `count` Runs in one bin."""
        if number != UNKNOWN:
            self.by_bin[number] = self.by_bin.get(number, 0) + count
            self.total += total


@dataclass(slots=True)
class Counters:
    """Runs that have ended, by task type and status; how long they took, how long they waited."""

    ended: dict[tuple[str, str], int] = field(default_factory=dict)
    took: dict[str, Timed] = field(default_factory=dict)
    """By task type."""
    waited: dict[str, Timed] = field(default_factory=dict)
    """By queue; what was no Task has none."""


def counters(db: Database, caller: Caller) -> Counters:
    """Count since the month began, for all tenants. Raises NotAllowed."""
    caller.require(Permission.MONITORING)
    return db.read(_count)


def _count(tx: Tx) -> Counters:
    span, found = _month(now_of(tx)), Counters()
    ran = read(tx, [span], ("run",), ("task_type", "status", "bin"), Narrowing())
    told = _told(row[1] for row in ran)
    for _, task_type, status, number, count, _, total, _ in ran:
        key = told[task_type], status
        found.ended[key] = found.ended.get(key, 0) + int(count)
        found.took.setdefault(key[0], Timed()).add(number, int(count), float(total))
    waited = read(tx, [span], ("wait",), ("queue", "bin"), Narrowing("queue <> ''"))
    told = _told(row[1] for row in waited)
    for _, queue, number, count, _, total, _ in waited:
        found.waited.setdefault(told[queue], Timed()).add(number, int(count), float(total))
    return found


def _month(now: int) -> Span:
    """From the first of the month on; each grain holds all Runs, so the coarsest is enough."""
    first = datetime.fromtimestamp(now, UTC).replace(day=1, hour=0, minute=0, second=0)
    start, end = int(first.timestamp()), now // DAY * DAY + DAY
    return Span(0, start, end, [Piece(DAY, start, end)])


def _told(names: Iterable[str]) -> dict[str, str]:
    """By name the one that it is counted under. By the alphabet, because it does not change."""
    return {name: name if n < MOST else OTHERS for n, name in enumerate(sorted(set(names)))}
