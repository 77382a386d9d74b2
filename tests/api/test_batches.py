"""Batches over HTTP, on each database: made, filled, steered, looked at, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from api.house import V1, Client, House
from conformance.batched import Batched
from conformance.spine import Spine
from taskyard.api.batches import Batch, Item

COUNTS = ("total", "processed", "success", "failed", "skipped")


@pytest.fixture
def root(lane_house: House) -> Client:
    return lane_house.user("root")


@pytest.fixture
def batched(lane_house: House) -> Iterator[Batched]:
    """Workers of the type "check", which a server has."""
    spine = Spine(str(lane_house.settings.database_url))
    with closing(spine.db):
        batched = Batched(spine)
        lane_house.server("one", batched.handler.spec)
        yield batched


def make(root: Client, items: Any = (1, 2, 3, 4), status: int = 201, **fields: Any) -> Any:
    body = {"task_type": "check", "items": list(items), **fields}
    return root.post("/batches", body, status)


def fail_odd(item: int) -> dict[str, int]:
    if item % 2:
        raise ValueError(f"{item} is odd")
    return {"half": item // 2}


def counts(batch: Any) -> list[int]:
    return [batch[f"{name}_count"] for name in COUNTS]


def items_of(root: Client, batch: Any, **query: Any) -> dict[str, str]:
    found = root.get(f"/batches/{batch['id']}/items", **query)
    return {row["item_id"]: row["status"] for row in found["data"]}


# --- making and looking ---------------------------------------------------------------------------


def test_a_batch_is_made_and_worked_and_its_items_are_told(root: Client, batched: Batched) -> None:
    fields = {"name": "March", "params": {"factor": 2}, "concurrency": 2, "max_retries": 0}
    body = {"task_type": "check", "items": [1, {"item_id": "two", "data": 2}, "3"], **fields}
    answer = root.ask("POST", f"{V1}/batches", json=body)
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{V1}/batches/{made['id']}"
    assert set(made) == set(Batch.model_fields)
    assert {name: made[name] for name in fields} == fields
    assert (made["status"], made["tenant_id"], made["created_by"]) == ("running", "", "root")
    assert counts(made) == [3, 0, 0, 0, 0]

    batched.act = fail_odd
    batched.work()
    shown = root.get(f"/batches/{made['id']}")
    assert (shown["status"], counts(shown)) == ("completed", [3, 3, 1, 2, 0])
    assert shown["started_at"] < shown["completed_at"]
    listed = root.get("/batches", status="completed", task_type="check", q="arc")
    assert [row["id"] for row in listed["data"]] == [made["id"]]

    found = root.get(f"/batches/{made['id']}/items", include="data,result,error")["data"]
    assert set(found[0]) == set(Item.model_fields)
    assert [row["status"] for row in found] == ["failed", "completed", "failed"]
    assert (found[1]["data"], found[1]["result"]) == (2, {"half": 1})
    assert "ValueError: 1 is odd" in found[0]["error"]
    assert items_of(root, made, status="failed", q="1 is odd") == {"1": "failed"}
    assert items_of(root, made, item_id="two") == {"two": "completed"}
    runs = root.get("/runs", batch_id=made["id"])["data"]
    assert {run["batch_id"] for run in runs} == {made["id"]}
    assert {run["id"] for run in runs} >= {row["run_id"] for row in found}
    assert root.get("/runs", batch_id=made["id"] + 1)["data"] == []


def test_a_page_of_items_goes_on_behind_its_cursor(root: Client, batched: Batched) -> None:
    made = make(root, range(1, 8))
    seen, query = [], {"limit": 3}
    while True:
        page = root.get(f"/batches/{made['id']}/items", **query)
        seen += [row["item_id"] for row in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == [str(n) for n in range(1, 8)]


def test_a_large_one_is_filled_bit_by_bit_and_started(root: Client, batched: Batched) -> None:
    made = make(root, [1, 2], start=False)
    path = f"/batches/{made['id']}"
    assert made["status"] == "pending"
    assert counts(root.post(f"{path}/items", {"items": [3, {"item_id": "4"}]})) == [4, 0, 0, 0, 0]
    twice = root.post(f"{path}/items", {"items": [3]}, 422)
    assert (twice["code"], twice["params"]["field"]) == ("TY361", "items")
    assert root.post(f"{path}/start")["status"] == "running"
    assert root.post(f"{path}/items", {"items": [5]}, 409)["code"] == "TY316"
    batched.work()
    assert counts(root.get(path)) == [4, 4, 4, 0, 0]


def test_items_are_exported_as_lines(root: Client, batched: Batched) -> None:
    made = make(root)
    batched.act = fail_odd
    batched.work()
    answer = root.ask("GET", f"{V1}/batches/{made['id']}/items/export", params={"status": "failed"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert f"batch-{made['id']}-" in answer.headers["content-disposition"]
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [(line["item_id"], line["status"]) for line in lines] == [
        ("1", "failed"),
        ("3", "failed"),
    ]
    for wrong in ({"status": "lost"}, {"run_id": "one"}):
        assert root.get(f"/batches/{made['id']}/items/export", 400, **wrong)["code"] == "TY109"


# --- steering -------------------------------------------------------------------------------------


def test_it_rests_and_goes_on(root: Client, batched: Batched) -> None:
    made = make(root)
    path = f"/batches/{made['id']}"
    assert root.post(f"{path}/pause")["status"] == "paused"
    assert root.post(f"{path}/pause", None, 409)["code"] == "TY316"
    batched.work()
    assert counts(root.get(path)) == [4, 0, 0, 0, 0]
    assert root.post(f"{path}/resume")["status"] == "running"
    batched.work()
    assert root.get(path)["status"] == "completed"


def test_what_is_cancelled_skips_what_waits(root: Client, batched: Batched) -> None:
    made = make(root)
    found = root.post(f"/batches/{made['id']}/cancel")
    assert (found["status"], counts(found)) == ("cancelled", [4, 0, 0, 0, 4])
    assert found["error"] == "cancelled by root"
    assert root.post(f"/batches/{made['id']}/cancel", None, 409)["code"] == "TY316"


def test_failed_items_are_retried_all_or_some_and_others_skipped(
    root: Client, batched: Batched
) -> None:
    made = make(root, range(1, 7), max_retries=0)
    path = f"/batches/{made['id']}"
    assert counts(root.post(f"{path}/skip", {"item_ids": [6]})) == [6, 0, 0, 0, 1]
    batched.act = fail_odd
    batched.work()
    assert counts(root.get(path)) == [6, 5, 2, 3, 1]
    batched.act = lambda item: None
    assert root.post(f"{path}/retry", {"item_ids": ["1", 6]})["status"] == "running"
    batched.work()
    assert counts(root.get(path)) == [6, 6, 4, 2, 0]
    assert root.post(f"{path}/retry-failed")["status"] == "running"
    batched.work()
    assert counts(root.get(path)) == [6, 6, 6, 0, 0]
    assert root.post(f"{path}/retry-failed", None, 409)["code"] == "TY316"
    assert root.post(f"{path}/retry", {"item_ids": ["1"]}, 409)["code"] == "TY316"
    assert root.post(f"{path}/retry", {"item_ids": ["99"]}, 404)["code"] == "TY362"


def test_a_deleted_one_is_gone(root: Client, batched: Batched) -> None:
    made = make(root)
    root.delete(f"/batches/{made['id']}")
    for path in ("", "/items", "/items/export"):
        assert root.get(f"/batches/{made['id']}{path}", 404)["code"] == "TY360"
    make(root)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"items": ["a", "a"]}, "items"),
        ({"items": [""]}, "items"),
        ({"items": ["x" * 191]}, "items"),
        ({"items": ["not a number"]}, "items"),
        ({"concurrency": 1_001}, "concurrency"),
        ({"rate_limit": 0}, "rate_limit"),
        ({"pause": "2d"}, "pause"),
        ({"on_inflight": "hope"}, "on_inflight"),
        ({"stop_after": 0}, "stop_after"),
        ({"notify": ["nowhere"]}, "notify.channels"),
    ],
)
@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_a_field_that_cannot_be_is_named(
    root: Client, batched: Batched, fields: dict[str, Any], field: str
) -> None:
    refused = root.post("/batches", {"task_type": "check", "items": [1], **fields}, 422)
    assert refused["params"]["field"] == field
    assert root.get("/batches")["data"] == []


@pytest.mark.parametrize("lane", ["sqlite"], indirect=True)
def test_one_that_runs_is_named_and_another_tenants_is_none_of_it(
    lane_house: House, root: Client, batched: Batched
) -> None:
    for tenant_id in ("acme", "globex"):
        lane_house.tenant(tenant_id)
    made = make(root, tenant_id="acme", name="the first")
    refused = make(root, status=409, tenant_id="acme")
    assert (refused["code"], refused["params"]["existing"]) == ("TY402", made["id"])
    assert "the first" in refused["detail"]
    assert make(root, tenant_id="globex")["status"] == "running"


# --- templates ------------------------------------------------------------------------------------


def test_a_template_is_saved_changed_used_and_deleted(root: Client, batched: Batched) -> None:
    fields = {"name": "check {{who}}", "params": {"factor": "{{factor}}"}, "concurrency": 3}
    body = {"name": "nightly", "task_type": "check", "fields": fields}
    variables = {"who": "all", "factor": None}
    saved = root.post("/batch-templates", {**body, "variables": variables}, 201)
    path = f"/batch-templates/{saved['id']}"
    assert root.post("/batch-templates", {**body, "variables": variables}, 409)["code"] == "TY364"
    missing = root.post("/batches", {"template_id": saved["id"], "items": [1]}, 422)
    assert "factor" in missing["detail"]

    changed = root.patch(path, {"name": "weekly", "fields": {**fields, "concurrency": 4}})
    assert (changed["name"], changed["variables"]) == ("weekly", variables)
    assert [row["name"] for row in root.get("/batch-templates", q="eek")["data"]] == ["weekly"]
    assert root.get(path)["fields"]["concurrency"] == 4

    given = {"template_id": saved["id"], "variables": {"factor": 3}, "max_retries": 1}
    made = root.post("/batches", {**given, "items": [1]}, 201)
    assert (made["name"], made["params"], made["template_id"]) == (
        "check all",
        {"factor": 3},
        saved["id"],
    )
    assert (made["concurrency"], made["max_retries"]) == (4, 1)
    cleared = {"template_id": saved["id"], "items": [1], "params": None, "concurrency": None}
    root.post(f"/batches/{made['id']}/cancel")
    plain = root.post("/batches", cleared, 201)
    assert (plain["name"], plain["params"], plain["concurrency"]) == ("check all", None, 5)
    root.delete(path)
    assert root.get(path, 404)["code"] == "TY363"
    assert root.get(f"/batches/{made['id']}")["template_id"] == saved["id"]
