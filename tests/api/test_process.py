"""The API as real processes: `taskyard web` and `taskyard up`, from their start to their end."""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from api.processes import Folder, Started
from harness.proxy import Proxy
from lanes import DatabaseServer, NoServer
from support import wait_for
from taskyard.db import migrate
from taskyard.db.database import Database

HANDLERS = """
from taskyard import Yard

yard = Yard()


@yard.handler("greet", queue="greetings")
def greet(name: str) -> dict:
    return {"text": f"Hello {name}!"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path, HANDLERS)
    yield folder
    folder.close()


@pytest.mark.timeout(300)
def test_up_without_sign_in_serves_and_works_and_stops(folder: Folder) -> None:
    up = folder.start("up", "--no-auth", "--port", "0", "--runners", "1")
    up.answers("/readyz", 200)
    body = {"task_type": "greet", "task_params": {"name": "Ada"}}
    made = up.ask("POST", "/api/v1/tasks", json=body)
    assert made is not None
    assert (made.status_code, made.json()["ref"]) == (201, "greetings/1")

    def ran() -> dict[str, Any] | None:
        answer = up.ask("GET", "/api/v1/runs?include=output&status=completed")
        assert answer is not None
        return next(iter(answer.json()["data"]), None)

    run = wait_for(ran, 60, "a run")
    assert run and run["output"] == {"text": "Hello Ada!"}
    assert "may do everything" in up.err.read_text()
    assert up.out.read_text() == ""

    # Who kills the API's process gets another one, at the same address.
    [web] = children(up, "taskyard.cli.child")
    web.kill()
    wait_for(lambda: children(up, "taskyard.cli.child") not in ([], [web]), 60, "a new process")
    up.answers("/readyz", 200)

    [web] = children(up, "taskyard.cli.child")
    assert up.stop() == 0
    assert not is_alive(web)


@pytest.mark.timeout(300)
def test_the_api_ends_when_its_supervisor_is_killed(folder: Folder) -> None:
    up = folder.start("up", "--no-auth", "--port", "0", "--runners", "1")
    up.answers("/healthz", 200)
    [web] = children(up, "taskyard.cli.child")
    up.process.kill()
    wait_for(lambda: not is_alive(web), 30, "the end of the API")


@pytest.mark.timeout(300)
def test_at_the_first_start_it_is_said_once_how_to_sign_in(folder: Folder) -> None:
    web = folder.start("web", "--port", "0")
    web.answers("/api/v1/queues", 401)
    told = web.out.read_text()
    password = re.search(r"password +(\S{20,})", told)
    link = re.search(r"sign in +(\S+)", told)
    assert password and link
    assert password.group(1) not in web.err.read_text()
    assert "link" not in web.err.read_text()
    with httpx2.Client(base_url=web.url) as browser:
        body = {"username": "admin", "password": password.group(1)}
        assert browser.post("/api/v1/login", json=body).status_code == 200
        assert browser.get("/api/v1/me").json()["role"] == "superuser"
    with httpx2.Client() as browser:
        assert browser.get(link.group(1)).status_code == 303
        assert browser.get(f"{web.url}/api/v1/me").json()["username"] == "admin"
    assert web.stop(signal.SIGINT) == 0

    again = folder.start("web", "--port", "0")
    again.answers("/api/v1/queues", 401)
    assert again.out.read_text() == ""
    assert again.stop() == 0


def test_what_is_unsafe_does_not_start(folder: Folder) -> None:
    code, said = folder.refused("up", "--host", "0.0.0.0", "--no-auth")
    assert (code, "Leave out --no-auth, or listen on 127.0.0.1." in said) == (2, True)


def test_a_port_in_use_is_told_with_its_holder(folder: Folder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = folder.refused("up", "--no-auth", "--port", str(port))
    assert code == 5
    assert f"TY501 Port {port} of 127.0.0.1 is used by process" in said


@pytest.fixture
def proxy(postgres_server: DatabaseServer | NoServer) -> Iterator[tuple[Proxy, str]]:
    """A PostgreSQL behind a proxy, with our schema, and its URL there."""
    if isinstance(postgres_server, NoServer):
        pytest.skip(f"no PostgreSQL: {postgres_server}")
    with postgres_server.database() as url:
        direct = Database(url)
        migrate.upgrade(direct)
        direct.close()
        place = urlsplit(url)
        proxy = Proxy((place.hostname or "127.0.0.1", place.port or 5432))
        user = f"{place.username}:{place.password}@" if place.password else f"{place.username}@"
        yield proxy, place._replace(netloc=f"{user}127.0.0.1:{proxy.port}").geturl()
        proxy.close()


@pytest.mark.timeout(300)
def test_a_database_that_is_away_is_waited_for(folder: Folder, proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    between.refuse(True)
    web = folder.start("web", "--no-auth", "--port", "0", database_url=url)
    for _ in range(2):
        problem = web.answers("/api/v1/queues", 503)
        assert problem.json()["code"] == "TY102"
        assert problem.headers["retry-after"] == "1"
        assert "postgresql" not in problem.text
        assert web.answers("/readyz", 503).json()["params"]["database"] is False
        assert web.answers("/healthz", 200).json() == {"status": "ok"}
        between.refuse(False)
        assert web.answers("/api/v1/queues", 200).json()["data"] == []
        between.refuse(True)
        between.reset_all()
    assert web.stop() == 0


def children(up: Started, module: str) -> list[psutil.Process]:
    """The processes below one that run a module."""
    found = []
    for child in psutil.Process(up.process.pid).children():
        with suppress(psutil.NoSuchProcess):  # also one that has just ended
            if module in child.cmdline():
                found.append(child)
    return found


def is_alive(process: psutil.Process) -> bool:
    """Does it run? Where nobody fetches a dead one's code, it stays as a zombie."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
