"""Schedules under kill -9 and outages: each due instant fires once, and what was missed is caught
up by policy.
"""

from __future__ import annotations

import json
import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from harness.servers import Fleet, run_command
from harness.sql import Database
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
