"""Schedules under kill -9 and outages: each due instant fires once, and what was missed is caught
up by policy.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from harness.lanes import one_lane
from harness.servers import Fleet, run_command
from harness.sql import Database, Row
from harness.storm import findings, wait_completed
from harness.waiting import Size, stays_true, wait_until
from taskyard.db.listing import utc

pytestmark = pytest.mark.crash

SERVERS = ("server-001", "server-002", "server-003", "server-004")
POLICIES = ("all", "one", "skip")
SECOND = timedelta(seconds=1)


@dataclass(frozen=True)
class Fire:
    """An instant that has fired, when that was, and its task."""

    at: datetime
    fired_at: datetime
    task: int


def add(fleet: Fleet, name: str, *options: str) -> int:
    """Make a schedule, as an operator does; returns its id."""
    words = ("schedule", "add", name, "work", *options, "--json")
    return int(json.loads(run_command(fleet.url, *words, folder=fleet.folder))["id"])


def insert(db: Database, policy: str, cron: str) -> int:
    """Make a schedule of that name and misfire policy by plain SQL; returns its id."""
    sql = "INSERT INTO ty_schedules (name, task_type, cron_expression, misfire) VALUES (?, ?, ?, ?)"
    db.run(sql, policy, "work", cron, policy)
    return int(db.value("SELECT id FROM ty_schedules WHERE name = ?", policy))


def runs(db: Database, schedule: int) -> list[Row]:
    """The runs of a schedule that have ended, the first one first."""
    return db.run(
        "SELECT status, attempt, execute_index, started_at, completed_at FROM ty_runs"
        " WHERE schedule_id = ? ORDER BY claimed_at, id",
        schedule,
    )


def side_by_side(ended: list[Row]) -> int:
    """How many runs began before the one before them had ended."""
    return sum(a["completed_at"] > b["started_at"] for a, b in pairwise(ended))


def missed_by(db: Database) -> dict[str, int]:
    """How many instants each policy has let pass."""
    return {row["name"]: row["missed"] for row in db.run("SELECT name, missed FROM ty_schedules")}


def fires(db: Database, schedule: int) -> list[Fire]:
    sql = "SELECT * FROM ty_fires WHERE schedule_id = ? ORDER BY fire_time, task_id"
    found = []
    for row in db.run(sql, schedule, patient=5.0):
        at, fired_at = utc(row["fire_time"]), utc(row["fired_at"])
        assert at is not None
        assert fired_at is not None
        found.append(Fire(at, fired_at, row["task_id"]))
    return found


def first_planned(db: Database, schedule: int) -> datetime:
    found = utc(db.value("SELECT next_fire_at FROM ty_schedules WHERE id = ?", schedule))
    assert found is not None
    return found


def every(start: datetime, step: timedelta, end: datetime) -> list[datetime]:
    """All instants of a rule from one to another."""
    return [start + n * step for n in range(int((end - start) / step) + 1)]


@pytest.mark.timeout(420)
def test_each_due_instant_fires_once_while_servers_are_killed(
    fleet: Fleet, db: Database, size: Size
) -> None:
    """Requirement: 4 servers, each second one of them dies; fires by SQL = due instants."""
    schedule = add(fleet, "tick", "--cron", "* * * * * *", "--misfire", "all")
    first = first_planned(db, schedule)
    rng = random.Random(4)
    for name in SERVERS:
        fleet.start(name)
    wait_until(lambda: fires(db, schedule), 90, "the first fire", detail=fleet.logs)

    for _ in range(size(6, 180)):
        time.sleep(1.0)
        server = rng.choice(list(fleet.servers.values()))
        server.kill()
        server.start()

    until = datetime.now(UTC)
    wait_until(
        lambda: fires(db, schedule)[-1].at >= until, 40, "it has caught up", detail=fleet.logs
    )
    run_command(fleet.url, "schedule", "stop", "tick", folder=fleet.folder)
    fired = fires(db, schedule)
    total = len(fired)
    wait_completed(fleet, db, "default_tasks", total, within=60)

    assert fires(db, schedule) == fired, "it fired after it was stopped"
    assert [fire.at for fire in fired] == every(first, SECOND, fired[-1].at)
    assert len({fire.task for fire in fired}) == total
    assert findings(fleet, db, "default_tasks", [fire.task for fire in fired]) == []
    assert len(fleet.kills) == size(6, 180)


@pytest.mark.timeout(180)
def test_after_an_outage_each_misfire_policy_does_what_it_says(
    fleet: Fleet, db: Database, size: Size
) -> None:
    """All servers are down while two instants pass; `all` fires both of them, `one` one, `skip`
    none."""
    step = timedelta(seconds=size(5, 10))
    ids = {policy: insert(db, policy, f"*/{step.seconds} * * * * *") for policy in POLICIES}
    servers = [fleet.start(name) for name in SERVERS[: size(2, 4)]]
    wait_until(
        lambda: all(fires(db, one) for one in ids.values()), 90, "each fired", detail=fleet.logs
    )
    for server in servers:
        server.kill()
    before = {policy: fires(db, one) for policy, one in ids.items()}
    passed = missed_by(db)
    last = before["all"][-1].at
    missed = every(last + step, step, last + 2 * step)

    # It comes back well before the next instant, so that what it fires then is what it has missed.
    back = missed[-1] + step / 5
    stays_true(
        lambda: {policy: fires(db, one) for policy, one in ids.items()} == before,
        (back - datetime.now(UTC)).total_seconds(),
        "nothing fires while all are down",
    )
    for server in servers:
        server.start()
    wait_until(
        lambda: all(fires(db, one)[-1].at > missed[-1] for one in ids.values()),
        90,
        "each fired on time again",
        detail=fleet.logs,
    )

    after = {policy: fires(db, one)[len(before[policy]) :] for policy, one in ids.items()}
    looked = after["one"][0].fired_at
    due = every(missed[0], step, looked)
    assert due[:2] == missed
    assert [fire.at for fire in after["all"] if fire.at <= looked] == due
    assert [fire.at for fire in after["one"] if fire.at <= looked] == due[-1:]
    assert {fire.at for fire in after["skip"]}.isdisjoint(missed)
    counted = {policy: missed_by(db)[policy] - passed[policy] for policy in POLICIES}
    assert (counted["all"], counted["one"], counted["skip"] >= 2) == (0, len(due) - 1, True)


@one_lane
def test_overlap_policies_with_a_handler_that_is_longer_than_the_interval(
    fleet: Fleet, db: Database
) -> None:
    ids = {}
    for policy in ("allow", "skip", "queue", "replace"):
        db.run(
            "INSERT INTO ty_schedules"
            " (name, task_type, task_params, cron_expression, overlap, retry_count)"
            " VALUES (?, 'work', '{\"seconds\": 1.5}', '* * * * * *', ?, 0)",
            policy,
            policy,
        )
        ids[policy] = db.value("SELECT id FROM ty_schedules WHERE name = ?", policy)
    fleet.start("server-001")
    wait_until(
        lambda: (
            db.value("SELECT MIN(fired + skipped) AS n FROM ty_schedules WHERE source = 'sql'") >= 6
        ),
        60,
        "each had six instants",
        detail=fleet.logs,
    )
    db.run("UPDATE ty_schedules SET status = 0 WHERE source = 'sql'")
    live = "SELECT COUNT(*) AS n FROM default_tasks WHERE status IN (0, 1)"
    assert db.value(live) >= 4, "they were stopped while a run of each goes on"
    fired = {policy: len(fires(db, one)) for policy, one in ids.items()}
    wait_until(lambda: db.value(live) == 0, 60, "what was enqueued has ended", detail=fleet.logs)

    assert {policy: len(fires(db, one)) for policy, one in ids.items()} == fired
    ended = {policy: runs(db, one) for policy, one in ids.items()}
    statuses = {policy: [run["status"] for run in found] for policy, found in ended.items()}
    for policy in ("allow", "skip", "queue"):
        assert statuses[policy] == ["completed"] * fired[policy]
    # One that is replaced before it was claimed has no run.
    assert statuses["replace"].count("cancelled") >= 2
    assert statuses["replace"][-1] == "completed"
    assert side_by_side(ended["allow"]) >= 3
    assert [side_by_side(ended[one]) for one in ("skip", "queue", "replace")] == [0, 0, 0]
    skipped = db.value("SELECT skipped FROM ty_schedules WHERE name = 'skip'")
    assert fired["skip"] + skipped >= 6
    assert skipped >= 3
    assert [run["execute_index"] for run in ended["queue"]] == [*range(1, fired["queue"] + 1)]


@one_lane
def test_retries_limits_and_triggers_of_stopped_schedules(fleet: Fleet, db: Database) -> None:
    hourly = ("--interval", "1h", "--stopped", "--json")
    handlers = {
        "failing": ("backup", "--retry-count", "3", "--retry-interval", "1"),
        "watched": ("work", "seconds:=8", "--monitor-timeout", "1"),
        "killed": ("work_process", "seconds:=60", "--timeout", "1", "--retry-count", "0"),
    }
    fleet.start("server-001")
    ids = {}
    for name, words in handlers.items():
        told = run_command(fleet.url, "schedule", "add", name, *words, *hourly, folder=fleet.folder)
        ids[name] = int(json.loads(told)["id"])
        run_command(fleet.url, "schedule", "trigger", name, folder=fleet.folder)

    wait_until(
        lambda: db.value("SELECT COUNT(*) AS n FROM default_tasks WHERE status IN (0, 1)") == 0,
        40,
        "all have ended",
        detail=fleet.logs,
    )
    [watched] = runs(db, ids["watched"])
    [incident] = db.run("SELECT * FROM ty_incidents WHERE summary LIKE ?", "%has been running%")
    assert watched["status"] == "completed"
    assert watched["started_at"] + SECOND <= incident["first_at"] < watched["completed_at"]
    assert [run["status"] for run in runs(db, ids["killed"])] == ["timeout"]
    failed = runs(db, ids["failing"])
    numbers = [(run["status"], run["execute_index"], run["attempt"]) for run in failed]
    assert numbers == [("failed", 1, attempt) for attempt in (1, 2, 3, 4)]
    pauses = [b["started_at"] - a["completed_at"] for a, b in pairwise(failed)]
    assert all(SECOND * 0.9 <= pause <= SECOND * 5 for pause in pauses)
    assert db.value("SELECT COUNT(*) AS n FROM ty_fires") == 0, "a stopped one fired"
