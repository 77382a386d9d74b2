"""The history as a real server tells it: 75 runs of three task types, and all ways to ask for them.

60 completed, 12 failed, 3 exceeded their time limit: worked by `taskyard up`, asked for over its
port, on each database.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.processes import Folder, Started
from support import wait_for
from taskyard.access import tokens, users
from taskyard.access.caller import LOCAL
from taskyard.db.database import Database

HANDLERS = """
import asyncio

from taskyard import Yard

yard = Yard()


@yard.handler("mail", queue="mails", max_retries=0)
def mail(n: int) -> dict:
    return {"n": n}


@yard.handler("sync", queue="syncs", max_retries=0)
def sync(n: int, broken: bool = False) -> dict:
    if broken:
        raise ConnectionError(f"source {n} is away")
    return {"n": n}


@yard.handler("report", queue="syncs", max_retries=0, timeout=1)
async def report(n: int) -> None:
    await asyncio.sleep(60)
"""

TENANTS = ("", "acme")


def tasks() -> Iterator[dict[str, Any]]:
    """60 that complete, 12 that fail, 3 that take too long; of two tenants in turn."""
    for n in range(40):
        yield {"task_type": "mail", "task_params": {"n": n}, "tenant_id": TENANTS[n % 2]}
    for n in range(32):
        params = {"n": n, "broken": n >= 20}
        yield {"task_type": "sync", "task_params": params, "tenant_id": TENANTS[n % 2]}
    for n in range(3):
        yield {"task_type": "report", "task_params": {"n": n}, "tenant_id": TENANTS[n % 2]}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path, HANDLERS)
    yield folder
    folder.close()


def get(up: Started, path: str, token: str | None = None) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = up.ask("GET", path, headers=headers)
    assert answer is not None and answer.status_code == 200, answer and answer.text
    return answer.json()


def listed(up: Started, query: str = "") -> list[dict[str, Any]]:
    """All runs of a query, page by page."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = get(up, f"/api/v1/runs?limit=7&include=output,error&{query}{cursor}")
        found += page["data"]
        if page["next_cursor"] is None:
            assert len(found) == page["total"], query
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.timeout(400)
def test_75_runs_are_told_as_they_were(folder: Folder, lane: str) -> None:
    up = folder.start("up", "--no-auth", "--port", "0", "--runners", "1", database_url=lane)
    up.answers("/readyz", 200)
    wait_for(lambda: "works with" in up.err.read_text(), 60, "its handlers")
    made = up.ask("POST", "/api/v1/tasks/bulk", json={"tasks": list(tasks())})
    assert made is not None and made.status_code == 201, made and made.text

    own = "task_type=mail,sync,report"
    ended = f"/api/v1/runs?{own}&status=completed,failed,timeout"
    wait_for(lambda: get(up, ended)["total"] == 75, 120, "the runs")
    wait_for(lambda: get(up, f"/api/v1/stats/summary?{own}")["runs"] == 75, 60, "the roll-ups")

    told = get(up, f"/api/v1/stats/summary?{own}")
    counts = [told[name] for name in ("runs", "completed", "failed", "timeout", "lost")]
    assert counts == [75, 60, 12, 3, 0] and told["success_rate"] == 0.8

    runs = listed(up, own)
    assert len({run["id"] for run in runs}) == 75
    assert all(run["error"] is None for run in runs if run["status"] == "completed")
    every_combination(up, runs)

    groups = get(up, f"/api/v1/runs/errors?{own}")["groups"]
    assert [(one["task_type"], one["count"], one["statuses"]) for one in groups] == [
        ("sync", 12, {"failed": 12}),
        ("report", 3, {"timeout": 3}),
    ]
    assert groups[0]["error"].startswith("ConnectionError: source ")
    the_export_is_the_list(up, own, runs)
    the_other_addresses_tell_the_same(up, runs)
    assert up.stop() == 0


def every_combination(up: Started, runs: list[dict[str, Any]]) -> None:
    """Each filter alone and with each other gives exactly the runs that it should."""
    ways: dict[str, tuple[str, ...]] = {
        "status": ("completed", "failed", "timeout", "lost", "failed,timeout"),
        "task_type": ("mail", "sync", "report", "mail,report"),
        "queue": ("mails", "syncs"),
        "tenant_id": ("", "acme"),
        "min_duration": ("0.9",),
    }
    asked = 0
    for chosen in product(*((None, *words) for words in ways.values())):
        query = {n: w for n, w in zip(ways, chosen, strict=True) if w is not None}
        if len(query) > 3:
            continue
        text = "&".join(f"{name}={word}" for name, word in query.items())
        page = get(up, f"/api/v1/runs?limit=500&{text}")
        known = {run["id"]: run for run in runs}
        found = {run["id"] for run in page["data"] if run["id"] in known}
        expected = {number for number, run in known.items() if fits(run, query)}
        assert found == expected, text
        asked += 1
    assert asked > 100


def fits(run: dict[str, Any], query: dict[str, str]) -> bool:
    """Is a run what was asked for?"""
    query = dict(query)
    least = float(query.pop("min_duration", "0"))
    return run["execution_time"] >= least and all(
        run[name] in word.split(",") for name, word in query.items()
    )


def the_export_is_the_list(up: Started, query: str, runs: list[dict[str, Any]]) -> None:
    for only in ("", "&status=failed", "&tenant_id=acme&status=completed"):
        ids = [run["id"] for run in listed(up, f"{query}{only}")]
        files = {}
        for form in ("json", "csv"):
            answer = up.ask("GET", f"/api/v1/runs/export?format={form}&{query}{only}")
            assert answer is not None and answer.status_code == 200
            files[form] = answer.text
        rows = orjson.loads(files["json"])
        assert [row["id"] for row in rows] == ids and len(ids) in (75, 12, 30)
        table = list(csv.DictReader(io.StringIO(files["csv"].removeprefix("\ufeff"))))
        assert [int(row["id"]) for row in table] == ids
        known = {run["id"]: run for run in runs}
        for row in table:
            run = known[int(row["id"])]
            assert (row["status"], row["task_type"]) == (run["status"], run["task_type"])


def the_other_addresses_tell_the_same(up: Started, runs: list[dict[str, Any]]) -> None:
    """`GET /api/task`: the words of the original."""
    words = {"completed": "success", "failed": "failed", "timeout": "failed"}
    expected = {run["id"]: (run["task_type"], words[run["status"]]) for run in runs}
    everything = get(up, "/api/task")
    assert (everything["limit"], everything["offset"]) == (None, None)
    found = {row["id"]: (row["task"], row["status"]) for row in everything["data"]}
    assert {number: found[number] for number in expected} == expected
    for task, status in product(("mail", "sync", "report"), ("success", "failed")):
        page = get(up, f"/api/task?task={task}&status={status}")
        ids = {row["id"] for row in page["data"]}
        assert ids == {number for number, told in expected.items() if told == (task, status)}
        assert page["total"] == len(ids)
    slowest = get(up, "/api/task?sort_column=duration&limit=3")
    assert {row["task"] for row in slowest["data"]} == {"report"}
    assert (slowest["limit"], slowest["offset"]) == (3, 0)
    quickest = get(up, "/api/task?sort_column=started_at&sort_direction=asc&offset=2")
    assert (quickest["limit"], quickest["offset"]) == (50, 2)
    times = [row["started_at"] for row in quickest["data"]]
    assert times == sorted(times)
    assert {"mail", "sync", "report"} <= set(get(up, "/api/task/unique-tasks"))
    assert set(get(up, "/api/task/info")) == {"scheduler", "jobs"}
    for wrong in ("status=", "status=ok", "sort_column=id", "sort_direction=up", "limit=x"):
        answer = up.ask("GET", f"/api/task?{wrong}")
        assert answer is not None and answer.status_code == 400
        assert list(answer.json()["errors"]) == [wrong.partition("=")[0]]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
@pytest.mark.parametrize("advanced", [False, True])
def test_who_may_ask_a_real_server(folder: Folder, lane: str, advanced: bool) -> None:
    """All four combinations: the setting off and on, a superuser and a monitor."""
    db = Database(lane)
    bearers = {}
    for name, role in {"root": "superuser", "mona": "monitor", "vera": "viewer"}.items():
        users.add_user(db, LOCAL, name, role=role)
        bearers[role] = tokens.create_token(db, LOCAL, "test", username=name).text
    db.close()
    web = folder.start(
        "web", "--port", "0", database_url=lane, advanced_permissions=str(advanced).lower()
    )
    web.answers("/api/v1/me", 401)
    may = {"superuser": True, "monitor": advanced, "viewer": False}
    for path in ("/api/task", "/api/task/unique-tasks", "/api/task/info"):
        answer = web.ask("GET", path)
        assert answer is not None
        assert (answer.status_code, answer.text) == (401, "Unauthenticated")
        for role, bearer in bearers.items():
            answer = web.ask("GET", path, headers={"Authorization": f"Bearer {bearer}"})
            assert answer is not None
            assert answer.status_code == (200 if may[role] else 403), (role, path)
            if not may[role]:
                assert answer.text == "You don't have permissions to do that."
    missing = web.ask(
        "GET", "/api/task/987654", headers={"Authorization": f"Bearer {bearers['superuser']}"}
    )
    assert missing is not None and (missing.status_code, missing.text) == (404, "Not found.")
    assert web.stop() == 0
