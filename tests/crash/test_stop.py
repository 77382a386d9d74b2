"""SIGTERM: a server leaves in good order and its unfinished work costs nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from harness.history import overlaps, runs_of, statuses
from harness.lanes import one_lane
from harness.servers import Fleet
from harness.sql import Database, insert_tasks
from harness.storm import findings, wait_completed
from harness.waiting import wait_until

pytestmark = pytest.mark.crash

GRACE = 2
BEYOND = 10
"""Seconds a stop may take beyond the grace: three for the flag, the rest for a busy machine."""


def test_sigterm_under_40_long_tasks_hands_all_back_without_a_retry(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs(max_workers=40)
    texts = [json.dumps({"seconds": 60})] * 20
    ids = [
        *insert_tasks(db, "jobs", "work", texts),
        *insert_tasks(db, "jobs", "work_thread", texts),
    ]
    first = fleet.start("server-001", grace=GRACE)
    fleet.wait_started(40)
    db.run("""UPDATE jobs SET task_params = '{"seconds": 0.2}'""")

    first.terminate()
    assert first.wait(GRACE + BEYOND) == 0

    assert statuses(db, "jobs") == {0: 40}
    assert db.run("SELECT DISTINCT retry_count, owner FROM jobs") == [
        {"retry_count": 0, "owner": None}
    ]
    assert {tuple(runs_of(db, "jobs", task)) for task in ids} == {("interrupted",)}
    assert not first.left_behind()
    [session] = db.run("SELECT state FROM ty_servers")
    assert session["state"] == "dead"

    fleet.start("server-002")
    wait_completed(fleet, db, "jobs", 40, within=20)
    assert overlaps(fleet.journal.attempts("jobs")) == []
    assert {tuple(runs_of(db, "jobs", task)) for task in ids} == {("interrupted", "completed")}
    assert db.run("SELECT DISTINCT retry_count FROM jobs") == [{"retry_count": 0}]


@one_lane
def test_handlers_that_ignore_the_stop_are_killed_at_the_end_of_the_grace_and_handed_back(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    ids = [
        insert_tasks(db, "jobs", kind, [json.dumps({"seconds": 60})])[0]
        for kind in ("stubborn", "work_process")
    ]
    server = fleet.start("server-001", grace=1)
    fleet.wait_started(2)

    server.terminate()
    assert server.wait(1 + BEYOND) == 0

    assert not server.left_behind()
    assert db.run("SELECT DISTINCT status, retry_count, owner FROM jobs") == [
        {"status": 0, "retry_count": 0, "owner": None}
    ]
    assert [runs_of(db, "jobs", task) for task in ids] == [["interrupted"], ["interrupted"]]


@one_lane
def test_handlers_that_end_within_the_grace_are_settled_and_nothing_new_is_claimed(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs(max_workers=4)
    ids = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 1})] * 12)
    server = fleet.start("server-001", grace=10)
    fleet.wait_started(4)

    server.terminate()
    stopped = time.monotonic()
    assert server.wait(8) == 0

    assert time.monotonic() - stopped < 5, (
        "it waited for the whole grace although nothing ran any more"
    )
    counts = statuses(db, "jobs")
    assert counts.get(1, 0) == 0 and counts[2] >= 4
    assert all(a.started < stopped + 0.2 for a in fleet.journal.attempts())
    fleet.start("server-002")
    wait_completed(fleet, db, "jobs", len(ids), within=20)
    assert findings(fleet, db, "jobs", ids) == []


@one_lane
def test_a_second_sigterm_stops_at_once(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    [task] = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 60})])
    server = fleet.start("server-001", grace=25)
    fleet.wait_started(1)

    server.terminate()
    wait_until(
        lambda: db.run("SELECT state FROM ty_servers") == [{"state": "draining"}],
        5,
        "it drains",
        detail=fleet.logs,
    )
    server.terminate()
    server.wait(BEYOND)

    assert not server.left_behind()
    assert db.run("SELECT status, retry_count FROM jobs") == [{"status": 0, "retry_count": 0}]
    assert runs_of(db, "jobs", task) == ["interrupted"]


@one_lane
def test_sigterm_during_the_start_leaves_nothing_behind(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    ids = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 0.05})] * 20)
    server = fleet.start("server-001", grace=2)
    for pause in (0.4, 0.7, 1.0, 1.3):
        time.sleep(pause)
        server.terminate()
        assert server.wait(10) in (0, -15)
        assert not server.left_behind()
        server.start()
    wait_completed(fleet, db, "jobs", len(ids), within=20)
    assert findings(fleet, db, "jobs", ids) == []
