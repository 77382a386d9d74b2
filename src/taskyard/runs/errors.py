"""Errors: what went wrong, counted by what it has in common.

Owns the groups of failed, timed-out and lost Runs, and what makes two errors alike. The Runs are
found as those of `browse.py`'s list are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from taskyard.access.caller import Caller
from taskyard.access.permissions import Permission
from taskyard.core.lifecycle import RunStatus
from taskyard.db.database import Database, Tx
from taskyard.db.listing import MAX_LIMIT, Page, Query, read_filter
from taskyard.db.search import Way, search
from taskyard.runs.browse import moment
from taskyard.runs.listed import RUNS, find_task, ways

GROUP_DEPTH = 2_000
"""How many of the newest failures are grouped."""

FAILURES = (RunStatus.FAILED, RunStatus.TIMEOUT, RunStatus.LOST)

_PAGES = GROUP_DEPTH // MAX_LIMIT
_TAIL = 1_000
_LINE = 300

_FAILED = replace(RUNS, columns=("id", "task_type", "status", "claimed_at", "last_words"), large=())

# An apostrophe within a word quotes nothing.
_VARYING = re.compile(
    r"(?P<quoted>(?<!\w)'[^']*'(?!\w)|\"[^\"]*\"|`[^`]*`)"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
    r"|0x[0-9a-f]+"
    r"|\b(?=[a-f]*[0-9])[0-9a-f]{8,}\b"
    r"|[0-9]+(?:[.,][0-9]+)*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Failures of one task type with the same error, but for numbers, ids and quoted text.

    `error` is the last line of the newest one as it was, `pattern` what all have in common;
    `run_id` is the newest Run, `statuses` counts failed, timeout and lost.
    """

    task_type: str
    pattern: str
    error: str
    count: int
    statuses: dict[str, int]
    first_at: datetime
    last_at: datetime
    run_id: int


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The groups, the largest first. `looked_at` failures were grouped; with `is_capped` there are
    older ones, and `since` is when the oldest of those that were grouped started."""

    groups: list[ErrorGroup]
    looked_at: int
    is_capped: bool
    since: datetime | None


def error_groups(db: Database, caller: Caller, filters: Mapping[str, Any]) -> ErrorGroups:
    """Group the newest failures that the filters (those of `browse.RUNS`) let through.

    Without a `status` these are the failed, timed-out and lost Runs. Raises QueryInvalid,
    QueueUnknown or NotAllowed.
    """
    caller.require(Permission.RUNS_READ)
    asked = {name: value for name, value in filters.items() if value is not None}
    statuses = read_filter(RUNS, "status", asked.get("status", list(FAILURES)))
    asked["status"] = [status for status in statuses if status in FAILURES]
    if not asked["status"]:
        return ErrorGroups([], 0, False, None)
    asked = caller.narrow(asked)
    groups: dict[tuple[str, str], _Group] = {}
    looked_at, reached, more = 0, None, False
    for page in _pages(db, asked):
        for row in page.rows:
            _put(groups, row)
        looked_at += len(page.rows)
        more = page.next_cursor is not None
        reached = page.searched_to or (page.rows[-1]["claimed_at"] if page.rows else reached)
    largest_first = sorted(groups.values(), key=lambda group: (-group.count, -group.last_at))
    return ErrorGroups(
        groups=[group.told() for group in largest_first],
        looked_at=looked_at,
        is_capped=more,
        since=None if reached is None else moment(reached),
    )


def pattern_of(line: str) -> str:
    """What a line of an error has in common with others of its kind."""
    return _VARYING.sub(lambda found: "'…'" if found["quoted"] else "#", line)


# --- the failures --------------------------------------------------------------------------------


def _pages(db: Database, filters: Mapping[str, Any]) -> Iterator[Page]:
    cursor: str | None = None
    for _ in range(_PAGES):
        query = Query(filters, limit=MAX_LIMIT, cursor=cursor)
        page = db.read(partial(_page, query=query))
        yield page
        cursor = page.next_cursor
        if cursor is None:
            return


def _page(tx: Tx, query: Query) -> Page:
    filters = find_task(tx, query.filters)
    found = [_with_last_words(tx, way) for way in ways(tx, filters)]
    return search(tx, _FAILED, found, replace(query, filters=filters))


def _with_last_words(tx: Tx, way: Way) -> Way:
    # Of a traceback only the end: the newest failures could have a hundred megabytes of them.
    tail = tx.dialect.tail("error", _TAIL)
    return [replace(source, columns={**source.columns, "last_words": tail}) for source in way]


# --- their groups --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Group:
    """A group while it grows; Runs come newest first."""

    task_type: str
    pattern: str
    error: str
    run_id: int
    last_at: int
    first_at: int = 0
    count: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def told(self) -> ErrorGroup:
        return ErrorGroup(
            task_type=self.task_type,
            pattern=self.pattern,
            error=self.error,
            count=self.count,
            statuses=dict(self.statuses),
            first_at=moment(self.first_at),
            last_at=moment(self.last_at),
            run_id=self.run_id,
        )


def _put(groups: dict[tuple[str, str], _Group], row: Mapping[str, Any]) -> None:
    lines = (row["last_words"] or "").strip().splitlines()
    line = lines[-1].strip()[:_LINE] if lines else ""
    key = row["task_type"], pattern_of(line)
    if key not in groups:
        groups[key] = _Group(*key, error=line, run_id=row["id"], last_at=row["claimed_at"])
    group = groups[key]
    group.count += 1
    group.statuses[row["status"]] += 1
    group.first_at = row["claimed_at"]
