"""Batches steered while real servers work on them: pause, resume, cancel, stop, rate limit."""

from __future__ import annotations

import re
import time

import pytest

from crash.batch_facts import (
    by_status,
    clock,
    counts,
    create,
    processed,
    steer,
    wait_for_items,
    wait_for_status,
    wait_over,
    worked,
)
from harness.servers import Fleet
from harness.sql import Database
from harness.waiting import stays_true, wait_until

pytestmark = [pytest.mark.crash, pytest.mark.timeout(300)]

QUICKLY = 2.0
"""Seconds after a pause within which the last item has begun."""
RATE = 20.0


@pytest.fixture
def pair(fleet: Fleet) -> Fleet:
    """Two servers."""
    for name in ("server-001", "server-002"):
        fleet.start(name)
    return fleet


def test_a_pause_stops_new_items_a_resume_goes_on_and_a_cancel_skips_the_rest(
    pair: Fleet, db: Database
) -> None:
    batch = create(pair, 2_000, "--concurrency", "4", "seconds:=0.05")
    wait_for_items(pair, 40)

    steer(pair, "pause", batch)
    told = time.monotonic()
    wait_until(lambda: "running" not in by_status(db, batch), 30, "nothing is under way")
    stays_true(lambda: len(worked(pair)) == counts(db, batch)["success"], 3, "it rests")
    with clock(pair.url) as times:
        paused_at = times.audited("batch.pause")
        begun = times.items("started_at", f"batch_id = {batch} AND started_at IS NOT NULL")
    assert begun[-1] <= paused_at + QUICKLY
    assert max(at for _, at in worked(pair)) <= told + QUICKLY
    rested = counts(db, batch)
    assert 0 < rested["processed"] < 2_000

    steer(pair, "resume", batch)
    wait_for_items(pair, rested["processed"] + 40)
    with clock(pair.url) as times:
        resumed_at = times.audited("batch.resume")
        again = times.items("started_at", f"batch_id = {batch} AND status = 'completed'")
    assert not [at for at in again if paused_at + QUICKLY < at < resumed_at]

    steer(pair, "cancel", batch)
    wait_until(
        lambda: not by_status(db, batch).keys() - {"completed", "skipped"},
        30,
        "the rest is skipped",
        detail=pair.logs,
    )
    ended = counts(db, batch)
    assert db.value(f"SELECT status FROM ty_batches WHERE id = {batch}") == "cancelled"
    assert ended["success"] + ended["skipped"] == 2_000
    assert ended["skipped"] > 1_000
    done = sorted(processed(pair))
    assert done == sorted(set(done)), "no item was done twice"
    assert len(done) == ended["success"]


def test_so_many_failures_stop_it_and_a_resume_goes_on(pair: Fleet, db: Database) -> None:
    batch = create(pair, 1_000, "--stop-after", "5", handler="verify")
    before = stopped(pair, db, batch)
    # Workers of both servers may have had something in hand when the fifth failed.
    assert 5 <= before["failed"] < 100
    assert before["skipped"] == 0

    steer(pair, "resume", batch)
    after = stopped(pair, db, batch)
    assert before["failed"] + 5 <= after["failed"] < before["failed"] + 100
    assert after["processed"] > before["processed"]


def stopped(fleet: Fleet, db: Database, batch: int) -> dict[str, int]:
    """The counters of a batch that has failed, when nothing of it is under way any more."""
    wait_for_status(fleet, db, batch, "failed", 60)
    [row] = db.run(f"SELECT error, active_key FROM ty_batches WHERE id = {batch}")
    assert re.fullmatch(r"stopped after \d+ failed items", row["error"])
    assert row["active_key"] is None
    wait_until(lambda: "running" not in by_status(db, batch), 30, "nothing is under way")
    return counts(db, batch)


def test_a_rate_limit_holds_over_two_servers(pair: Fleet, db: Database) -> None:
    items = 300
    # More at once than one server takes of a queue, 5, so that both must work on it.
    options = ("--concurrency", "8", "--rate-limit", str(RATE), "seconds:=0.0")
    batch = create(pair, items, *options)
    assert wait_over(pair, db, batch, 90)["success"] == items

    with clock(pair.url) as times:
        ends = times.items("completed_at", f"batch_id = {batch}")
    assert ends[-1] - ends[0] > 10
    assert (items - 1) / (ends[-1] - ends[0]) == pytest.approx(RATE, rel=0.1)
    servers = db.run(
        "SELECT DISTINCT server_id FROM ty_runs WHERE id IN"
        f" (SELECT run_id FROM ty_batch_items WHERE batch_id = {batch})"
    )
    assert {row["server_id"] for row in servers} == {"server-001", "server-002"}
