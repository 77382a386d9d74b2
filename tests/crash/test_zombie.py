"""Zombies: a server that slept through its lease wakes up; nothing it brings back is accepted."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from harness.history import judge_table, runs_of
from harness.lanes import one_lane
from harness.servers import Fleet, lives
from harness.sql import Database, connect, create_task_table, insert_queue, insert_tasks
from harness.storm import wait_completed
from harness.waiting import stays_true, wait_until

pytestmark = pytest.mark.crash


@pytest.mark.parametrize("first_awake", ["runners", "supervisor"])
def test_a_result_of_a_server_that_slept_through_its_lease_is_rejected(
    quick_fleet: Fleet, db: Database, jobs: Callable[..., None], first_awake: str
) -> None:
    jobs()
    fleet = quick_fleet
    zombie = fleet.start("server-001")
    [task] = insert_tasks(db, "jobs", "work_thread", [json.dumps({"seconds": 1.5})])
    fleet.wait_started(1)

    stopped = zombie.stop()
    rescuer = fleet.start("server-002")
    wait_completed(fleet, db, "jobs", 1, within=15)
    finished = db.run("SELECT * FROM jobs")
    assert runs_of(db, "jobs", task) == ["lost", "completed"]

    zombie.resume(stopped, runners_first=first_awake == "runners")
    wait_until(
        lambda: not any(lives(p) for p in stopped),
        2,
        "the zombie's runners are gone",
        detail=fleet.logs,
    )
    stays_true(
        lambda: (
            db.run("SELECT * FROM jobs") == finished
            and runs_of(db, "jobs", task) == ["lost", "completed"]
        ),
        1.5,
        "the stale result changes nothing",
    )
    assert judge_table(db, "jobs", [task]) == []
    assert zombie.alive and rescuer.alive


@one_lane
def test_a_server_that_woke_up_declared_dead_works_on_under_a_new_session(
    quick_fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    fleet = quick_fleet
    create_task_table(db, "own_tasks")
    insert_queue(db, "own", "own_tasks", server_id="server-001", scan_interval=0.2)
    zombie = fleet.start("server-001")
    insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 1})])
    fleet.wait_started(1)
    stopped = zombie.stop()
    fleet.start("server-002")
    wait_completed(fleet, db, "jobs", 1, within=15)

    zombie.resume(stopped, runners_first=False)

    [mine] = insert_tasks(db, "own_tasks", "work", [None])
    wait_completed(fleet, db, "own_tasks", 1, within=10)
    lives_of_it = db.run(
        "SELECT session, state FROM ty_servers WHERE server_id = 'server-001' ORDER BY started_at"
    )
    assert [row["state"] for row in lives_of_it] == ["dead", "live"]
    assert fleet.journal.starts_of(mine, "own_tasks")[0].supervisor == zombie.pid


@pytest.mark.parametrize("lane", ["postgres", "mariadb"], indirect=True)
def test_a_row_that_a_stopped_server_has_locked_does_not_delay_the_rescue(
    quick_fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    fleet = quick_fleet
    zombie = fleet.start("server-001")
    insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 1})])
    fleet.wait_started(1)
    prune = "SELECT id FROM ty_schedules WHERE name = 'taskyard.prune'"
    wait_until(lambda: db.run(prune), 10, "the server has declared its schedules")
    zombie.kill()

    held = connect(fleet.url, autocommit=False)
    try:
        held.cursor().execute(f"{prune} FOR UPDATE")
        fleet.start("server-002")
        wait_completed(fleet, db, "jobs", 1, within=15)
    finally:
        held.close()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_stops_at_random_never_let_a_stale_run_complete_a_task(
    make_fleet: Callable[..., Fleet], url: str, db: Database, jobs: Callable[..., None]
) -> None:
    rows, stops, rng = 250, 60, random.Random(3)
    fleet = make_fleet(url, lease=1)
    jobs(max_workers=4)
    ids = insert_tasks(db, "jobs", "work_thread", [json.dumps({"seconds": 0.9})] * rows)
    servers = [fleet.start(f"server-00{n}") for n in range(1, 4)]

    for _ in range(stops):
        server = rng.choice(servers)
        stopped = server.stop()
        time.sleep(rng.uniform(0.8, 2.0))
        server.resume(stopped, runners_first=rng.random() < 0.5)
        os.kill(server.pid, signal.SIGCONT)
    wait_completed(fleet, db, "jobs", rows, within=120)

    assert judge_table(db, "jobs", ids) == []
