"""Batches under kills and outages: each item's success once, what is repeated was under way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from crash.batch_facts import clock, create, processed, wait_for_items, wait_over
from harness.catcher import Mailbox
from harness.private import PrivateServer
from harness.servers import Fleet, Server
from harness.sql import Database
from harness.waiting import Size, wait_until

pytestmark = pytest.mark.crash

CONCURRENCY = 4
AHEAD = 4
"""Items of 20 ms that fit into the 50 ms for which a worker takes ahead, and one to learn by."""


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


LEASE = 2
WITHIN = LEASE + 5.0
"""Seconds within which a batch goes on whose worker was killed."""


def kill_holder(fleet: Fleet, db: Database) -> tuple[Server, int]:
    """Kill the server whose Task of the batch runs; it, and the Run that it leaves behind.

    A slot changes hands every few seconds: one that just did is looked for again.
    """
    sql = "SELECT server_id, run_id FROM batches_tasks WHERE status = 1"
    for _ in range(10):
        [held] = wait_until(lambda: db.run(sql), 20, "somebody works", every=0.01)
        victim = fleet.servers[held["server_id"]]
        victim.kill()
        if [row["run_id"] for row in db.run(sql)] == [held["run_id"]]:
            return victim, int(held["run_id"])
        victim.start()
    raise AssertionError("no server could be caught at work")


def test_a_batch_goes_on_by_itself_when_the_server_that_has_it_is_killed(
    quick_fleet: Fleet, db: Database
) -> None:
    fleet = quick_fleet
    for name in ("server-001", "server-002"):
        fleet.start(name)
    batch = create(fleet, 300, "--concurrency", "1", "seconds:=0.05")
    wait_for_items(fleet, 20)

    victim, lost = kill_holder(fleet, db)
    with clock(fleet.url) as times:
        killed_at = times.now()
        after = f"run_id <> {lost} AND completed_at IS NOT NULL AND batch_id = {batch}"
        first = wait_until(
            lambda: [at for at in times.items("completed_at", after) if at > killed_at],
            60,
            "another server goes on",
            detail=fleet.logs,
        )
    assert first[0] - killed_at <= WITHIN
    assert not victim.alive
    assert db.value(f"SELECT status FROM ty_batches WHERE id = {batch}") == "running"
    assert wait_over(fleet, db, batch, within=90)["success"] == 300
    assert len(processed(fleet)) <= 300 + AHEAD


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


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with closing(Mailbox()) as mailbox:
        yield mailbox


def mail_to(mailbox: Mailbox) -> dict[str, Any]:
    """The settings of servers that send their mail there."""
    return {
        "smtp_host": "127.0.0.1",
        "smtp_port": mailbox.port,
        "smtp_tls": "none",
        "smtp_from": "Taskyard <jobs@example.com>",
        "alert_hosts": "127.0.0.1",
        "public_url": "https://jobs.example.com",
    }


@pytest.mark.timeout(300)
def test_99_accounts_survive_a_restart_of_the_database_and_a_kill(
    make_fleet: Callable[..., Fleet],
    mailbox: Mailbox,
    private: PrivateServer,
    database: str,
    direct: Database,
    size: Size,
) -> None:
    apart = size(50, 500)
    fleet = make_fleet(private.url(database), lease=4, **mail_to(mailbox))
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
    sent = "SELECT COUNT(*) AS n FROM alerts_tasks WHERE status <> 2"
    wait_until(lambda: mailbox.mails, 60, "a mail", detail=fleet.logs)
    wait_until(lambda: direct.value(sent) == 0, 60, "nothing is left to be sent")
    assert mailbox.recipients == [["ada@example.org"]]
    [mail] = mailbox.mails
    assert mail["Subject"] == "[Taskyard] batch check has completed"
    text = mail.get_body(("plain",))
    assert text is not None
    assert "99" in text.get_content()
    assert f"https://jobs.example.com/batches/{batch}" in text.get_content()
