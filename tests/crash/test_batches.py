"""Batches under kills and outages: each item's success once, what is repeated was under way."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from harness.private import PrivateServer
from harness.servers import Fleet, run_command
from harness.sql import Database
from harness.waiting import Size, wait_until

pytestmark = pytest.mark.crash

CONCURRENCY = 4
AHEAD = 4
"""Items of 20 ms that fit into the 50 ms for which a worker takes ahead, and one to learn by."""


def create(fleet: Fleet, items: int, *options: str) -> int:
    """A batch of so many items by the command line, as a person would."""
    file = fleet.folder / "items.jsonl"
    file.write_text("".join(f"{n}\n" for n in range(items)))
    arguments = ("batch", "create", "check", "--items", str(file), *options)
    return int(run_command(fleet.url, *arguments, folder=fleet.folder))


def processed(fleet: Fleet) -> list[int]:
    """The items that were worked through, in order, from the file that the handler appends to."""
    file = fleet.folder / "items.log"
    return [int(line.split()[0]) for line in file.read_text().splitlines()] if file.exists() else []


def wait_over(fleet: Fleet, db: Database, batch: int, within: float) -> dict[str, int]:
    """Wait for the end; the batch's counters, which must be those of its items."""
    sql = f"SELECT status FROM ty_batches WHERE id = {batch}"
    wait_until(
        lambda: db.value(sql, patient=5) == "completed",
        within,
        "the batch is completed",
        detail=fleet.logs,
    )
    names = ("total", "processed", "success", "failed", "skipped")
    columns = ", ".join(f"{name}_count AS {name}" for name in names)
    [told] = db.run(f"SELECT {columns} FROM ty_batches WHERE id = {batch}")
    counted = {
        row["status"]: row["n"]
        for row in db.run(
            "SELECT status, COUNT(*) AS n FROM ty_batch_items"
            f" WHERE batch_id = {batch} GROUP BY status"
        )
    }
    assert told["success"] == counted.get("completed", 0)
    assert told["failed"] == counted.get("failed", 0)
    assert told["total"] == sum(counted.values())
    times = f"SELECT COUNT(*) AS n FROM ty_batches WHERE id = {batch}"
    assert db.value(f"{times} AND started_at < completed_at") == 1
    return {name: told[name] for name in names}


def test_killed_servers_repeat_only_what_was_under_way(
    quick_fleet: Fleet, db: Database, size: Size
) -> None:
    items, kills = size(400, 2_000), size(3, 10)
    fleet = quick_fleet
    names = ("server-001", "server-002")
    for name in names:
        fleet.start(name)
    batch = create(fleet, items, "--concurrency", str(CONCURRENCY))

    for kill in range(1, kills + 1):
        goal = kill * items // (kills + 1)
        wait_until(lambda g=goal: len(processed(fleet)) >= g, 60, "it goes on", detail=fleet.logs)  # type: ignore[misc]
        victim = fleet.servers[names[kill % 2]]
        victim.kill()
        victim.start()

    counts = wait_over(fleet, db, batch, within=90)
    done = Counter(processed(fleet))
    assert counts == {
        "total": items,
        "processed": items,
        "success": items,
        "failed": 0,
        "skipped": 0,
    }
    assert set(done) == set(range(items))
    assert sum(done.values()) - items <= kills * CONCURRENCY * AHEAD


def test_a_kill_of_all_servers_never_ends_a_batch(quick_fleet: Fleet, db: Database) -> None:
    fleet = quick_fleet
    server = fleet.start("server-001")
    batch = create(fleet, 100, "--concurrency", "2", "seconds:=0.05")
    wait_until(lambda: len(processed(fleet)) > 10, 40, "it has begun", detail=fleet.logs)
    server.kill()
    before = len(processed(fleet))

    other = fleet.start("server-002")
    wait_until(lambda: len(processed(fleet)) > before, 40, "it goes on", detail=fleet.logs)

    assert other.alive
    assert wait_over(fleet, db, batch, within=60)["success"] == 100


@pytest.fixture
def database(private: PrivateServer) -> str:
    """The name of a fresh database in the private server."""
    return private.fresh()


@pytest.fixture
def direct(private: PrivateServer, database: str) -> Iterator[Database]:
    """The tests' own way to it."""
    db = Database(private.url(database))
    yield db
    db.close()


def test_99_accounts_survive_a_restart_of_the_database_and_a_kill(
    make_fleet: Callable[..., Fleet],
    private: PrivateServer,
    database: str,
    direct: Database,
    size: Size,
) -> None:
    apart = size(50, 500)
    fleet = make_fleet(private.url(database), lease=4)
    for name in ("server-001", "server-002"):
        fleet.start(name)
    options = ("--concurrency", "1", "--pause", str(apart / 1000), "--notify", "ada@example.org")
    batch = create(fleet, 99, *options, "seconds:=0.01")

    wait_until(lambda: len(processed(fleet)) >= 30, 60, "it has begun", detail=fleet.logs)
    private.crash()
    direct.close()
    time.sleep(1)
    private.start()
    wait_until(lambda: len(processed(fleet)) >= 60, 60, "it goes on", detail=fleet.logs)
    owner = direct.value("SELECT server_id FROM batches_tasks WHERE status = 1", patient=10)
    fleet.servers[str(owner or "server-001")].kill()

    counts = wait_over(fleet, direct, batch, within=90)
    done = Counter(processed(fleet))
    assert (counts["processed"], counts["success"], set(done)) == (99, 99, set(range(99)))
    assert sum(done.values()) <= 99 + 2
    told = [
        json.loads(row["task_params"])
        for row in direct.run("SELECT task_params FROM alerts_tasks", patient=5)
    ]
    assert [one["batch_id"] for one in told] == [batch]
