"""Retention at length: 100,000 of a million Runs are kept, exactly, and nobody waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.sql import Database as Stranger
from plans.crowd import analyze, fill
from taskyard.access.caller import LOCAL
from taskyard.db.database import Database
from taskyard.runs.retention import Pruned, prune
from taskyard.settings import Retention

RUNS = 1_000_000
KEPT = 100_000
RUNNING = 500
LOGGED = 10_000
LONGEST = 1.0

_SECOND = {
    "postgresql": "to_timestamp({0})",
    "mysql": "TIMESTAMP('1970-01-01') + INTERVAL ({0}) SECOND",
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', {0}, 'unixepoch') || '000'",
}

_NEWEST = f"""
SELECT id FROM ty_runs WHERE status <> 'running' ORDER BY completed_at DESC, id DESC LIMIT {KEPT}
"""


class Watched(Database):
    """A database that knows how long its connections were held: no transaction was longer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.held: list[float] = []

    @contextmanager
    def _connection(self, deadline: float) -> Iterator[Any]:
        with super()._connection(deadline) as connection:
            began = time.monotonic()
            yield connection
        self.held.append(time.monotonic() - began)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_the_newest_of_a_million_stay_and_no_transaction_is_long(lane: str) -> None:
    db, stranger = Watched(lane), Stranger(lane)
    number = "({part} * 100000 + i)"
    # Two end in each second, and in an order that is not that of their ids.
    ended = _SECOND[stranger.family].format(f"1790000000 + {number} * 1999 % 500009")
    running = f"{number} % {RUNS // RUNNING} = 1"
    fill(
        stranger,
        "ty_runs",
        RUNS,
        id=number,
        task_type="'work'",
        status=f"CASE WHEN {running} THEN 'running' ELSE 'completed' END",
        origin="'tracked'",
        payload=f"'{'x' * 200}'",
        started_at=ended,
        completed_at=f"CASE WHEN {running} THEN NULL ELSE {ended} END",
        claimed_at=number,
        created_at=ended,
        updated_at=ended,
    )
    fill(
        stranger,
        "ty_run_logs",
        LOGGED,
        run_id=f"{number} * {RUNS // LOGGED}",
        seq="0",
        text="'a line'",
        created_at=ended,
    )
    analyze(stranger, "ty_runs")
    newest = {row[0] for row in db.read(lambda tx: tx.all(_NEWEST))}
    live = {row[0] for row in db.read(lambda tx: tx.all(_RUNNING))}
    assert (len(newest), len(live)) == (KEPT, RUNNING)
    logged = {n for n in range(RUNS // LOGGED, RUNS + 1, RUNS // LOGGED) if n in newest | live}
    db.held.clear()

    pruned = prune(db, LOCAL, Retention(runs_max_rows=KEPT))

    assert pruned == Pruned(runs=RUNS - KEPT - RUNNING, log_chunks=LOGGED - len(logged))
    longest = max(db.held)
    assert {row[0] for row in db.read(lambda tx: tx.all("SELECT id FROM ty_runs"))} == newest | live
    assert {row[0] for row in db.read(lambda tx: tx.all(_LOGS))} == logged
    assert longest <= LONGEST
    stranger.close()
    db.close()


_RUNNING = "SELECT id FROM ty_runs WHERE status = 'running'"
_LOGS = "SELECT run_id FROM ty_run_logs"
