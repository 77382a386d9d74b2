"""The addresses of requirement 5: its answers, its errors, and whose time a time is."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.house import Client, House
from taskyard.db import tables
from taskyard.handlers import HandlerSpec

NEW = {
    "queue_name": "new_queue",
    "table_name": "new_tasks",
    "server_id": "server-001",
    "max_workers": 5,
    "scan_interval": 3,
    "status": 1,
}

EMAIL = HandlerSpec(
    "email",
    parameters={
        "type": "object",
        "properties": {"to": {"type": "array"}},
        "required": ["to"],
        "additionalProperties": False,
    },
)


def ask(client: Client, method: str, path: str, body: Any = None, status: int = 200) -> Any:
    answer = client.ask(method, f"/admin{path}", json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert set(told) == {"code", "message", "data"}
    assert (told["code"] == 0) is (status == 200)
    assert (told["message"] == "ok") is (status == 200)
    return told["data"] if status == 200 else told


@pytest.fixture
def mail(lane_house: House) -> Client:
    """A superuser, on each database, where a server knows "email"."""
    lane_house.server("s1", EMAIL)
    client = lane_house.user("root")
    ask(client, "POST", "/queue/create", {"queue_name": "mail", "table_name": "email_tasks"})
    return client


def test_queues_are_made_listed_changed_and_deleted(lane_house: House) -> None:
    root = lane_house.user("root")
    number = ask(root, "POST", "/queue/create", NEW)["id"]
    [row] = ask(root, "GET", "/queue/list")
    assert row.items() >= {**NEW, "id": number, "rate_limit": None, "problem": None}.items()
    changes = {"max_workers": 10, "server_id": "server-002"}
    assert ask(root, "PUT", f"/queue/update?id={number}", changes) == {"id": number}
    [row] = ask(root, "GET", "/queue/list")
    assert row.items() >= {**NEW, **changes}.items()
    assert ask(root, "DELETE", f"/queue/delete?id={number}") == {"id": number}
    assert ask(root, "GET", "/queue/list") == []
    actions = "SELECT COUNT(*) FROM ty_audit WHERE action LIKE 'queue.%'"
    assert lane_house.value(actions) == 3


def test_servers_are_listed_with_whether_they_live(mail: Client) -> None:
    [row] = ask(mail, "GET", "/server/list")
    assert (row["server_id"], row["status"], row["state"]) == ("server-s1", 1, "live")


def test_a_task_goes_into_the_table_of_a_queue(mail: Client, lane_house: House) -> None:
    body = {"task_type": "email", "task_params": {"to": ["a@b"]}, "max_retries": 7}
    made = ask(mail, "POST", "/task/create?table=email_tasks", body)
    sql = "SELECT {} FROM email_tasks WHERE id = :id"
    found = [
        lane_house.value(sql.format(name), id=made["id"])
        for name in ("task_type", "max_retries", "status", "queue")
    ]
    assert found == ["email", 7, 0, None]


def test_a_time_without_an_offset_is_the_databases_own(mail: Client, lane_house: House) -> None:
    path, age = "/task/create?table=email_tasks", lane_house.db.dialect.age("schedule_time")
    body = {"task_type": "email", "task_params": {"to": []}}
    local = str(lane_house.value(f"SELECT {lane_house.db.dialect.after('3600')}"))[:19]
    soon = datetime.now(UTC) + timedelta(hours=1)
    for text in (local, soon.isoformat(), soon.astimezone().isoformat()):
        made = ask(mail, "POST", path, body | {"schedule_time": text})
        sql = f"SELECT {age} FROM email_tasks WHERE id = :id"
        assert -3_610 < lane_house.value(sql, id=made["id"]) < -3_500, text


ZONES = {"postgresql": "SET TIME ZONE 'Asia/Shanghai'", "mysql": "SET time_zone = '+08:00'"}


def test_the_zone_is_that_of_the_session(lane_house: House) -> None:
    noon = datetime(2026, 3, 1, 12, 0, 0, 250_000)
    connection = lane_house.db.connect()
    with closing(connection), lane_house.db.on(connection, deadline=30) as tx:
        east = tx.dialect.name in ZONES
        if east:
            tx.execute(ZONES[tx.dialect.name])
        found = tables.instant(tx, noon)
    assert found == noon.replace(tzinfo=UTC) - timedelta(hours=8 if east else 0)


WRONG: list[tuple[str, str, Any, int, int]] = [
    # method, address, body, HTTP status, code
    ("POST", "/queue/create", NEW | {"max_workers": -1}, 422, 311),
    ("POST", "/queue/create", NEW | {"max_workers": "many"}, 422, 504),
    ("POST", "/queue/create", NEW | {"nonsense": 1}, 422, 504),
    ("POST", "/queue/create", NEW | {"table_name": "x; DROP TABLE y"}, 422, 307),
    ("POST", "/queue/create", NEW | {"table_name": "ty_users"}, 422, 307),
    ("POST", "/queue/create", NEW | {"queue_name": "mail"}, 409, 323),
    ("POST", "/queue/create", {}, 422, 504),
    ("PUT", "/queue/update?id=987654", {"max_workers": 1}, 404, 310),
    ("PUT", "/queue/update?id=x", {"max_workers": 1}, 400, 109),
    ("PUT", "/queue/update?id=-1", {"max_workers": 1}, 400, 109),
    ("PUT", "/queue/update", {"max_workers": 1}, 400, 109),
    ("PUT", "/queue/update?id=1&force=1", {"max_workers": 1}, 400, 109),
    ("DELETE", "/queue/delete?id=987654", None, 404, 310),
    ("DELETE", "/queue/delete", None, 400, 109),
    ("POST", "/task/create?table=ty_users", {"task_type": "email"}, 404, 324),
    ("POST", "/task/create?table=queue_configs", {"task_type": "email"}, 404, 324),
    ("POST", '/task/create?table=email_tasks"--', {"task_type": "email"}, 404, 324),
    ("POST", "/task/create", {"task_type": "email"}, 400, 109),
    ("POST", "/task/create?table=email_tasks", {"task_type": "emial"}, 404, 201),
    ("POST", "/task/create?table=email_tasks", {"task_type": "email"}, 422, 203),
    ("POST", "/task/create?table=email_tasks", {"task_params": {}}, 422, 504),
    ("POST", "/queue/list", {}, 405, 511),
]


def test_errors_have_the_form_of_the_answers(mail: Client, lane_house: House) -> None:
    found = [(*wrong[:3], *_refused(mail, wrong)) for wrong in WRONG]
    assert found == WRONG
    assert lane_house.value("SELECT COUNT(*) FROM queue_configs") == 1
    assert lane_house.value("SELECT COUNT(*) FROM email_tasks") == 0


def _refused(client: Client, wrong: tuple[str, str, Any, int, int]) -> tuple[int, int]:
    method, path, body, status, _ = wrong
    told = ask(client, method, path, body, status)
    assert told["data"] is None
    assert len(told["message"]) > 10
    return status, told["code"]


def test_who_may_not_is_told_so_in_the_same_form(house: House, open_house: House) -> None:
    viewer = house.user("vera", "viewer")
    assert ask(viewer, "GET", "/queue/list", status=403)["code"] == 401
    assert ask(viewer, "POST", "/queue/create", NEW, 403)["code"] == 401
    assert ask(house.anon, "GET", "/queue/list", status=401)["code"] == 403
    answer = house.anon.ask("GET", "/admin/queue/list")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert ask(open_house.anon, "POST", "/queue/create", NEW) == {"id": 1}
    there = {"Origin": "http://evil.example"}
    answer = open_house.anon.ask("DELETE", "/admin/queue/delete?id=1", headers=there)
    assert (answer.status_code, answer.json()["code"]) == (403, 509)


def test_an_operator_makes_tasks_of_his_tenant(house: House, root: Client) -> None:
    ask(root, "POST", "/queue/create", {"queue_name": "mail", "table_name": "email_tasks"})
    operator = house.user("olga", "operator", tenants=["acme"])
    made = ask(operator, "POST", "/task/create?table=email_tasks", {"task_type": "email"})
    tenant = "SELECT tenant_id FROM email_tasks WHERE id = :id"
    assert house.value(tenant, id=made["id"]) == "acme"
