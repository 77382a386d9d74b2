"""kill -9: nothing is lost, nothing runs twice at once, what was killed is soon taken up again."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Callable

import pytest

from harness.history import runs_of, statuses
from harness.lanes import one_lane
from harness.servers import Fleet
from harness.sql import Database, insert_tasks
from harness.storm import findings, kill_one, strike, wait_completed
from harness.waiting import Size, stays_true, wait_until

pytestmark = pytest.mark.crash

SERVERS = ("server-001", "server-002", "server-003", "server-004")

ELSEWHERE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
"""Another host as far as processes can tell: a pid namespace of its own."""


def long_task(seconds: float = 60) -> str:
    return json.dumps({"seconds": seconds})


def needs_namespaces() -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a second pid namespace needs root and unshare")


def test_no_row_is_lost_or_overlaps_itself_while_supervisors_are_killed_at_random(
    fleet: Fleet, db: Database, jobs: Callable[..., None], size: Size
) -> None:
    rows, kills = size(1_000, 10_000), size(6, 50)
    jobs(max_workers=4)
    ids = insert_tasks(db, "jobs", "work", [long_task(0.02)] * rows, max_retries=0)

    for name in SERVERS:
        fleet.start(name)
    strike(fleet, rows, kills, kill_one(fleet, random.Random(1)), within=size(60, 300))
    wait_completed(fleet, db, "jobs", rows, within=size(60, 300))

    assert findings(fleet, db, "jobs", ids) == []
    assert db.value("SELECT COUNT(*) AS n FROM jobs WHERE retry_count <> 0") == 0
    assert len(fleet.kills) == kills


def test_effects_in_the_transaction_of_a_task_equal_its_completion_under_kills(
    fleet: Fleet, db: Database, jobs: Callable[..., None], size: Size
) -> None:
    rows, kills = size(200, 2_000), size(5, 50)
    jobs(max_workers=4)
    db.run("CREATE TABLE effects (task_table varchar(100), task_id bigint, fence bigint)")
    ids = insert_tasks(db, "jobs", "effect", [long_task(0.01)] * rows, max_retries=0)

    for name in SERVERS[:2]:
        fleet.start(name)
    strike(fleet, rows, kills, kill_one(fleet, random.Random(2)), within=size(60, 300))
    wait_completed(fleet, db, "jobs", rows, within=size(60, 300))

    assert findings(fleet, db, "jobs", ids) == []
    doubled = db.run(
        "SELECT task_id, COUNT(*) AS n FROM effects GROUP BY task_id HAVING COUNT(*) <> 1"
    )
    assert doubled == []
    assert db.value("SELECT COUNT(*) AS n FROM effects") == rows
    assert (
        db.run(
            "SELECT e.task_id FROM effects e JOIN jobs t ON t.id = e.task_id"
            " WHERE t.fence <> e.fence"
        )
        == []
    ), "an effect of a run that is not the one that completed"


def test_after_kill_9_a_task_starts_again_on_the_same_host_within_5_seconds_of_the_restart(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    [task] = insert_tasks(db, "jobs", "work", [long_task()])
    server = fleet.start("server-001")
    fleet.wait_started(1)

    server.kill()
    restarted = time.monotonic()
    server.start()
    fleet.wait_started(2)

    again = fleet.journal.starts_of(task)[1]
    assert again.started - restarted <= 5
    assert again.fence == 2
    assert runs_of(db, "jobs", task) == ["lost"]
    assert db.run("SELECT retry_count, status FROM jobs") == [{"retry_count": 0, "status": 1}]


@one_lane
def test_after_kill_9_a_task_starts_again_on_another_host_within_the_lease_and_5_seconds(
    fleet: Fleet, db: Database, jobs: Callable[..., None], size: Size
) -> None:
    needs_namespaces()
    lease = size(5, 30)
    jobs()
    first = fleet.start("server-001", lease=lease)
    [task] = insert_tasks(db, "jobs", "work", [long_task()])
    fleet.wait_started(1)
    fleet.start("server-002", lease=lease, prefix=ELSEWHERE)
    wait_until(
        lambda: db.value("SELECT COUNT(*) AS n FROM ty_servers WHERE state = 'live'") == 2,
        10,
        "the other host is there",
        detail=fleet.logs,
    )

    first.kill()
    killed = time.monotonic()
    fleet.wait_started(2, within=lease + 10)

    again = fleet.journal.starts_of(task)[1]
    assert again.started - killed <= lease + 5
    assert again.fence == 2
    assert runs_of(db, "jobs", task) == ["lost"]


@one_lane
@pytest.mark.parametrize("prefix", [(), ELSEWHERE], ids=["same host", "another host"])
def test_a_second_server_under_a_living_server_id_leaves_with_ty308_and_harms_nothing(
    make_fleet: Callable[..., Fleet],
    url: str,
    db: Database,
    jobs: Callable[..., None],
    prefix: tuple[str, ...],
) -> None:
    if prefix:
        needs_namespaces()
    fleet, twins = make_fleet(url, lease=3), make_fleet(url, lease=3)
    jobs()
    first = fleet.start("server-001")
    [task] = insert_tasks(db, "jobs", "work", [long_task(10)])
    fleet.wait_started(1)

    twin = twins.start("server-001", prefix=prefix)
    code = twin.wait(15)

    assert code == 5
    assert "TY308" in twin.log
    assert first.alive
    wait_completed(fleet, db, "jobs", 1, within=15)
    assert len(fleet.journal.starts_of(task)) == 1
    assert twins.journal.attempts() == []


@one_lane
def test_runners_die_with_their_killed_supervisor_within_2_seconds(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    server = fleet.start("server-001")
    insert_tasks(db, "jobs", "work", [long_task()])
    insert_tasks(db, "jobs", "spin_process", [None])
    insert_tasks(db, "jobs", "spin_shared", [None])
    fleet.wait_started(3)

    server.kill()

    wait_until(lambda: not server.left_behind(), 2, "no runner outlives its supervisor")


@one_lane
def test_a_killed_server_leaves_its_finished_rows_alone(
    quick_fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    first = quick_fleet.start("server-001")
    ids = insert_tasks(db, "jobs", "work", [None] * 20)
    wait_completed(quick_fleet, db, "jobs", 20, within=20)
    first.kill()
    first.start()
    quick_fleet.start("server-002")

    wait_until(
        lambda: db.value("SELECT COUNT(*) AS n FROM ty_servers WHERE state = 'dead'") == 1,
        10,
        "the killed session is certified dead",
        detail=quick_fleet.logs,
    )
    stays_true(lambda: statuses(db, "jobs") == {2: 20}, 2, "finished rows stay finished")
    assert findings(quick_fleet, db, "jobs", ids) == []
