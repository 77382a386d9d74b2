"""Search: pages of a list that is too long to be read whole.

Owns how far a list looks when no index narrows it to what was asked: along its order, part by part,
as far as it comes in a few hundredths of a second. What lies beyond is for the next page, so that
every page is quick, however rare the rows are that it looks for, and all pages together give each
of them once. Owns also the loose sorts, which put the newest rows in order, and no others.

The order of such a list is a whole number (when a Run was claimed, the id of a Task).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from taskyard.core.errors import QueryInvalid
from taskyard.db import select
from taskyard.db.database import Tx
from taskyard.db.listing import (
    Listing,
    Page,
    Query,
    place,
    read_cursor,
    totals,
    understand,
    write_cursor,
)
from taskyard.db.select import COUNT_CAP, Asked, Behind, Condition, Operator, Source

SECONDS = 0.035
"""How long a page goes on looking; its last part may take it beyond."""
COUNT_SECONDS = 0.015
"""The same for its total."""

DENSE_PART = 10_000
"""Rows of the first part along the order itself, where they lie side by side."""
SPARSE_PART = 500
"""Rows of the first part along an index that narrows: each may lie on a page of its own."""
SMALLEST_PART = 500
LARGEST_PART = 100_000
LARGEST_SPARSE = 1_000
"""The same along an index that narrows. It was read at 1 µs a row from memory, and the next may be
on a disk, at 0.2 ms each: parts of 16,000 had pages wait for seconds, and reach no further."""

LOOSE_DEPTH = 20_000
"""Rows that a loose sort puts in order, where they lie side by side."""
LOOSE_SPARSE = 5_000
"""The same along an index that narrows."""

CANDIDATES = 2_000
"""Rows that `keep` looks at in one part."""

Way = Sequence[Source]
"""One way to the rows of a list: its sources, each narrowed by an index that is in its order."""

Keep = Callable[[dict[str, Any]], bool]
"""Says of a row what SQL cannot."""


def search(
    tx: Tx,
    listing: Listing,
    ways: Sequence[Way],
    query: Query,
    also: Sequence[Condition] = (),
    keep: Keep | None = None,
) -> Page:
    """Give one page of a list, as far as it is found in time.

    `ways` lead to the same rows; the one that reaches furthest is taken. `also` are conditions
    beside the query's filters; a row must pass them, and `keep`. Raises QueryInvalid, also for an
    offset that is not reached in time.
    """
    asked = understand(listing, query)
    asked = replace(asked, conditions=(*asked.conditions, *also))
    walk = listing.sorts[listing.sort.removeprefix("-")]
    kind = _Search if asked.column == walk else _LooseSearch
    return kind(tx, listing, ways, query, asked, keep, walk).page()


class _Budget:
    """How long it may go on, and how much fits into what is left."""

    def __init__(self, seconds: float, largest: int) -> None:
        self._seconds = seconds
        self._largest = largest
        self._began = self._part_began = time.monotonic()

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self._began >= self._seconds

    def next_part(self, size: int) -> int:
        """How many rows to look at next, after a part of `size` rows."""
        now = time.monotonic()
        rate = size / max(now - self._part_began, 1e-4)
        left = self._seconds - (now - self._began)
        self._part_began = now
        # Not all that would fit: further back less of it is in the database's memory.
        return max(SMALLEST_PART, min(self._largest, int(rate * left / 2), 2 * size))


@dataclass(frozen=True, slots=True)
class _Part:
    """What one part of a search found; `behind` is where the next begins, None at the end."""

    rows: list[dict[str, Any]]
    behind: Behind | None
    is_full: bool = False


class _Search:
    """One search in the list's own order, while it lasts."""

    def __init__(
        self,
        tx: Tx,
        listing: Listing,
        ways: Sequence[Way],
        query: Query,
        asked: Asked,
        keep: Keep | None,
        walk: str,
    ) -> None:
        self.tx = tx
        self.listing = listing
        self.ways = ways
        self.query = query
        self.asked = asked
        self.keep = keep
        self.walk = walk
        self.descending = asked.descending

    def page(self) -> Page:
        """The page."""
        start = self.asked.behind
        way, size = self._way(start)
        if self.query.offset and start is None:
            start = self._skip(way, size)
            if start is None:
                return Page([], **self._count(way, size))
        rows: list[dict[str, Any]] = []
        budget = self._budget(SECONDS, way)
        behind = start
        while True:
            part = self._part(way, size, behind, self.query.limit - len(rows))
            rows += part.rows
            behind = part.behind
            if part.is_full or behind is None or budget.is_over:
                break
            size = budget.next_part(size)
        searched_to = None if part.is_full or behind is None else behind.value
        return Page(
            rows=rows,
            next_cursor=write_cursor(self.listing, self.query, behind) if behind else None,
            searched_to=searched_to,
            **self._total(rows, whole=start is None and not part.is_full, more=behind is not None),
        )

    def _part(self, way: Way, size: int, behind: Behind | None, limit: int) -> _Part:
        """Look at `size` rows of a way for `limit` more rows of the page."""
        floor = self._floor(way, behind, size)
        part = self._look(way, replace(self._within(floor, self.asked), behind=behind), limit)
        if part.behind is None and floor is not None:
            return replace(part, behind=Behind(floor))
        return part

    def _skip(self, way: Way, size: int) -> Behind | None:
        """Where the page starts that leaves out the first `offset` rows; None: there are fewer."""
        left, behind, budget = self.query.offset, None, self._budget(SECONDS, way)
        while True:
            floor = self._floor(way, behind, size)
            asked = replace(self._within(floor, self.asked), behind=behind)
            found = select.position(self.tx, asked, way, left)
            if found is not None or floor is None:
                return found
            if budget.is_over:
                raise QueryInvalid(
                    "offset",
                    f"{self.query.offset:,} rows cannot be skipped in time under these filters.",
                    "Start without an offset, and follow next_cursor.",
                )
            left -= select.count(self.tx, asked, way, cap=left)
            behind = Behind(floor)
            size = budget.next_part(size)

    def _look(self, way: Way, asked: Asked, limit: int) -> _Part:
        wanted = limit if self.keep is None else CANDIDATES
        rows = select.fetch(self.tx, asked, way, wanted + 1)
        looked = rows[:wanted]
        kept = looked if self.keep is None else [row for row in looked if self.keep(row)]
        if len(kept) > limit or (self.keep is None and len(rows) > limit):
            return _Part(kept[:limit], place(asked, kept[limit - 1]), is_full=True)
        return _Part(kept, place(asked, looked[-1]) if len(rows) > wanted else None)

    # --- how far --------------------------------------------------------------------------------

    def _budget(self, seconds: float, way: Way) -> _Budget:
        return _Budget(seconds, LARGEST_SPARSE if self._is_sparse(way) else LARGEST_PART)

    def _way(self, behind: Behind | None) -> tuple[Way, int]:
        """The way whose first part reaches furthest, and the size of that part."""
        reached: list[tuple[int, Way, int]] = []
        for way in self.ways:
            size = SPARSE_PART if self._is_sparse(way) else DENSE_PART
            floor = self._floor(way, behind, size)
            if floor is None:
                return way, size
            reached.append((floor, way, size))
        furthest = min if self.descending else max
        _, way, size = furthest(reached, key=lambda each: each[0])
        return way, size

    def _floor(self, way: Way, behind: Behind | None, size: int) -> int | None:
        """Where `size` rows of a way end, shared out among its sources; None: they are all."""
        walk = Asked(
            columns=(),
            conditions=tuple(c for c in self.asked.conditions if c.column == self.walk),
            column=self.walk,
            key=self.listing.key,
            descending=self.descending,
            behind=behind,
        )
        ends: list[int] = []
        bounded = [replace(source, rest="") for source in way if self._is_bounded(source)]
        while bounded:
            share = max(1, size // len(bounded))
            found = [select.position(self.tx, walk, [source], share) for source in bounded]
            ends = [end.value for end in found if end is not None]
            if len(ends) in (0, len(bounded)):
                break
            # What the short ones leave over is for the long ones.
            bounded = [source for source, end in zip(bounded, found, strict=True) if end]
        if not ends:
            return None
        return max(ends) if self.descending else min(ends)

    def _is_sparse(self, way: Way) -> bool:
        return any(source.where for source in way if self._is_bounded(source))

    def _is_bounded(self, source: Source) -> bool:
        """Must rows of it be passed over that are not in the list?"""
        if source.few:
            return False
        columns = {condition.column for condition in self.asked.conditions}
        loose_ends = columns - source.settles - {self.walk}
        return bool(loose_ends or source.rest) or self.keep is not None

    def _within(self, floor: int | None, asked: Asked) -> Asked:
        if floor is None:
            return asked
        end = Condition(self.walk, Operator.FROM, (floor,))
        if not self.descending:
            end = Condition(self.walk, Operator.TO, (floor + 1,))
        return replace(asked, conditions=(*asked.conditions, end))

    # --- how many -------------------------------------------------------------------------------

    def _total(self, rows: Sequence[Any], *, whole: bool, more: bool) -> dict[str, Any]:
        if not self.query.count:
            return {}
        if whole or self.keep is not None:
            return totals(len(rows)) | {"total_is_capped": more}
        return self._count(*self._way(None))

    def _count(self, way: Way, size: int) -> dict[str, Any]:
        """Count from the top, part by part."""
        if not self.query.count:
            return {}
        budget = self._budget(COUNT_SECONDS, way)
        behind: Behind | None = None
        count = 0
        while True:
            floor = self._floor(way, behind, size)
            asked = replace(self._within(floor, self.asked), behind=behind)
            count += select.count(self.tx, asked, way)
            if floor is None or count > COUNT_CAP or budget.is_over:
                break
            behind = Behind(floor)
            size = budget.next_part(size)
        return totals(count) | {"total_is_capped": count > COUNT_CAP or floor is not None}


class _LooseSearch(_Search):
    """One search in an order that no index has: of the newest rows, as many as LOOSE_DEPTH."""

    def page(self) -> Page:
        """The page; its cursor holds where the newest rows end, so that this stays."""
        self.descending = True
        way, floor = self._newest()
        asked = self._within(floor, self.asked)
        if self.query.offset and asked.behind is None:
            start = select.position(self.tx, asked, way, self.query.offset)
            if start is None:
                return Page([], searched_to=floor, **self._count_newest(asked, way, floor))
            asked = replace(asked, behind=start)
        part = self._look(way, asked, self.query.limit)
        cursor = None
        if part.behind is not None:
            cursor = write_cursor(self.listing, self.query, part.behind, floor)
        total = self._count_newest(asked, way, floor)
        return Page(part.rows, cursor, searched_to=floor, **total)

    def _newest(self) -> tuple[Way, int | None]:
        if self.query.cursor:
            return self.ways[0], read_cursor(self.query.cursor, self.query.sort)[1]
        reached: list[tuple[int, Way]] = []
        for way in self.ways:
            depth = LOOSE_SPARSE if self._is_sparse(way) else LOOSE_DEPTH
            floor = self._floor(way, None, depth)
            if floor is None:
                return way, None
            reached.append((floor, way))
        floor, way = min(reached, key=lambda each: each[0])
        return way, floor

    def _is_bounded(self, source: Source) -> bool:
        return not source.few

    def _count_newest(self, asked: Asked, way: Way, floor: int | None) -> dict[str, Any]:
        if not self.query.count:
            return {}
        count = select.count(self.tx, replace(asked, behind=None), way)
        return totals(count) | {"total_is_capped": count > COUNT_CAP or floor is not None}
