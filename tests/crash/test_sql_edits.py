"""SQL is a door like any other: what an operator writes into a running row is obeyed."""

from __future__ import annotations

import json
from collections.abc import Callable

import psutil
import pytest

from harness.history import Attempt, runs_of
from harness.servers import Fleet
from harness.sql import Database, insert_tasks
from harness.storm import wait_completed
from harness.waiting import wait_until

pytestmark = pytest.mark.crash

KINDS = ("work", "work_thread", "work_process")
"""A coroutine, a thread that looks at its cancel flag, and a process that ignores everything."""

OBEYED_WITHIN = 8.0


def start_long_tasks(fleet: Fleet, db: Database) -> dict[str, int]:
    """One running task of each kind, by its kind."""
    fleet.start("server-001", lease=3)
    ids = {kind: insert_tasks(db, "jobs", kind, [json.dumps({"seconds": 60})])[0] for kind in KINDS}
    fleet.wait_started(len(KINDS))
    return ids


def handler_left(attempt: Attempt) -> bool:
    """Whether a handler is over: by its own word, or because its process is gone."""
    return attempt.stopped is not None or not psutil.pid_exists(attempt.pid)


def wait_handlers_left(fleet: Fleet, ids: dict[str, int]) -> None:
    def going_on() -> list[str]:
        return [k for k, task in ids.items() if not handler_left(fleet.journal.starts_of(task)[0])]

    wait_until(
        lambda: not going_on(),
        OBEYED_WITHIN,
        "all handlers are stopped",
        detail=lambda: f"{going_on()} {fleet.logs()}",
    )


def wait_runs(fleet: Fleet, db: Database, ids: dict[str, int], expected: list[str]) -> None:
    def runs() -> dict[str, list[str]]:
        return {kind: runs_of(db, "jobs", task) for kind, task in ids.items()}

    wait_until(
        lambda: runs() == dict.fromkeys(ids, expected),
        OBEYED_WITHIN,
        f"the Runs are {expected}",
        detail=lambda: f"{runs()} {fleet.logs()}",
    )


def still_works(fleet: Fleet, db: Database, pid: int) -> None:
    """The same supervisor takes the next task."""
    [task] = insert_tasks(db, "jobs", "work", [None])
    wait_until(
        lambda: db.run("SELECT status FROM jobs WHERE id = ?", task) == [{"status": 2}],
        10,
        "the server goes on working",
        detail=fleet.logs,
    )
    assert fleet.servers["server-001"].pid == pid and fleet.servers["server-001"].alive


def test_status_4_written_over_a_running_row_stops_its_handler(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    ids = start_long_tasks(fleet, db)
    pid = fleet.servers["server-001"].pid

    db.run("UPDATE jobs SET status = 4")

    wait_handlers_left(fleet, ids)
    wait_runs(fleet, db, ids, ["cancelled"])
    assert db.run("SELECT DISTINCT status, owner FROM jobs") == [{"status": 4, "owner": None}]
    still_works(fleet, db, pid)


def test_status_0_written_over_a_running_row_runs_it_again_without_overlap(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    ids = start_long_tasks(fleet, db)
    pid = fleet.servers["server-001"].pid

    db.run("""UPDATE jobs SET status = 0, task_params = '{"seconds": 0}'""")

    wait_completed(fleet, db, "jobs", len(ids), within=15)
    wait_runs(fleet, db, ids, ["cancelled", "completed"])
    for kind, task in ids.items():
        first, second = fleet.journal.starts_of(task)
        assert (first.fence, second.fence) == (1, 2)
        if first.stopped is None:
            assert kind == "work_process"
            assert not psutil.pid_exists(first.pid)
            assert second.pid != first.pid
        else:
            assert first.stopped <= second.started
    assert db.run("SELECT DISTINCT retry_count, fence FROM jobs") == [
        {"retry_count": 0, "fence": 2}
    ]
    still_works(fleet, db, pid)


def test_a_deleted_running_row_stops_its_handler_and_leaves_a_cancelled_run(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    ids = start_long_tasks(fleet, db)
    pid = fleet.servers["server-001"].pid

    db.run("DELETE FROM jobs")

    wait_handlers_left(fleet, ids)
    wait_runs(fleet, db, ids, ["cancelled"])
    still_works(fleet, db, pid)


def test_status_4_written_over_a_pending_row_keeps_it_from_ever_running(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    [cancelled] = insert_tasks(db, "jobs", "work", [None])
    db.run("UPDATE jobs SET status = 4")
    fleet.start("server-001")
    [other] = insert_tasks(db, "jobs", "work", [None])

    wait_until(
        lambda: db.run("SELECT status FROM jobs WHERE id = ?", other) == [{"status": 2}],
        20,
        "the next row runs",
        detail=fleet.logs,
    )
    assert fleet.journal.starts_of(cancelled) == []
    assert runs_of(db, "jobs", cancelled) == []


def test_status_0_written_over_a_completed_row_runs_it_once_more(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    fleet.start("server-001")
    [task] = insert_tasks(db, "jobs", "work", [None])
    wait_completed(fleet, db, "jobs", 1, within=20)

    db.run("UPDATE jobs SET status = 0")

    wait_until(
        lambda: runs_of(db, "jobs", task) == ["completed", "completed"],
        10,
        "two Runs",
        detail=fleet.logs,
    )
    assert [a.fence for a in fleet.journal.starts_of(task)] == [1, 2]
