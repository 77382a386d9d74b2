"""The database goes away, is cut off, forgets its answers, or is held by somebody else."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from harness.history import runs_of
from harness.private import PrivateServer
from harness.proxy import Proxy
from harness.servers import Fleet
from harness.sql import Database, connect, create_task_table, family_of, insert_queue, insert_tasks
from harness.storm import findings, strike, wait_completed
from harness.waiting import Size, stays_true, wait_until

pytestmark = pytest.mark.crash


@pytest.fixture
def database(private: PrivateServer) -> str:
    """The name of a fresh database in the private server."""
    return private.fresh()


@pytest.fixture
def direct(private: PrivateServer, database: str) -> Iterator[Database]:
    """The tests' own way to it, past every fault of the proxy."""
    db = Database(private.url(database))
    yield db
    db.close()


@pytest.fixture
def outage_fleet(
    make_fleet: Callable[..., Fleet], private: PrivateServer, database: str, direct: Database
) -> Fleet:
    """A fleet at the private server with the queue ``jobs``, default lease."""
    fleet = make_fleet(private.url(database))
    create_task_table(direct, "jobs")
    insert_queue(direct, "jobs", "jobs", scan_interval=0.2, max_workers=6)
    return fleet


def pids(fleet: Fleet) -> dict[str, int]:
    return {name: server.pid for name, server in fleet.servers.items() if server.alive}


def test_restarts_of_the_database_under_load_lose_nothing_and_repeat_nothing(
    private: PrivateServer, outage_fleet: Fleet, direct: Database, size: Size
) -> None:
    rows, restarts = size(500, 4_000), size(3, 6)
    fleet = outage_fleet
    ids = insert_tasks(direct, "jobs", "work", [json.dumps({"seconds": 0.04})] * rows)
    for name in ("server-001", "server-002"):
        fleet.start(name)
    started = pids(fleet)

    def restart() -> None:
        private.crash()
        direct.close()
        time.sleep(0.5)
        private.start()

    strike(fleet, rows, restarts, restart, within=60)
    wait_completed(fleet, direct, "jobs", rows, within=60)

    assert findings(fleet, direct, "jobs", ids) == []
    assert pids(fleet) == started, "a server exited"


def test_an_outage_longer_than_the_lease_repeats_no_handler_when_it_hits_everyone(
    make_fleet: Callable[..., Fleet],
    private: PrivateServer,
    outage_fleet: Fleet,
    direct: Database,
    size: Size,
) -> None:
    fleet = outage_fleet
    ids = insert_tasks(direct, "jobs", "work", [json.dumps({"seconds": 3})] * 8)
    for name in ("server-001", "server-002"):
        fleet.start(name, lease=2)
    started = pids(fleet)
    fleet.wait_started(8)

    private.shut()
    direct.close()
    time.sleep(size(6, 60))
    assert pids(fleet) == started, "a server exited while the database was away"
    private.start()
    wait_completed(fleet, direct, "jobs", len(ids), within=25)

    assert findings(fleet, direct, "jobs", ids) == []
    assert {tuple(runs_of(direct, "jobs", task)) for task in ids} == {("completed",)}
    assert pids(fleet) == started
    # One line in ten seconds and server is news, a line for each failed attempt is noise.
    for server in fleet.servers.values():
        assert server.log.count("TY102") <= 2 + size(6, 60) // 5, server.log


def test_a_worker_started_while_the_database_is_down_waits_and_then_works(
    private: PrivateServer, outage_fleet: Fleet, direct: Database
) -> None:
    fleet = outage_fleet
    ids = insert_tasks(direct, "jobs", "work", [None] * 5)
    direct.close()
    private.shut()
    try:
        server = fleet.start("server-001")
        wait_until(
            lambda: "TY102" in server.log,
            20,
            "it says that the database is away",
            detail=fleet.logs,
        )
        stays_true(lambda: server.alive, 2, "it waits")
    finally:
        private.start()

    wait_completed(fleet, direct, "jobs", 5, within=20)
    assert server.alive
    assert findings(fleet, direct, "jobs", ids) == []


def test_a_worker_for_an_unknown_database_exits_6(
    private: PrivateServer, outage_fleet: Fleet
) -> None:
    server = outage_fleet.start("server-001", url=private.url("no_such_database"))
    assert server.wait(20) == 6
    assert "TY102" in server.log


def test_connections_that_are_cut_reset_or_half_closed_under_load_lose_nothing(
    private: PrivateServer,
    proxy: Proxy,
    database: str,
    outage_fleet: Fleet,
    direct: Database,
    size: Size,
) -> None:
    rows = size(400, 4_000)
    fleet = outage_fleet
    ids = insert_tasks(direct, "jobs", "work", [json.dumps({"seconds": 0.04})] * rows)
    through = private.url(database, proxy.port)
    for name in ("server-001", "server-002"):
        fleet.start(name, url=through)
    started = pids(fleet)
    faults: list[Callable[[], object]] = [
        proxy.reset_all,
        proxy.half_close_all,
        lambda: proxy.cut_after(700),
        lambda: proxy.cut_after(5_000),
        lambda: refuse_for(proxy, 1.0),
        lambda: silence_for(proxy, 1.5),
    ]
    blows = iter(faults * size(1, 10))

    def blow() -> None:
        next(blows)()

    strike(fleet, rows, size(1, 10) * len(faults), blow, within=size(60, 600))
    wait_completed(fleet, direct, "jobs", rows, within=60)

    assert findings(fleet, direct, "jobs", ids) == []
    assert pids(fleet) == started, "a server exited"


def refuse_for(proxy: Proxy, seconds: float) -> None:
    proxy.refuse(True)
    proxy.reset_all()
    time.sleep(seconds)
    proxy.refuse(False)


def silence_for(proxy: Proxy, seconds: float) -> None:
    proxy.black_hole(True)
    time.sleep(seconds)
    proxy.black_hole(False)


@pytest.mark.parametrize(
    "forgotten", [rb"(?i)COMMIT", rb"(?i)\bUPDATE\b|\bINSERT\b"], ids=["commits", "writes"]
)
def test_answers_that_never_arrive_leave_no_task_stuck_lost_or_run_twice(
    private: PrivateServer,
    proxy: Proxy,
    database: str,
    outage_fleet: Fleet,
    direct: Database,
    forgotten: bytes,
    size: Size,
) -> None:
    rows, times = size(300, 3_000), size(8, 200)
    fleet = outage_fleet
    ids = insert_tasks(direct, "jobs", "work", [json.dumps({"seconds": 0.04})] * rows)
    through = private.url(database, proxy.port)
    for name in ("server-001", "server-002"):
        fleet.start(name, url=through, lease=6)
    started = pids(fleet)

    strike(fleet, rows, times, lambda: proxy.forget_answers(forgotten, 1), within=size(60, 600))
    wait_completed(fleet, direct, "jobs", rows, within=60)

    assert proxy.dropped, "no answer was dropped: the test proves nothing"
    assert findings(fleet, direct, "jobs", ids) == []
    assert pids(fleet) == started, "a server exited"


def test_a_slow_network_costs_no_lease(
    private: PrivateServer, proxy: Proxy, database: str, outage_fleet: Fleet, direct: Database
) -> None:
    fleet = outage_fleet
    ids = insert_tasks(direct, "jobs", "work", [json.dumps({"seconds": 2})] * 6)
    through = private.url(database, proxy.port)
    for name in ("server-001", "server-002"):
        fleet.start(name, url=through, lease=6)
    fleet.wait_started(6)

    proxy.latency = 0.2
    wait_completed(fleet, direct, "jobs", len(ids), within=30)

    assert findings(fleet, direct, "jobs", ids) == []
    assert {row["state"] for row in direct.run("SELECT state FROM ty_servers")} == {"live"}


def test_one_server_cut_off_for_longer_than_its_lease_yields_and_comes_back(
    private: PrivateServer, proxy: Proxy, database: str, outage_fleet: Fleet, direct: Database
) -> None:
    fleet = outage_fleet
    cut_off = fleet.start("server-001", url=private.url(database, proxy.port), lease=2)
    [task] = insert_tasks(direct, "jobs", "work", [json.dumps({"seconds": 6})])
    fleet.wait_started(1)
    fleet.start("server-002", lease=2)

    proxy.black_hole(True)
    try:
        fleet.wait_started(2, within=15)
    finally:
        proxy.black_hole(False)
    wait_completed(fleet, direct, "jobs", 1, within=20)

    assert runs_of(direct, "jobs", task) == ["lost", "completed"]
    assert cut_off.alive
    direct.run("UPDATE queue_configs SET server_id = 'server-001'")
    insert_tasks(direct, "jobs", "work", [None])
    wait_completed(fleet, direct, "jobs", 2, within=20)


def test_a_handler_that_must_not_outlive_its_lease_is_gone_before_another_server_starts_it(
    private: PrivateServer,
    proxy: Proxy,
    database: str,
    outage_fleet: Fleet,
    direct: Database,
) -> None:
    fleet = outage_fleet
    fleet.start("server-001", url=private.url(database, proxy.port), lease=4)
    [task] = insert_tasks(direct, "jobs", "guarded", [json.dumps({"seconds": 12})])
    fleet.wait_started(1)
    fleet.start("server-002", lease=4)

    proxy.black_hole(True)
    fleet.wait_started(2, within=20)

    first, second = fleet.journal.starts_of(task)
    assert first.seen < second.started, f"{first} went on beside {second}"
    assert first.ended is None


def test_a_stranger_who_holds_the_sqlite_file_stops_nothing_for_good(
    make_fleet: Callable[..., Fleet], url: str, db: Database, jobs: Callable[..., None], size: Size
) -> None:
    if family_of(url) != "sqlite":
        pytest.skip("only SQLite is one file")
    fleet = make_fleet(url, lease=3)
    jobs(max_workers=6)
    rows = 200
    ids = insert_tasks(db, "jobs", "work", [json.dumps({"seconds": 0.05})] * rows)
    for name in ("server-001", "server-002"):
        fleet.start(name)
    started = pids(fleet)

    def hold() -> None:
        with closing(connect(url)) as stranger:
            stranger.execute("BEGIN IMMEDIATE")
            time.sleep(size(5, 20))
            stranger.execute("ROLLBACK")

    strike(fleet, rows, 1, hold, within=30)
    wait_completed(fleet, db, "jobs", rows, within=40)

    assert findings(fleet, db, "jobs", ids) == []
    assert pids(fleet) == started, "a server exited"
