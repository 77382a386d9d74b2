"""Schedules over HTTP, on each database: made, looked at, changed, started, stopped, triggered."""

from __future__ import annotations

from typing import Any

import pytest

from api.house import V1, Client, House
from api.test_scenario import REPORT
from conformance.spine import Spine, ended
from taskyard.api.schedules import Schedule, ScheduleInFull
from taskyard.core.lifecycle import Kind

LIMITS = {"retry_count": 3, "retry_interval": 300, "monitor_timeout": 1800}


@pytest.fixture
def root(lane_house: House) -> Client:
    return lane_house.user("root")


def make(root: Client, name: str = "tick", status: int = 201, **fields: Any) -> Any:
    rule = {} if "interval" in fields else {"cron_expression": "0 2 * * *"}
    return root.post("/schedules", {"name": name, "task_type": "report", **rule, **fields}, status)


def test_the_examples_of_requirement_4(root: Client) -> None:
    examples = {
        "数据备份": ("DataBackupHandler", "0 2 * * *", "每天 02:00"),
        "周报生成": ("WeeklyReportHandler", "0 9 * * 1", "每周一 09:00"),
        "系统健康检查": ("HealthCheckHandler", "0 * * * *", "每小时整点"),
    }
    for name, (task_type, cron, words) in examples.items():
        fields = {"task_type": task_type, "cron_expression": cron, "time_zone": "Asia/Shanghai"}
        made = root.post("/schedules", {"name": name, **fields, **LIMITS}, 201)
        assert {field: made[field] for field in LIMITS} == LIMITS
        assert (made["words_zh"], made["state"]) == (words, "started")
    listed = root.get("/schedules", sort="id")
    assert [row["name"] for row in listed["data"]] == list(examples)
    assert listed["total"] == 3


def test_rows_are_told_as_they_are(root: Client) -> None:
    made = make(root)
    assert set(made) == set(ScheduleInFull.model_fields)
    assert set(root.get("/schedules")["data"][0]) == set(Schedule.model_fields)


def test_a_row_says_how_it_goes(lane_house: House, root: Client) -> None:
    spine = Spine(str(lane_house.settings.database_url))
    made = make(root, retry_count=0)
    root.post(f"/schedules/{made['id']}/trigger", None, 201)
    root.post(f"/schedules/{made['id']}/trigger", None, 201)
    kinds = (Kind.COMPLETED, Kind.FAILED)
    place = {"queue": "default", "table": "default_tasks"}
    for row, kind in zip(spine.claim(2, known=frozenset({"report"}), **place), kinds, strict=True):
        assert spine.settle(ended(row, kind, duration=2.0), **place).written == 1
    spine.db.close()
    row = root.get("/schedules", last_status="failed")["data"][0]
    assert (row["success_rate"], row["average_time"], row["last_status"]) == (0.5, 2.0, "failed")
    assert [run["execute_index"] for run in row["recent"]] == [2, 1]
    history = root.get("/runs", schedule_id=made["id"], sort="-started_at")["data"]
    assert [run["id"] for run in history] == [run["run_id"] for run in row["recent"]]
    assert root.get("/runs", schedule_id=made["id"] + 1)["data"] == []


def test_a_preview_says_when_and_what(root: Client) -> None:
    rule = {"cron_expression": "0 2 * * *", "time_zone": "Asia/Shanghai", "count": 3}
    found = root.post("/schedules/preview", rule)
    assert (found["words"], found["words_zh"]) == ("Every day at 02:00", "每天 02:00")
    assert [fire["fire_time"][10:] for fire in found["data"]] == ["T02:00:00+08:00"] * 3
    assert root.get("/schedules")["data"] == []


@pytest.mark.parametrize(
    ("cron", "after", "fires"),
    [
        (
            "30 2 * * *",
            "2026-03-07T12:00",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        (
            "30 1 * * *",
            "2026-10-31T12:00:00-04:00",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
    ],
)
def test_a_preview_goes_through_a_change_of_clocks(
    house: House, cron: str, after: str, fires: list[str]
) -> None:
    rule = {"cron_expression": cron, "time_zone": "America/New_York", "after": after, "count": 2}
    found = house.user("root").post("/schedules/preview", rule)
    assert [fire["fire_time"] for fire in found["data"]] == fires


def test_every_hour_of_the_longest_day(house: House) -> None:
    rule = {"cron_expression": "0 * * * *", "time_zone": "America/New_York", "count": 30}
    found = house.user("root").post("/schedules/preview", {**rule, "after": "2026-10-31T23:30"})
    assert sum(fire["fire_time"].startswith("2026-11-01") for fire in found["data"]) == 25


def test_next_fires_are_in_the_schedules_zone(root: Client) -> None:
    made = make(root, time_zone="America/New_York")
    fires = root.get(f"/schedules/{made['id']}/next", count=400)["data"]
    assert len(fires) == 400
    assert {fire["fire_time"][19:] for fire in fires} == {"-05:00", "-04:00"}
    root.get(f"/schedules/{made['id']}/next", 400, count=0)
    root.get(f"/schedules/{made['id']}/next", 400, count="many")


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"cron_expression": "61 * * * *"}, "minute", "0–59"),
        ({"interval": 5, "cron_expression": "* * * * *"}, "cron_expression", "interval"),
        ({"time_zone": "Asia/Shangai"}, "time_zone", "Asia/Shanghai"),
        ({"overlap": "both"}, "overlap", "allow, skip, queue, replace"),
        ({"timeout": "31d"}, "timeout", "2.592e+06"),
        ({"end_at": "2020-01-01"}, "end_at", "never fire"),
        ({"retry_count": -1}, "retry_count", "whole number"),
    ],
)
def test_what_cannot_be_names_its_field(
    house: House, fields: dict[str, Any], field: str, told: str
) -> None:
    problem = make(house.user("root"), status=422, **fields)
    assert problem["params"]["field"] == field
    assert told in problem["detail"]


def test_a_name_is_taken_once(root: Client) -> None:
    make(root)
    assert make(root, status=409)["code"] == "TY343"


def test_fields_change_while_it_goes_on(root: Client) -> None:
    made = make(root, timeout="1h", task_params={"n": 1})
    path = f"/schedules/{made['id']}"
    assert made["timeout"] == 3600
    changes = {"timeout": None, "interval": 90, "task_params": {"n": 2}, "name": "tock"}
    changed = root.patch(path, changes)
    assert {name: changed[name] for name in changes} == changes
    assert changed["cron_expression"] is None
    assert root.patch(path, {"cron_expression": "61 * * * *"}, 422)["params"]["field"] == "minute"
    root.patch(path, {"tenant_id": "acme"}, 422)
    assert root.post(f"{path}/stop")["state"] == "stopped"
    assert root.get(path)["next_fire_at"] is None
    assert root.post(f"{path}/start")["next_fire_at"] is not None
    root.delete(path)
    root.get(path, 404)


def test_a_trigger_works_while_stopped_with_other_parameters_and_once_a_key(
    lane_house: House, root: Client
) -> None:
    lane_house.server("one", REPORT)
    root.post("/queues", {"queue_name": "reports"}, 201)
    made = make(root, status=201, task_params={"n": 1}, interval=90)
    path = f"/schedules/{made['id']}"
    root.post(f"{path}/stop")
    headers = {"Idempotency-Key": "one"}
    again = {"task_params": {"n": 2}}
    task = root.post(f"{path}/trigger", again, 201, headers)
    assert root.post(f"{path}/trigger", again, 201, headers) == task
    assert (task["queue"], task["task_type"]) == ("reports", "report")
    queue, number = task["ref"].split("/")
    shown = root.get(f"/queues/{queue}/tasks/{number}")
    assert (shown["task_params"], shown["origin"]) == ({"n": 2}, "manual")
    assert lane_house.value("SELECT COUNT(*) FROM reports_tasks") == 1
    problem = root.post(f"{path}/trigger", {"task_params": {"n": "two"}}, 422)
    assert '"n"' in problem["detail"]


def test_what_is_known_is_not_sent_again(root: Client) -> None:
    path = f"{V1}/schedules/{make(root)['id']}"
    tag = root.ask("GET", path).headers["etag"]
    assert root.ask("GET", path, headers={"If-None-Match": tag}).status_code == 304
    root.ask("POST", f"{path}/stop")
    assert root.ask("GET", path, headers={"If-None-Match": tag}).status_code == 200


def test_one_that_code_declares_can_only_be_stopped(house: House) -> None:
    root = house.user("root")
    made = make(root)
    house.db.run(lambda tx: tx.execute("UPDATE ty_schedules SET source = 'code'"))
    problem = root.ask("DELETE", f"{V1}/schedules/{made['id']}").json()
    assert (problem["status"], "schedule stop" in problem["detail"]) == (409, True)


def test_who_has_one_tenant_need_not_name_it(house: House) -> None:
    ada = house.user("ada", role="tenant_admin", tenants=["acme"])
    assert make(ada)["tenant_id"] == "acme"
    make(ada, "other", 403, tenant_id="globex")
