"""The same story on each database gives the same JSON: every noun, one after the other.

What was answered is compared between the databases, save what the clock and chance decide.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from api.house import V1, Client, House
from conformance.spine import Spine, ended
from lanes import LANES, DatabaseServer, NoServer
from taskyard.core.lifecycle import Kind
from taskyard.handlers import HandlerSpec
from taskyard.runs import logs
from taskyard.runs.rollups import count_ended

REPORT = HandlerSpec(
    "report",
    queue="reports",
    max_retries=1,
    timeout=30.0,
    doc="Writes a report.",
    location="handlers.py:3",
    parameters={
        "type": "object",
        "properties": {"n": {"type": "integer"}, "password": {"type": "string"}},
        "required": ["n"],
        "additionalProperties": False,
    },
)

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")
_CHANCE = frozenset(
    {
        "cursor",
        "next_cursor",
        "request_id",
        "host",
        "pid",
        "version",
        "beat_age",
        "lease_left",
        "text",
        "wait_time",
        "execution_time",
        "throughput",
        "times",
        "values",
        "session",
    }
)


class Story:
    """Asks, and writes down what was answered."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: list[Any] = []

    def ask(self, method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        response = self.client.ask(method, f"{V1}{path}", json=body)
        assert response.status_code == status, f"{method} {path}: {response.text}"
        answer = response.json() if response.content else None
        self.told.append((f"{method} {path}", self._stable(answer)))
        return answer

    def _stable(self, value: Any, key: str = "") -> Any:
        if key in _CHANCE and value is not None:
            return "…"
        if isinstance(value, dict):
            return {name: self._stable(item, name) for name, item in value.items()}
        if isinstance(value, list):
            return [self._stable(item) for item in value]
        return _TIME.sub("TIME", value) if isinstance(value, str) else value


@pytest.fixture
def databases(request: pytest.FixtureRequest, fresh: str) -> Iterator[dict[str, str]]:
    """The URL of a fresh database of each kind that is to be had here."""
    found = {"sqlite": fresh}
    with ExitStack() as stack:
        for lane in LANES[1:]:
            server: DatabaseServer | NoServer = request.getfixturevalue(f"{lane}_server")
            if isinstance(server, DatabaseServer):
                found[lane] = stack.enter_context(server.database())
            elif os.environ.get("TASKYARD_REQUIRE_LANES") == "1":
                pytest.fail(f"lane {lane}: no server ({server})")
        yield found


def test_each_database_tells_the_same_story(databases: dict[str, str]) -> None:
    told = {lane: tell(url) for lane, url in databases.items()}
    for lane in told:
        for here, there in zip(told[lane], told["sqlite"], strict=True):
            assert here == there, lane


def tell(url: str) -> list[Any]:
    """The story on one database."""
    spine = Spine(url)
    house = House(url)
    try:
        house.user("root")
        house.server("one", REPORT)
        story = Story(house.client(house.token("root")))
        set_up(story)
        enqueue(story)
        work(story, spine)
        count_ended(spine.db)
        look(story)
        administer(story)
        return story.told
    finally:
        house.close()
        spine.db.close()


def set_up(story: Story) -> None:
    story.ask("POST", "/queues", {"queue_name": "reports", "max_workers": 2}, status=201)
    story.ask("POST", "/queues", {"queue_name": "reports"}, status=409)
    story.ask("POST", "/queues", {"queue_name": "bad", "table_name": "ty_runs"}, status=422)
    story.ask("PATCH", "/queues/reports", {"scan_interval": 0.5, "rate_limit": 10})
    story.ask("PATCH", "/queues/reports", {"max_workers": -1}, status=422)
    story.ask("POST", "/queues/reports/pause")
    story.ask("GET", "/queues/reports")
    story.ask("POST", "/queues/reports/resume")
    story.ask("GET", "/queues")
    story.ask("GET", "/handlers")
    story.ask("GET", "/handlers/report")
    story.ask("GET", "/handlers/reprot", status=404)
    story.ask("GET", "/servers")


def enqueue(story: Story) -> None:
    story.ask(
        "POST",
        "/tasks",
        {"task_type": "report", "task_params": {"n": 1, "password": "x"}},
        status=201,
    )
    full = {
        "task_type": "report",
        "task_params": {"n": 2},
        "queue": "reports",
        "schedule_time": "2126-01-31T08:00:00+08:00",
        "priority": 7,
        "max_retries": 0,
        "timeout": "1m",
        "retry_interval": 5,
        "unique_key": "two",
        "excl_key": "e",
        "tenant_id": "acme",
    }
    story.ask("POST", "/tasks", full, status=201)
    story.ask("POST", "/tasks", full, status=409)
    story.ask("POST", "/tasks", {"task_type": "report", "task_params": {"n": "many"}}, status=422)
    story.ask("POST", "/tasks", {"task_type": "report", "task_params": {"m": 1}}, status=422)
    story.ask("POST", "/tasks", {"task_type": "reprot", "task_params": {}}, status=404)
    story.ask("POST", "/tasks", {"task_type": "other", "force": True, "delay": "1h"}, status=201)
    story.ask(
        "POST",
        "/tasks",
        {"task_type": "report", "task_params": {"n": 1}, "queue": "repots"},
        status=404,
    )
    story.ask(
        "POST",
        "/tasks",
        {"task_type": "report", "delay": 1, "schedule_time": "2126-01-01"},
        status=422,
    )
    many = [{"task_type": "report", "task_params": {"n": n}} for n in (3, 4)]
    story.ask(
        "POST", "/tasks/bulk", {"tasks": [*many, {**many[0], "unique_key": "two"}]}, status=201
    )
    story.ask(
        "POST", "/tasks/bulk", {"tasks": [*many, {**full, "schedule_time": None}]}, status=201
    )
    story.ask("GET", "/tasks?queue=reports&sort=id&limit=3")
    story.ask("GET", "/tasks?queue=reports&status=pending&tenant_id=acme&include=task_params")
    story.ask("GET", "/tasks?queue=nowhere", status=404)
    story.ask("GET", "/queues/reports/tasks/1")
    story.ask("GET", "/queues/reports/tasks/99", status=404)
    story.ask("GET", "/queues/reports/tasks/2/explain")
    story.ask("POST", "/queues/reports/tasks/2/run-now")
    story.ask("POST", "/queues/reports/tasks/2/cancel", {"reason": "not needed"})
    story.ask("POST", "/queues/reports/tasks/2/cancel", status=409)
    story.ask("GET", "/queues/reports/tasks/2")


def work(story: Story, spine: Spine) -> None:
    place = {"table": "reports_tasks", "queue": "reports"}
    known = frozenset({"report"})
    for number, kind in ((1, Kind.COMPLETED), (4, Kind.FAILED), (5, Kind.FAILED)):
        row = spine.claim(1, known=known, **place)[0]
        assert row.id == number
        if number == 1:
            story.ask("GET", "/runs?status=running")
            story.ask("GET", f"/runs/{row.run_id}")
            logs.append(spine.db, spine.me, [(row.run_id, 0, "one\n"), (row.run_id, 1, "two\n")])
            story.ask("GET", f"/runs/{row.run_id}/logs")
            story.ask("GET", f"/runs/{row.run_id}/logs?after=0&limit=1")
        error = f"Traceback …\nValueError: no {number}" if number > 1 else None
        ending = ended(row, kind, output='{"ok": true}' if number == 1 else None, error=error)
        assert spine.settle(ending, **place).written == 1


def look(story: Story) -> None:
    story.ask("GET", "/runs?sort=started_at")
    story.ask("GET", "/runs?status=failed&include=error,payload&sort=started_at")
    story.ask("GET", "/runs?task=reports/1")
    story.ask(
        "GET", "/runs?task_type=report&queue=reports&server_id=server-me&origin=enqueued&limit=1"
    )
    story.ask("GET", "/runs?tenant_id=acme")
    story.ask("GET", "/runs/12345678", status=404)
    story.ask("GET", "/runs/task-types")
    story.ask("GET", "/runs/errors")
    story.ask("GET", "/runs/2/neighbours")
    story.ask("GET", "/runs/2?raw=true")
    story.ask("GET", "/runs/export?format=json&status=failed&include=error&sort=started_at")
    story.ask("GET", "/stats/summary")
    story.ask("GET", "/stats/series?metric=runs&by=status&step=86400")
    story.ask("GET", "/stats/top?by=task_type&order=failed")
    story.ask("POST", "/queues/reports/tasks/1/retry")
    some = {"action": "priority", "ids": ["reports/1", "reports/99"], "priority": 9}
    story.ask("POST", "/bulk", some)
    waiting = {"action": "cancel", "filter": {"queue": "reports", "status": "pending"}}
    story.ask("POST", "/bulk", waiting, status=422)
    story.ask("POST", "/bulk", {**waiting, "expected_count": 1}, status=409)
    story.ask("POST", "/bulk", {**waiting, "expected_count": 6})
    story.ask("GET", "/suggest?field=task_type&prefix=re")
    story.ask("GET", "/suggest?field=queue")


def administer(story: Story) -> None:
    story.ask("POST", "/tenants", {"tenant_id": "acme", "name": "Acme"}, status=201)
    story.ask("POST", "/tenants", {"tenant_id": "acme"}, status=409)
    story.ask("PATCH", "/tenants/acme", {"status": 0})
    story.ask("GET", "/tenants")
    story.ask(
        "POST", "/users", {"username": "ada", "role": "operator", "tenants": ["acme"]}, status=201
    )
    story.ask("POST", "/users", {"username": "ada"}, status=409)
    story.ask("POST", "/users", {"username": "bob", "tenants": ["nobody"]}, status=404)
    story.ask("PATCH", "/users/ada", {"role": "viewer", "grants": ["payload.raw"]}, status=422)
    story.ask("GET", "/users/ada")
    story.ask("GET", "/users?role=viewer")
    story.ask("PATCH", "/users/root", {"role": "viewer"}, status=409)
    story.ask("DELETE", "/users/ada", status=204)
    story.ask("GET", "/users/ada", status=404)
    story.ask("GET", "/roles")
    story.ask("GET", "/me")
    story.ask("DELETE", "/queues/reports", status=204)
    story.ask("GET", "/queues/reports", status=404)
    story.ask("GET", "/audit?action=queue.update&sort=at")
    story.ask("POST", "/servers/server-one/drain")
    story.ask("POST", "/servers/nobody/drain", status=404)
