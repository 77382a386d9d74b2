"""Bodies are read as strictly as they are described."""

from __future__ import annotations

from typing import Any

import pytest

from api.house import Client, House
from taskyard.handlers import HandlerSpec

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("/tasks", {"priority": "3"}),
    ("/tasks", {"priority": True}),
    ("/tasks", {"max_retries": 1.0}),
    ("/tasks", {"force": 1}),
    ("/tasks", {"unique_key": 7}),
    ("/tasks", {"timeout": True}),
    ("/tasks", {"schedule_time": 1790000000}),
    ("/tasks", {"schedule_time": "1790000000"}),
    ("/tasks", {"delay": "5m", "schedule_time": "2030-01-01T00:00:00Z"}),
    ("/tasks", {"nobody_knows": 1}),
    ("/queues", {"status": None}),
    ("/queues", {"max_workers": "5"}),
    ("/users", {"role": 1}),
]
RIGHT: list[dict[str, Any]] = [
    {"delay": None, "schedule_time": "2030-01-01 08:00:00"},
    {"schedule_time": "2030-01-01T00:00:00+08:00", "delay": None, "queue": None},
    {"delay": "90", "timeout": 2.5, "max_retries": 0},
]
NEEDED = {
    "/tasks": {"task_type": "report"},
    "/queues": {"queue_name": "other"},
    "/users": {"username": "other"},
}


@pytest.fixture
def root(house: House) -> Client:
    house.server("one", HandlerSpec("report"))
    root = house.user("root")
    root.post("/queues", {"queue_name": "default"}, 201)
    return root


@pytest.mark.parametrize(("path", "fields"), WRONG)
def test_what_is_not_described_is_refused(root: Client, path: str, fields: dict[str, Any]) -> None:
    assert root.post(path, NEEDED[path] | fields, 422)["code"] == "TY504"


@pytest.mark.parametrize("fields", RIGHT)
def test_what_is_described_is_taken(root: Client, fields: dict[str, Any]) -> None:
    root.post("/tasks", NEEDED["/tasks"] | fields, 201)
