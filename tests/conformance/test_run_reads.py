"""Reading Runs: what is masked, what is beside a Run, its log, and a list as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from conformance.past import Past
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Permission, Role
from taskyard.core.errors import NotAllowed, QueryInvalid, RunUnknown, TaskUnknown
from taskyard.db import search
from taskyard.db.listing import Query
from taskyard.runs import export
from taskyard.runs.browse import list_runs, show_run, task_types
from taskyard.runs.export import Form, export_runs
from taskyard.runs.logs import read_log
from taskyard.runs.neighbours import neighbours
from taskyard.tasks.browse import list_tasks, show_task
from taskyard.tasks.enqueue import TaskRef

SECRET = '{"to": "a@b.c", "api_key": "hunter2", "db": "postgresql://app:hunter3@db/x", "n": %d}'
MASKED = '{"to": "a@b.c", "api_key": "***", "db": "postgresql://app:***@db/x", "n": %d}'
BIG = 2**70


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    yield past
    past.db.close()


def viewer(*tenants: str, **more: Any) -> Caller:
    permissions = ROLES[Role.VIEWER] | more.get("also", frozenset())
    return Caller("v", Role.VIEWER.value, permissions, frozenset(tenants))


def audited(past: Past) -> list[tuple[Any, ...]]:
    return past.db.read(lambda tx: tx.all("SELECT actor, action, object, tenant_id FROM ty_audit"))


# --- masking -------------------------------------------------------------------------------------


def test_secrets_are_masked_in_lists_and_in_one_run(past: Past) -> None:
    past.run(1, payload=SECRET % BIG, output='{"token": "hunter4"}', tenant_id="acme")
    live = past.live(2, second=9, task_params=SECRET % 7, tenant_id="acme")
    caller = viewer("acme")
    rows = list_runs(past.db, caller, Query(large=("payload", "output"))).rows
    assert [row["payload"] for row in rows] == [MASKED % 7, MASKED % BIG]
    assert rows[1]["output"] == '{"token": "***"}'
    assert show_run(past.db, caller, 1)["payload"] == MASKED % BIG
    assert show_run(past.db, caller, 2)["payload"] == MASKED % 7
    ref = TaskRef("default", "default_tasks", live)
    assert show_task(past.db, caller, ref)["task_params"] == MASKED % 7
    tasks = list_tasks(past.db, caller, Query(large=("task_params",))).rows
    assert [task["task_params"] for task in tasks] == [MASKED % 7]
    assert audited(past) == []


def test_who_may_see_them_asks_for_it_and_that_is_written_down(past: Past) -> None:
    past.run(1, payload=SECRET % 1, tenant_id="acme")
    task = past.task(task_params=SECRET % 2, tenant_id="acme")
    ref = TaskRef("default", "default_tasks", task)
    grantee = viewer("acme", also={Permission.PAYLOAD_RAW})
    assert show_run(past.db, grantee, 1)["payload"] == MASKED % 1
    assert show_run(past.db, grantee, 1, raw=True)["payload"] == SECRET % 1
    assert show_task(past.db, grantee, ref, raw=True)["task_params"] == SECRET % 2
    assert audited(past) == [
        ("v", "run.read-raw", "run/1", "acme"),
        ("v", "task.read-raw", f"task/{ref}", "acme"),
    ]
    with pytest.raises(NotAllowed):
        show_run(past.db, viewer("acme"), 1, raw=True)
    with pytest.raises(NotAllowed):
        show_task(past.db, viewer("acme"), ref, raw=True)
    others = viewer("beta", also={Permission.PAYLOAD_RAW})
    with pytest.raises(RunUnknown):
        show_run(past.db, others, 1, raw=True)
    with pytest.raises(TaskUnknown):
        show_task(past.db, others, ref, raw=True)
    assert len(audited(past)) == 2


def test_a_payload_that_is_no_json_shows_no_secret_either(past: Past) -> None:
    texts = {1: '{"password": "hunter2', 2: "go to http://a:hunter2@b/", 3: "plain [text"}
    for n, text in texts.items():
        past.run(n, second=n, payload=text)
    shown = [show_run(past.db, LOCAL, n)["payload"] for n in texts]
    assert shown == ["***", "go to http://a:***@b/", "plain [text"]


# --- beside a run --------------------------------------------------------------------------------


def test_the_neighbours_of_a_run_are_those_of_its_type(past: Past) -> None:
    for n, (name, tenant) in enumerate(
        [("mail", "acme"), ("sync", "acme"), ("mail", ""), ("mail", "acme"), ("mail", "beta")]
    ):
        past.run(n, second=n, task_type=name, tenant_id=tenant, execution_time=n / 2)
    past.live(9, second=9, tenant_id="acme")
    found = neighbours(past.db, LOCAL, 3)
    assert (found.previous, found.next) == (2, 4)
    assert [run["id"] for run in found.last] == [9, 4, 3, 2, 0]
    assert set(found.last[0]) == {"id", "status", "started_at", "execution_time"}
    assert neighbours(past.db, LOCAL, 0).previous is None
    assert neighbours(past.db, LOCAL, 9).next is None
    found = neighbours(past.db, viewer("acme"), 3)
    assert (found.previous, found.next) == (0, 9)
    assert [run["id"] for run in found.last] == [9, 3, 0]
    with pytest.raises(RunUnknown):
        neighbours(past.db, viewer("acme"), 4)


def test_a_log_is_read_part_by_part_by_those_who_see_its_run(past: Past) -> None:
    past.run(1, tenant_id="acme")
    past.log(1, "a\n", "b\n", "c\n")
    past.live(2, tenant_id="acme")
    past.log(2, "x\n")
    first = read_log(past.db, viewer("acme"), 1, limit=2)
    assert (first.text, first.after, first.more, first.running) == ("a\nb\n", 1, True, False)
    rest = read_log(past.db, LOCAL, 1, first.after)
    assert (rest.text, rest.after, rest.more) == ("c\n", 2, False)
    assert read_log(past.db, LOCAL, 1, rest.after).after == 2
    assert read_log(past.db, LOCAL, 2).running
    with pytest.raises(RunUnknown):
        read_log(past.db, viewer("beta"), 1)


def test_a_tenant_is_told_of_its_own_task_types(past: Past) -> None:
    for n, tenant in enumerate(["acme", "beta", "", "acme"]):
        past.run(n, task_type=f"{tenant or 'ours'}.{n}", tenant_id=tenant)
    past.live(8, task_type="acme.live", tenant_id="acme")
    past.live(9, task_type="beta.live", tenant_id="beta")
    assert task_types(past.db, viewer("acme")) == ["acme.0", "acme.3", "acme.live"]
    assert len(task_types(past.db, LOCAL)) == 6


# --- export --------------------------------------------------------------------------------------


def exported(past: Past, form: Form, query: Query, caller: Caller = LOCAL) -> bytes:
    return b"".join(export_runs(past.db, caller, query, form))


@pytest.fixture
def many(past: Past, monkeypatch: pytest.MonkeyPatch) -> Past:
    """Runs of which several pages are made, and of which a search finds few a page."""
    for n in range(9):
        past.run(n, second=n, queue="a" if n % 2 else "b", server_id="s" if n % 4 else "t")
    past.live(20, second=20, server_id="t")
    monkeypatch.setattr(export, "MAX_LIMIT", 2)
    monkeypatch.setattr(search, "DENSE_PART", 3)
    monkeypatch.setattr(search, "SECONDS", 0.0)
    return past


@pytest.mark.parametrize("filters", [{}, {"queue": "a"}, {"server_id": "t"}, {"server_id": "no"}])
@pytest.mark.parametrize("sort", ["", "started_at"])
def test_an_export_is_the_list(many: Past, filters: dict[str, str], sort: str) -> None:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = list_runs(many.db, LOCAL, Query(filters, sort, cursor=cursor, large=("payload",)))
        rows, cursor = rows + page.rows, page.next_cursor
        if cursor is None:
            break
    query = Query(filters, sort, limit=1, offset=3, large=("payload",), count=True)
    listed = orjson.loads(exported(many, Form.JSON, query))
    lines = exported(many, Form.JSON_LINES, query).splitlines()
    cells = list(csv.DictReader(io.StringIO(exported(many, Form.CSV, query).decode(), newline="")))
    shown = [{name: row[name] for name in row if name != "claimed_at"} for row in rows]
    for row in shown:
        row["payload"] = None if row["payload"] is None else orjson.loads(row["payload"])
    expected = orjson.loads(orjson.dumps(shown))
    for row in listed + expected:  # a run that is running goes on running
        row["execution_time"] = row["execution_time"] if row["completed_at"] else None
    assert listed == expected
    assert [orjson.loads(line)["id"] for line in lines] == [row["id"] for row in rows]
    assert [(cell["id"], cell["status"]) for cell in cells] == [
        (str(row["id"]), row["status"]) for row in rows
    ]


def test_no_cell_of_a_csv_is_a_formula(past: Past) -> None:
    starts = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", 'a,"b"\nc', "fine"]
    for n, start in enumerate(starts):
        past.run(n, second=n, task_type=start, status="failed", error=start)
    text = exported(past, Form.CSV, Query(sort="started_at", large=("error",))).decode()
    cells = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [cell["error"] for cell in cells] == ["'" + s for s in starts[:6]] + starts[6:]
    assert [cell["task_type"] for cell in cells] == [cell["error"] for cell in cells]


def test_an_export_is_masked_narrowed_and_refused_as_the_list_is(past: Past) -> None:
    past.run(1, payload=SECRET % BIG, tenant_id="acme")
    past.run(2, payload="not json", task_id=2**60, tenant_id="acme")
    past.run(3, payload=SECRET % 3, tenant_id="beta")
    query = Query(sort="started_at", large=("payload",))
    text = exported(past, Form.JSON, query, viewer("acme"))
    assert b"hunter" not in text
    assert str(BIG).encode() in text
    two, one = sorted(orjson.loads(text), key=lambda run: -run["id"])
    assert (two["payload"], two["task_id"]) == ("not json", str(2**60))
    assert one["payload"]["api_key"] == "***"
    with pytest.raises(QueryInvalid):
        export_runs(past.db, LOCAL, Query({"staus": "x"}), Form.CSV)
    with pytest.raises(NotAllowed):
        export_runs(past.db, Caller("n", "none", frozenset(), None), Query(), Form.CSV)
