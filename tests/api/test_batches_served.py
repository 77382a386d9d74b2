"""Batches by real processes: of fifty who start one at once, one may, and the others hear which."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from api.processes import Folder, Started
from support import wait_for

HANDLERS = """
import time
from pathlib import Path

from taskyard import Yard

yard = Yard()


@yard.batch("hold", concurrency=1)
def hold(item: int) -> None:
    while not Path("go").exists():
        time.sleep(0.02)
"""

CLIENTS = 50
BODY = {"task_type": "hold", "tenant_id": "acme", "items": [1, 2, 3]}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path, HANDLERS)
    yield folder
    folder.close()


@pytest.fixture
def up(folder: Folder, lane: str) -> Started:
    """`taskyard up` on each database, with two tenants, and the handler known."""
    words = ("up", "--no-auth", "--port", "0", "--runners", "1")
    up = folder.start(*words, database_url=lane)
    up.answers("/readyz", 200)
    for tenant_id in ("acme", "globex"):
        made = up.ask("POST", "/api/v1/tenants", json={"tenant_id": tenant_id, "name": tenant_id})
        assert made is not None and made.status_code == 201, made
    up.answers("/api/v1/handlers/hold", 200)
    return up


def create(up: Started, **fields: Any) -> httpx2.Response:
    answer = up.ask("POST", "/api/v1/batches", json={**BODY, **fields})
    assert answer is not None
    return answer


def at_once(up: Started, clients: int) -> list[httpx2.Response]:
    """As many creations, all of them sent at the same moment."""
    url, gate = f"{up.url}/api/v1/batches", threading.Barrier(clients)

    def client(number: int) -> httpx2.Response:
        with httpx2.Client(timeout=60) as one:
            one.get(f"{up.url}/healthz")  # so that it is connected
            gate.wait(60)
            return one.post(url, json={**BODY, "name": f"from {number}"})

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(client, range(clients)))


def show(up: Started, batch: int) -> dict[str, Any]:
    answer = up.ask("GET", f"/api/v1/batches/{batch}")
    assert answer is not None and answer.status_code == 200, answer
    found: dict[str, Any] = answer.json()
    return found


def begun(up: Started, batch: int) -> bool:
    answer = up.ask("GET", f"/api/v1/batches/{batch}/items?status=running")
    assert answer is not None
    return bool(answer.json()["data"])


@pytest.mark.timeout(300)
def test_one_of_fifty_is_accepted_and_the_others_hear_which(up: Started, folder: Folder) -> None:
    answers = at_once(up, CLIENTS)
    assert Counter(one.status_code for one in answers) == {201: 1, 409: CLIENTS - 1}
    [made] = [one.json() for one in answers if one.status_code == 201]
    for refused in (one for one in answers if one.status_code == 409):
        assert refused.headers["content-type"].startswith("application/problem+json")
        problem = refused.json()
        assert (problem["status"], problem["code"]) == (409, "TY402")
        whose = {"task_type": "hold", "tenant_id": "acme", "existing": made["id"]}
        assert problem["params"] == whose
        assert f'"{made["name"]}" (#{made["id"]})' in problem["detail"]
    wait_for(partial(begun, up, made["id"]), 60, "the one that was accepted runs")

    other = create(up, tenant_id="globex")
    assert other.status_code == 201
    wait_for(partial(begun, up, other.json()["id"]), 60, "another tenant's runs beside it")
    assert show(up, made["id"])["status"] == "running"

    # The key is free again after the end, after a cancel, and after a removal.
    (folder.path / "go").touch()
    wait_for(lambda: show(up, made["id"])["status"] == "completed", 60, "its end")
    (folder.path / "go").unlink()
    second = create(up)
    assert second.status_code == 201
    assert create(up).json()["params"]["existing"] == second.json()["id"]
    cancelled = up.ask("POST", f"/api/v1/batches/{second.json()['id']}/cancel")
    assert cancelled is not None and cancelled.status_code == 200
    third = create(up)
    assert third.status_code == 201
    deleted = up.ask("DELETE", f"/api/v1/batches/{third.json()['id']}")
    assert deleted is not None and deleted.status_code == 204
    assert create(up).status_code == 201
    (folder.path / "go").touch()
