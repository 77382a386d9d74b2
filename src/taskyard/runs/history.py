"""History: Runs as the task history of requirement 3 shows them.

Owns what may be asked of it: its orders, its pages by offset, an exact total. It reaches back
WINDOW Runs: the newest of those that are asked for, whatever the order is, so that no question
reads more. How a Run is told is `retold.py`'s, the list in our own words `browse.py`'s.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from taskyard.access.caller import ENGINE, Caller
from taskyard.access.permissions import Permission
from taskyard.db import select
from taskyard.db.database import Database, Tx
from taskyard.db.listing import Query, understand
from taskyard.db.search import Way
from taskyard.db.select import Asked, Behind, Condition, Operator, Source
from taskyard.runs import browse, retold
from taskyard.runs.listed import RUNS, ways
from taskyard.runs.retold import STATUSES

WINDOW = 100_000
"""Runs that the history reaches back, and up to which its total counts: what its original keeps."""

READ = 10_000
"""Runs that are read where no index has the answer: the newest that are put in another order than
that of their start (older ones follow by start), or looked through for a task and a status both."""

MOST = 10_000
"""Rows of one answer."""

DETAIL = 2_000
"""Characters of a payload that a list shows; one Run shows it whole."""

SORTS = {
    "started_at": "claimed_at",
    "ended_at": "completed_at",
    "duration": "execution_time",
    "task": "task_type",
    "status": "word",
}
"""Its orders, and the columns that they go by."""

# The index is in the order of claims. By the time of its start a Run is never further from its
# place there than there are Tasks that one moment's Servers hold and have not started.
_SLACK = 500

_CHUNK = 500

_SHORT = """
CASE WHEN LENGTH({payload}) <= :_detail THEN {payload}
     WHEN {payload} IS NOT NULL THEN '{{"truncated": true}}' END
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part of the history is asked for; None leaves open.

    `status` is one of STATUSES, `task` a task type, `sort` one of SORTS. Rows that are equal come
    with the largest id first, those without a value last.
    """

    status: str | None = None
    task: str | None = None
    sort: str = "started_at"
    descending: bool = True
    limit: int = MOST
    offset: int = 0


def list_history(db: Database, caller: Caller, wanted: Wanted) -> tuple[list[dict[str, Any]], int]:
    """A page of the history of all tenants, and how many Runs there are, up to WINDOW.

    Raises NotAllowed.
    """
    caller.require(Permission.MONITORING)

    try:
        return db.read(partial(_list, wanted=wanted))
    except Exception as error:
        if not db.dialect.is_table_missing(error):
            raise
        return db.read(partial(_list, wanted=wanted, gone=browse.gone_tables(db)))


def show_history(db: Database, caller: Caller, run_id: int) -> dict[str, Any]:
    """One Run with its log. Raises RunUnknown or NotAllowed."""
    caller.require(Permission.MONITORING)
    run = browse.show_run(db, ENGINE, run_id)
    return retold.row(run) | {"logs": db.read(partial(retold.log, run=run))}


def history_names(db: Database, caller: Caller) -> list[str]:
    """The names that there are Runs of, sorted. Raises NotAllowed."""
    caller.require(Permission.MONITORING)
    return browse.task_types(db, ENGINE)


# --- the list ------------------------------------------------------------------------------------


def _list(tx: Tx, wanted: Wanted, gone: Collection[str] = ()) -> tuple[list[dict[str, Any]], int]:
    view = _View(tx, wanted, gone)
    return view.page(), view.total()


class _View:
    """The part of the history that is asked for."""

    def __init__(self, tx: Tx, wanted: Wanted, gone: Collection[str]) -> None:
        self.tx = tx
        self.wanted = wanted
        filters = {
            "task_type": None if wanted.task is None else [wanted.task],
            "status": None if wanted.status is None else list(STATUSES[wanted.status]),
        }
        asked = understand(RUNS, Query(filters))
        self.asked = replace(asked, columns=("id", "started_at", "claimed_at"), descending=True)
        self.way, self.floor = self._furthest(ways(tx, filters, gone))
        if self.floor is not None:
            self.asked = self._from(self.asked, self.floor)

    def page(self) -> list[dict[str, Any]]:
        """The rows."""
        limit = min(self.wanted.limit, WINDOW - self.wanted.offset)
        if limit <= 0:
            return []
        ids = self._by_start(limit) if self.wanted.sort == "started_at" else self._by_value(limit)
        return _rows(self.tx, self.way, ids)

    def total(self) -> int:
        """How many there are."""
        if self.floor is not None and not any(map(self._unsettled, self.way)):
            return WINDOW
        return min(WINDOW, select.count(self.tx, self.asked, self.way, cap=WINDOW))

    # --- how far --------------------------------------------------------------------------------

    def _furthest(self, found: Sequence[Way]) -> tuple[Way, int | None]:
        """The way on which the window reaches furthest, and the claim at its end."""
        reached = [(self._floor(way), way) for way in found]
        floor, way = min(reached, key=lambda each: -1 if each[0] is None else each[0])
        return way, floor

    def _floor(self, way: Way) -> int | None:
        """The claim at the end of the window along a way; None: it holds all there is."""
        walk = replace(self.asked, conditions=())
        ends = [
            select.position(self.tx, walk, [source], self._depth(source))
            for source in way
            if not source.few
        ]
        return max((end.value for end in ends if end is not None), default=None)

    def _depth(self, source: Source) -> int:
        """How many Runs of a source are looked at: few, where they lie scattered and are read."""
        return READ if source.settles and self._unsettled(source) else WINDOW

    def _unsettled(self, source: Source) -> bool:
        """Must its Runs be read to tell whether they are asked for?"""
        columns = {condition.column for condition in self.asked.conditions}
        return not source.few and bool(columns - source.settles - {"claimed_at"})

    def _from(self, asked: Asked, claim: int) -> Asked:
        within = Condition("claimed_at", Operator.FROM, (claim,))
        return replace(asked, conditions=(*asked.conditions, within))

    # --- in which order -------------------------------------------------------------------------

    def _by_start(self, limit: int) -> list[int]:
        return self._started(self.asked, self.wanted.descending, limit, self.wanted.offset)

    def _by_value(self, limit: int) -> list[int]:
        """The ids of a page by a value: of the newest in that order, then of the older ones."""
        newest, count, older = self._newest()
        offset = self.wanted.offset
        ids: list[int] = []
        if offset < count:
            order = [(SORTS[self.wanted.sort], self.wanted.descending), ("id", True)]
            way = [_sortable(source) for source in self.way]
            ids = select.keys(self.tx, newest, way, order, limit, offset)
        if older is not None and len(ids) < limit:
            ids += self._started(older, True, limit - len(ids), max(0, offset - count))
        return ids

    def _newest(self) -> tuple[Asked, int, Asked | None]:
        """The Runs that are put in order, how many they are, and the older ones, if any."""
        end = select.position(self.tx, self.asked, self.way, READ)
        if end is None:
            return self.asked, READ, None
        newest = self._from(self.asked, end.value)
        count = select.count(self.tx, newest, self.way, cap=WINDOW)
        return newest, count, replace(self.asked, behind=Behind(end.value))

    def _started(self, asked: Asked, descending: bool, limit: int, offset: int) -> list[int]:
        """The ids of a page by start: those around it by claim, put in order."""
        before = min(offset, _SLACK)
        asked = replace(asked, descending=descending)
        if skip := offset - before:
            asked = replace(asked, behind=select.position(self.tx, asked, self.way, skip))
            if asked.behind is None:
                return []
        rows = select.fetch(self.tx, asked, self.way, before + limit + _SLACK)
        rows.sort(key=lambda row: -row["id"])
        rows.sort(key=retold.start, reverse=descending)
        return [row["id"] for row in rows[before : before + limit]]


def _sortable(source: Source) -> Source:
    """A source with the columns that the orders need; live Runs have no duration yet."""
    words = " ".join(f"WHEN '{ours}' THEN '{word}'" for ours, word in retold.WORDS.items())
    columns = {**source.columns, "word": f"CASE {source.column('status')} {words} END"}
    if source.few:
        columns["execution_time"] = source.column("cpu_time")
    return replace(source, columns=columns)


def _rows(tx: Tx, way: Sequence[Source], ids: Sequence[int]) -> list[dict[str, Any]]:
    """The Runs of these ids as rows, in this order."""
    rows: list[dict[str, Any]] = []
    for first in range(0, len(ids), _CHUNK):
        chunk = ids[first : first + _CHUNK]
        found = {run["id"]: run for source in way for run in _runs(tx, source, chunk)}
        rows += [retold.row(found[number]) for number in chunk if number in found]
    return rows


def _runs(tx: Tx, source: Source, ids: Sequence[int]) -> list[dict[str, Any]]:
    columns = {name: source.column(name) for name in retold.COLUMNS}
    columns["payload"] = _SHORT.format(payload=columns["payload"])
    names = ", ".join(f"{expression} AS {name}" for name, expression in columns.items())
    where = f"{source.column('id')} IN ({', '.join(map(str, ids))})"
    sql = f"SELECT {names} FROM {source.table} WHERE {where} AND {source.where or '1 = 1'}"
    return tx.rows(sql, **source.parameters, _detail=DETAIL)
