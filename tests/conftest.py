"""Fixtures of all tests: a database of each lane, and an environment of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from lanes import LANES, DatabaseServer, NoServer, find_server, migrated

# A shared machine stalls now and then; how long one example takes proves nothing.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the developer's own TASKYARD_* variables, save those that are meant for the tests."""
    for name in list(os.environ):
        if name.startswith("TASKYARD_") and name not in TEST_VARIABLES:
            monkeypatch.delenv(name)


TEST_VARIABLES = {
    "TASKYARD_FAULTS",
    "TASKYARD_REQUIRE_LANES",
    "TASKYARD_TEST_MARIADB_URL",
    "TASKYARD_TEST_POSTGRES_URL",
}


@pytest.fixture(params=LANES)
def lane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh database with our schema, on each kind in turn; dropped at the end.

    Where a kind is not to be had the test is skipped with the reason, and it fails instead when
    TASKYARD_REQUIRE_LANES=1, as in CI.
    """
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("template"), tmp_path / "lane.db")
        yield f"sqlite:///{tmp_path / 'lane.db'}"
        return
    with _server_of(request).database() as url:
        yield url


@pytest.fixture(params=LANES)
def empty_lane(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database as somebody has it who has not heard of us; else like `lane`."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'lane.db'}"
        return
    with _server_of(request).database(empty=True) as url:
        yield url


def _server_of(request: pytest.FixtureRequest) -> DatabaseServer:
    server: DatabaseServer | NoServer = request.getfixturevalue(f"{request.param}_server")
    if isinstance(server, NoServer):
        refuse = pytest.fail if os.environ.get("TASKYARD_REQUIRE_LANES") == "1" else pytest.skip
        refuse(f"lane {request.param}: no server ({server})")
    assert isinstance(server, DatabaseServer)
    return server


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our schema; a copy is made in a hundredth of the time."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    migrated(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_server(worker_id: str) -> Iterator[DatabaseServer | NoServer]:
    """The PostgreSQL of this session, looked for when the first test asks."""
    yield from _server("postgres", worker_id)


@pytest.fixture(scope="session")
def mariadb_server(worker_id: str) -> Iterator[DatabaseServer | NoServer]:
    """The MariaDB of this session, looked for when the first test asks."""
    yield from _server("mariadb", worker_id)


def _server(lane: str, worker_id: str) -> Iterator[DatabaseServer | NoServer]:
    try:
        server = find_server(lane, worker_id)
    except NoServer as missing:
        yield missing
        return
    yield server
    server.close()
