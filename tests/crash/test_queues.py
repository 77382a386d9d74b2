"""Requirement 5 on running servers: queues made, moved, narrowed and broken by plain SQL."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from harness.history import busiest, runs_of
from harness.lanes import one_lane
from harness.servers import Fleet
from harness.sql import (
    CREATE_TASKS,
    INDEX_TASKS,
    Database,
    insert_queue,
    insert_tasks,
    is_adopted,
)
from harness.storm import findings, wait_completed
from harness.waiting import Size, stays_true, wait_until

pytestmark = pytest.mark.crash

SYNC = 1.0
"""config_sync_interval of these fleets, in seconds."""


def test_requirement_5_works_word_for_word(fleet: Fleet, db: Database) -> None:
    """The CREATE TABLE, the three scenarios and their UPDATEs, as printed there."""
    db.run(CREATE_TASKS[db.family].format(table="your_task_table"))
    if INDEX_TASKS[db.family]:
        db.run(INDEX_TASKS[db.family].format(table="your_task_table"))
    insert_queue(db, "your_queue", "your_task_table", server_id="server-001")
    db.run("""INSERT INTO queue_configs
(queue_name, table_name, server_id, max_workers, scan_interval)
VALUES ('email_queue', 'email_tasks', 'server-001', 10, 2)""")
    db.run("""INSERT INTO queue_configs
(queue_name, table_name, server_id, max_workers, scan_interval)
VALUES ('sync_queue', 'data_sync_tasks', 'server-002', 5, 5)""")
    db.run("""INSERT INTO queue_configs
(queue_name, table_name, server_id, max_workers, scan_interval)
VALUES ('report_queue', 'report_tasks', 'server-003', 3, 10)""")
    scans = {"email_tasks": 2, "data_sync_tasks": 5, "report_tasks": 10, "your_task_table": 5}
    owners = {
        "email_tasks": "server-001",
        "data_sync_tasks": "server-002",
        "report_tasks": "server-003",
        "your_task_table": "server-001",
    }
    for name in ("server-001", "server-002", "server-003"):
        fleet.start(name)
    wait_until(
        lambda: all(is_adopted(db, table) for table in scans),
        20,
        "all tables are made",
        detail=fleet.logs,
    )
    # The queues are synced and idle, so a row can't ride on the first scan after the start.
    wait_until(
        lambda: db.value("SELECT COUNT(*) AS n FROM ty_servers WHERE state = 'live'") == 3,
        10,
        "three servers",
    )

    inserted = time.monotonic()
    ids = {
        table: insert_tasks(db, table, "work", [json.dumps({"seconds": 0.4})])[0] for table in scans
    }
    seen: dict[str, list[int]] = {table: [] for table in scans}

    def watch() -> bool:
        for table, states in seen.items():
            [row] = db.run(f"SELECT status FROM {table}")
            if not states or states[-1] != row["status"]:
                states.append(int(row["status"]))
        return all(states[-1] == 2 for states in seen.values())

    wait_until(watch, 20, "all four rows at 2", every=0.03, detail=lambda: f"{seen} {fleet.logs()}")
    for table, scan in scans.items():
        [attempt] = fleet.journal.starts_of(ids[table], table)
        assert attempt.started - inserted <= scan + 2, table
        assert attempt.supervisor == fleet.servers[owners[table]].pid, table
        assert seen[table] in ([0, 1, 2], [1, 2]), table
        assert runs_of(db, table, ids[table]) == ["completed"]
        [row] = db.run(f"SELECT server_id, start_time, end_time, error_msg FROM {table}")
        assert row["server_id"] == owners[table]
        assert row["start_time"] is not None and row["end_time"] is not None

    db.run("UPDATE queue_configs SET server_id = 'server-002' WHERE queue_name = 'email_queue'")
    time.sleep(2 * SYNC)
    [moved] = insert_tasks(db, "email_tasks", "work", [None])
    wait_completed(fleet, db, "email_tasks", 2, within=2 + 2)
    assert (
        fleet.journal.starts_of(moved, "email_tasks")[0].supervisor
        == fleet.servers["server-002"].pid
    )
    db.run("UPDATE queue_configs SET server_id = '' WHERE queue_name = 'email_queue'")
    db.run("UPDATE queue_configs SET max_workers = 20 WHERE queue_name = 'email_queue'")
    db.run("UPDATE queue_configs SET max_workers = 2 WHERE queue_name = 'sync_queue'")
    fleet.servers["server-002"].kill()
    insert_tasks(db, "email_tasks", "work", [None] * 3)
    wait_completed(fleet, db, "email_tasks", 5, within=2 * SYNC + 2 + 2)


def test_moving_a_queue_between_live_servers_moves_its_work_within_two_syncs(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs(server_id="server-001", max_workers=2)
    first, second = fleet.start("server-001"), fleet.start("server-002")
    ids = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 0.1})] * 200)
    fleet.wait_started(5)

    db.run("UPDATE queue_configs SET server_id = 'server-002'")
    moved = time.monotonic()
    wait_completed(fleet, db, "jobs", len(ids), within=30)

    attempts = fleet.journal.attempts("jobs")
    assert {a.supervisor for a in attempts if a.started < moved} == {first.pid}
    late = [a for a in attempts if a.started > moved + 2 * SYNC]
    assert late, "nothing was left to run after the move: the test proves nothing"
    assert {a.supervisor for a in late} == {second.pid}
    began = min(a.started for a in attempts if a.supervisor == second.pid)
    assert began - moved <= 2 * SYNC + 0.2
    assert findings(fleet, db, "jobs", ids) == []


def test_after_lowering_max_workers_no_server_runs_more_at_once(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs(max_workers=6)
    servers = [fleet.start("server-001"), fleet.start("server-002")]
    ids = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 0.3})] * 120)
    wait_until(
        lambda: all(busiest(fleet.journal.attempts(), s.pid, 0) == 6 for s in servers),
        20,
        "both servers run six at once",
        detail=fleet.logs,
    )

    db.run("UPDATE queue_configs SET max_workers = 2")
    lowered = time.monotonic()
    wait_completed(fleet, db, "jobs", len(ids), within=40)

    attempts = fleet.journal.attempts("jobs")
    since = lowered + 2 * SYNC
    assert [busiest(attempts, s.pid, since) for s in servers] == [2, 2]
    assert max(busiest(attempts, s.pid, 0) for s in servers) <= 6
    assert findings(fleet, db, "jobs", ids) == []


@one_lane
def test_short_tasks_taken_ahead_respect_max_workers(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs(max_workers=3)
    server = fleet.start("server-001")
    ids = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 0.005})] * 600)
    wait_completed(fleet, db, "jobs", len(ids), within=30)

    assert busiest(fleet.journal.attempts("jobs"), server.pid, 0) <= 3
    assert findings(fleet, db, "jobs", ids) == []


def test_a_bad_queue_row_and_a_column_clash_are_quarantined_with_a_reason(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs()
    server = fleet.start("server-001")
    insert_queue(db, "unsafe", "jobs; DROP TABLE jobs")
    insert_queue(db, "negative", "negative_tasks", max_workers=-1)
    db.run(CREATE_TASKS[db.family].format(table="clash"))
    db.run("ALTER TABLE clash ADD COLUMN fence varchar(20)")
    insert_queue(db, "clashing", "clash")
    insert_tasks(db, "clash", "work", [None])
    insert_queue(db, "fresh", "fresh_tasks", scan_interval=0.2)

    reasons = {"unsafe": "plain identifier", "negative": "max_workers", "clashing": "fence"}

    def silent() -> dict[str, str]:
        told = {queue: shown(db, queue) for queue in reasons}
        return {queue: text for queue, text in told.items() if reasons[queue] not in text}

    wait_until(
        lambda: not silent(),
        10,
        "each bad queue is shown with its reason",
        detail=lambda: f"{silent()} {fleet.logs()}",
    )
    wait_until(
        lambda: is_adopted(db, "fresh_tasks"), 10, "the good queue is made", detail=fleet.logs
    )
    insert_tasks(db, "jobs", "work", [None])
    insert_tasks(db, "fresh_tasks", "work", [None])
    wait_completed(fleet, db, "jobs", 1, within=5)
    wait_completed(fleet, db, "fresh_tasks", 1, within=5)
    assert db.run("SELECT status, fence FROM clash") == [{"status": 0, "fence": None}]
    assert server.alive

    db.run(
        "UPDATE queue_configs SET max_workers = 1, scan_interval = 0.2"
        " WHERE queue_name = 'negative'"
    )
    wait_until(
        lambda: is_adopted(db, "negative_tasks"), 10, "the mended queue is made", detail=fleet.logs
    )
    insert_tasks(db, "negative_tasks", "work", [None])
    wait_completed(fleet, db, "negative_tasks", 1, within=5)


def shown(db: Database, queue: str) -> str:
    """What an operator can read about a queue in its row."""
    [row] = db.run("SELECT * FROM queue_configs WHERE queue_name = ?", queue)
    told = {"queue_name", "table_name", "server_id"}
    return " ".join(str(v) for k, v in row.items() if isinstance(v, str) and k not in told)


@one_lane
def test_a_disabled_queue_rests_until_it_is_enabled_again(
    fleet: Fleet, db: Database, jobs: Callable[..., None]
) -> None:
    jobs(status=0)
    fleet.start("server-001")
    insert_queue(db, "other", "other_tasks", scan_interval=0.2)
    wait_until(lambda: is_adopted(db, "other_tasks"), 40, "the server works", detail=fleet.logs)
    ids = insert_tasks(db, "jobs", "work", [None])
    stays_true(lambda: fleet.journal.attempts() == [], 1.5, "nothing runs in a disabled queue")

    db.run("UPDATE queue_configs SET status = 1")
    wait_completed(fleet, db, "jobs", 1, within=2 * SYNC + 2)
    db.run("UPDATE queue_configs SET status = 0")
    time.sleep(2 * SYNC)
    insert_tasks(db, "jobs", "work", [None])
    stays_true(lambda: len(fleet.journal.attempts()) == 1, 1.5, "a queue disabled again rests")
    assert len(ids) == 1


def test_rate_limit_holds_within_10_percent_over_two_servers(
    fleet: Fleet, db: Database, jobs: Callable[..., None], size: Size
) -> None:
    rate, seconds = 40, size(6, 20)
    jobs(rate_limit=rate, max_workers=20)
    insert_tasks(db, "jobs", "work", [None] * rate * (seconds + 8))
    servers = [fleet.start("server-001"), fleet.start("server-002")]
    wait_until(
        lambda: {a.supervisor for a in fleet.journal.attempts()} >= {s.pid for s in servers},
        20,
        "both servers run tasks",
        detail=fleet.logs,
    )
    since = time.monotonic()
    time.sleep(seconds + 0.5)

    attempts = fleet.journal.attempts()
    counted = sum(since <= a.started < since + seconds for a in attempts)
    assert abs(counted - rate * seconds) <= 0.1 * rate * seconds, counted
    # And evenly: a burst of a whole second is no limit at all.
    for second in range(seconds - 1):
        window = sum(since + second <= a.started < since + second + 1 for a in attempts)
        assert window <= 1.5 * rate, (second, window)
