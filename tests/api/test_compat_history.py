"""The addresses of requirement 3: paging, words, errors and who may ask, as its original has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from api.house import Client, House
from conformance.past import Past
from taskyard.access import users
from taskyard.access.caller import LOCAL
from taskyard.schedules.manage import create_schedule, stop_schedule

STARTED = "2026-03-01T12:00:0{}.250000+00:00"

STATUSES = ("completed", "failed", "timeout", "lost", "cancelled", "interrupted")


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    """On each database: six runs that have ended, one each second, and one that goes on."""
    past = Past(lane)
    for n, status in enumerate(STATUSES):
        name = "sync" if n % 2 else "mail"
        past.run(n + 1, second=n, status=status, task_type=name, execution_time=(n + 1) * 0.25)
    past.live(7, second=6, task_type="mail", task_params='{"to": "ada"}')
    yield past
    past.db.close()


@pytest.fixture
def town(past: Past) -> Iterator[House]:
    house = House(str(past.db.url.render_as_string(hide_password=False)))
    yield house
    house.close()


def get(client: Client, path: str = "", status: int = 200) -> Any:
    answer = client.ask("GET", f"/api/task{path}")
    assert answer.status_code == status, answer.text
    return answer.json() if "json" in answer.headers["content-type"] else answer.text


def ids(client: Client, query: str) -> list[int]:
    return [row["id"] for row in get(client, query)["data"]]


def test_a_row_has_these_fields(town: House) -> None:
    root = town.user("root")
    rows = {row["id"]: row for row in get(root)["data"]}
    assert rows[1] == {
        "id": 1,
        "task": "mail",
        "db_id": None,
        "started_at": STARTED.format(0),
        "ended_at": STARTED.format(1),
        "duration": 250,
        "status": "success",
        "task_details": {"n": 1},
        "run_id": None,
        "logs": None,
    }
    assert [rows[n]["status"] for n in range(1, 8)] == [
        "success",
        *("failed", "failed"),
        *("unknown", "unknown", "unknown"),
        "started",
    ]
    assert (rows[7]["ended_at"], rows[7]["duration"]) == (None, None)
    assert get(root, "/1") == rows[1] | {"logs": []}
    assert get(root, "/7") == rows[7] | {"logs": []}


PAGES = {
    # what is asked: limit, offset, the ids
    "": (None, None, [7, 6, 5, 4, 3, 2, 1]),
    "/": (None, None, [7, 6, 5, 4, 3, 2, 1]),
    "?limit=2": (2, 0, [7, 6]),
    "?offset=5": (50, 5, [2, 1]),
    "?limit=2&offset=3": (2, 3, [4, 3]),
    "/?limit=2&offset=3": (2, 3, [4, 3]),
    "?limit=0": (0, 0, []),
    "?offset=0": (50, 0, [7, 6, 5, 4, 3, 2, 1]),
    "?limit=10&offset=99": (10, 99, []),
    "?limit=10000&offset=1000000000000000": (10_000, 10**15, []),
}


def test_the_one_of_limit_and_offset_brings_the_other(town: House) -> None:
    root = town.user("root")
    for query, (limit, offset, expected) in PAGES.items():
        page = get(root, query)
        assert set(page) == {"total", "limit", "offset", "data"}
        assert (page["limit"], page["offset"]) == (limit, offset), query
        assert [row["id"] for row in page["data"]] == expected, query
        assert page["total"] == 7, query


def test_filters_and_orders(town: House) -> None:
    root = town.user("root")
    assert ids(root, "?status=failed") == [3, 2]
    assert ids(root, "?status=success&task=mail") == [1]
    assert get(root, "?status=unknown&limit=1")["total"] == 3
    assert ids(root, "?task=mai") == []
    assert ids(root, "?sort_column=started_at&sort_direction=asc") == [1, 2, 3, 4, 5, 6, 7]
    assert ids(root, "?sort_column=duration") == [6, 5, 4, 3, 2, 1, 7]
    assert ids(root, "?sort_column=duration&sort_direction=asc") == [1, 2, 3, 4, 5, 6, 7]
    assert ids(root, "?sort_column=ended_at&sort_direction=desc") == [6, 5, 4, 3, 2, 1, 7]
    assert ids(root, "?sort_column=task") == [6, 4, 2, 7, 5, 3, 1]
    assert ids(root, "?sort_column=status&sort_direction=asc") == [3, 2, 7, 1, 6, 5, 4]
    assert get(root, "/unique-tasks") == ["mail", "sync"]


WRONG = {
    "?status=": "status",
    "?status=completed": "status",
    "?status=failed,success": "status",
    "?status=failed&status=success": "status",
    "?task=": "task",
    "?sort_column=id": "sort_column",
    "?sort_column=started_at;DROP": "sort_column",
    "?sort_direction=DESC": "sort_direction",
    "?limit=": "limit",
    "?limit=ten": "limit",
    "?limit=-1": "limit",
    "?limit=1.5": "limit",
    "?limit=%2B1": "limit",
    "?limit=10001": "limit",
    "?offset=-1": "offset",
    "?offset=99999999999999999999": "offset",
    "?sort=id": "sort",
    "/0": "id",
    "/x": "id",
    "/99999999999999999999": "id",
}


def test_what_is_asked_wrongly_is_told_by_its_name(town: House) -> None:
    root = town.user("root")
    for query, name in WRONG.items():
        told = get(root, query, 400)
        assert list(told) == ["errors"], query
        assert list(told["errors"]) == [name], query
        assert len(told["errors"][name]) > 10


def test_the_texts_of_refusals(house: House) -> None:
    viewer, root = house.user("vera", "viewer"), house.user("root")
    for path in ("", "/", "/1", "/unique-tasks", "/info", "?status=wrong"):
        assert get(house.anon, path, 401) == "Unauthenticated"
        assert get(viewer, path, 403) == "You don't have permissions to do that."
    assert get(root, "/987654", 404) == "Not found."
    answer = root.ask("POST", "/api/task", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize("advanced", [False, True])
def test_who_may_ask_depends_on_the_setting(fresh: str, advanced: bool) -> None:
    house = House(fresh, advanced_permissions=advanced)
    users.add_user(house.db, LOCAL, "granted", grants=["monitoring"])
    found = {}
    for name, role in {"root": "superuser", "mona": "monitor", "vera": "viewer"}.items():
        found[role] = house.user(name, role).ask("GET", "/api/task").status_code
    found["granted"] = house.client(house.token("granted")).ask("GET", "/api/task").status_code
    may = 200 if advanced else 403
    assert found == {"superuser": 200, "monitor": may, "viewer": 403, "granted": may}
    house.close()


def test_a_grant_counts_at_once(fresh: str) -> None:
    house = House(fresh, advanced_permissions=True)
    vera = house.user("vera", "viewer")
    for grants, status in ([], 403), (["monitoring"], 200), ([], 403):
        users.update_user(house.db, LOCAL, "vera", grants=grants)
        assert vera.ask("GET", "/api/task").status_code == status
    house.close()


def test_schedules_are_its_jobs(house: House) -> None:
    rule = {"cron_expression": "0 2 * * *", "time_zone": "Asia/Shanghai", "overlap": "skip"}
    fields = {"name": "backup", "task_type": "DataBackupHandler", "task_params": {"n": 1}}
    made = create_schedule(house.db, LOCAL, fields | rule)
    create_schedule(house.db, LOCAL, {"name": "poll", "task_type": "x", "interval": 90})
    stop_schedule(house.db, LOCAL, "poll")
    jobs = {job["key"]: job for job in get(house.user("root"), "/info")["jobs"]}
    assert set(jobs) == {"backup", "poll", "taskyard.prune"}
    backup, [trigger] = jobs["backup"], jobs["backup"]["triggers"]
    assert (backup["class"], backup["concurrent-execution-disallowed?"]) == (
        "DataBackupHandler",
        True,
    )
    assert (trigger["schedule"], trigger["data"]) == ("0 2 * * *", {"n": 1})
    assert trigger["next-fire-time"] == made["next_fire_at"].isoformat()
    [trigger] = jobs["poll"]["triggers"]
    assert (trigger["state"], trigger["may-fire-again?"]) == ("PAUSED", False)
    assert trigger["schedule"] == "@every 90s"


def test_the_scheduler_tells_its_jobs_and_when_they_fire(fresh: str) -> None:
    house = House(fresh, prune_at="03:30", default_time_zone="Asia/Shanghai")
    house.server("s1")
    info = get(house.user("root"), "/info")
    assert "Servers alive: server-s1." in info["scheduler"]
    [prune] = [job for job in info["jobs"] if job["key"] == "taskyard.prune"]
    [trigger] = prune["triggers"]
    assert (trigger["schedule"], trigger["timezone"]) == ("0 30 3 * * ? *", "Asia/Shanghai")
    assert trigger["next-fire-time"].endswith("T03:30:00+08:00")
    assert trigger["previous-fire-time"] is None
    house.close()
