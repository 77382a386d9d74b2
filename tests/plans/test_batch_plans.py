"""Plans of looking at items: a page reads a part of a million, a search goes on in parts."""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

import pytest

from conformance.batched import Batched
from conformance.spine import Spine
from harness.sql import Database as Stranger
from plans.crowd import analyze, fill
from plans.watching import Watch, watching
from taskyard.access.caller import LOCAL
from taskyard.batches.browse import list_items
from taskyard.db import search
from taskyard.db.listing import Page, Query

TABLE = "ty_batch_items"
OTHERS = 5_000
QUICK = 1.0
"""Seconds that a page of a search may take on a machine that has other things to do."""

SIZES = [20_000, pytest.param(1_000_000, marks=[pytest.mark.long, pytest.mark.timeout(900)])]


@pytest.fixture(params=SIZES, ids=lambda size: f"{size:,}")
def batch(request: pytest.FixtureRequest, spine: Spine, stranger: Stranger) -> int:
    """A batch of so many items beside another's; the last has an error of its own."""
    batched = Batched(spine)
    with closing(stranger):
        named = "CONCAT('{part}-', i)" if stranger.family == "mysql" else "'{part}-' || i"
        batch = batched.add([-1], start=False)
        for number, size in ((batch, request.param), (batch + 1, OTHERS)):
            columns = {"item_id": named, "data": "'1'", "attempts": "1"}
            status = "CASE WHEN i % 7 = 0 THEN 'failed' ELSE 'completed' END"
            fill(stranger, TABLE, size, batch_id=str(number), status=status, **columns)
        stranger.run(
            f"UPDATE {TABLE} SET error = 'a needle' WHERE status = 'failed' AND id ="
            f" (SELECT n FROM (SELECT MAX(id) AS n FROM {TABLE} WHERE batch_id = {batch}"
            " AND status = 'failed') AS last)"
        )
        analyze(stranger, TABLE)
    return batch


def look(spine: Spine, batch: int, **query: Any) -> tuple[Page, Watch]:
    with watching() as watch:
        page = list_items(spine.db, LOCAL, batch, Query(**query))
    return page, watch


def test_a_page_is_read_along_an_index(spine: Spine, batch: int) -> None:
    for filters in ({}, {"status": "failed"}, {"status": "completed,pending"}, {"item_id": "0-7"}):
        page, watch = look(spine, batch, filters=filters, limit=50)
        assert page.rows and page.searched_to is None
        scanned = [one for one in watch.on(TABLE) if any(TABLE in scan for scan in one.scans)]
        assert not scanned, "\n".join(map(str, scanned))


def test_a_search_looks_only_so_far_and_goes_on(spine: Spine, batch: int) -> None:
    """A needle in the last item, and every page on the way to it is quick."""
    found, cursor, slowest = [], None, 0.0
    while True:
        began = time.monotonic()
        query = Query({"q": "NEEDLE"}, cursor=cursor, large=("error",))
        page = list_items(spine.db, LOCAL, batch, query)
        slowest = max(slowest, time.monotonic() - began)
        found += [row["error"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ["a needle"]
    assert slowest < QUICK


def test_what_a_search_reads_is_bounded(
    spine: Spine, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SECONDS", 0.0)
    page, watch = look(spine, batch, filters={"q": "nowhere"})
    assert page.rows == []
    assert page.next_cursor is not None
    scanned = [one for one in watch.on(TABLE) if any(TABLE in scan for scan in one.scans)]
    assert not scanned, "\n".join(map(str, scanned))
