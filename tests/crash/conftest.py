"""Fixtures of the fault tests: a fleet on the lane's database, or on a private one and a proxy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.private import Missing, PrivateServer, private_server
from harness.proxy import Proxy
from harness.servers import Fleet
from harness.sql import Database, create_task_table, insert_queue
from harness.waiting import Size

TABLE = "jobs"


@pytest.fixture(
    params=[
        pytest.param(False, id="reduced"),
        pytest.param(True, id="full", marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ]
)
def size(request: pytest.FixtureRequest) -> Size:
    """``size(reduced, full)``; a test that takes it also exists in full size, for ``-m long``."""

    def choose(reduced: int, full: int) -> int:
        return full if request.param else reduced

    return choose


@pytest.fixture
def url(lane: str) -> str:
    """A fresh database of the lane."""
    return lane


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


@pytest.fixture
def make_fleet(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets and ends, whatever happens, every process they started."""
    made: list[Fleet] = []

    def make(url: str, **defaults: object) -> Fleet:
        fleet = Fleet(url, tmp_path / f"fleet{len(made)}", **defaults)
        made.append(fleet)
        fleet.upgrade()
        return fleet

    yield make
    for fleet in made:
        fleet.end()


@pytest.fixture
def fleet(make_fleet: Callable[..., Fleet], url: str) -> Fleet:
    """A fleet on the lane's database, its schema up to date, with a default server's settings."""
    return make_fleet(url)


@pytest.fixture
def quick_fleet(make_fleet: Callable[..., Fleet], url: str) -> Fleet:
    """A fleet with a lease of two seconds, for tests that wait for its end."""
    return make_fleet(url, lease=2)


@pytest.fixture
def jobs(db: Database) -> Callable[..., None]:
    """Makes the queue ``jobs`` over a table of requirement 5; given columns go to its queue row."""

    def make(**columns: object) -> None:
        create_task_table(db, TABLE)
        insert_queue(db, TABLE, TABLE, **{"scan_interval": 0.2, **columns})

    return make


@pytest.fixture(scope="session", params=["postgresql", "mysql"])
def private(request: pytest.FixtureRequest) -> Iterator[PrivateServer]:
    """A database server that the test may stop and start; SQLite has no server to stop."""
    try:
        server = private_server(request.param)
    except Missing as missing:
        refuse = pytest.fail if os.environ.get("TASKYARD_REQUIRE_LANES") == "1" else pytest.skip
        refuse(str(missing))
    yield server
    server.remove()


@pytest.fixture
def proxy(private: PrivateServer) -> Iterator[Proxy]:
    """A well-behaved proxy in front of the private server."""
    proxy = Proxy(("127.0.0.1", private.port))
    yield proxy
    proxy.close()
