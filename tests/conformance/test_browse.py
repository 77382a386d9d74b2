"""Browsing Runs: live and finished ones in one list, at one moment, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.past import START, Past, micros
from taskyard.access.caller import LOCAL
from taskyard.core.errors import QueryInvalid, QueueUnknown, RunUnknown
from taskyard.db import search
from taskyard.db.listing import Query
from taskyard.runs import browse, logs


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    yield past
    past.db.close()


def ids(past: Past, since: datetime | None = None, sort: str = "", **filters: Any) -> list[int]:
    query = Query({"from": since, **filters}, sort=sort)
    return [row["id"] for row in browse.list_runs(past.db, LOCAL, query).rows]


def walk(
    past: Past, since: datetime | None = None, sort: str = "", limit: int = 50, **filters: Any
) -> list[int]:
    """The ids of all pages, followed by their cursors."""
    found: list[int] = []
    cursor: str | None = None
    for _ in range(100):
        query = Query({"from": since, **filters}, sort, limit, cursor)
        page = browse.list_runs(past.db, LOCAL, query)
        found += [row["id"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            return found
    raise AssertionError("the pages never end")


def test_live_and_finished_runs_are_one_list_in_the_order_of_their_claims(past: Past) -> None:
    past.queue("other", "other_tasks")
    past.run(10, second=1)
    past.run(3, second=3)
    past.live(5, second=2)
    past.live(99, second=4, table="other_tasks", queue="other")
    assert ids(past) == [99, 3, 5, 10]
    assert ids(past, sort="started_at") == [10, 5, 3, 99]


def test_pages_go_on_behind_the_last_run_whatever_came_in_meanwhile(past: Past) -> None:
    for n in range(1, 8):
        past.run(n, second=n // 2)  # two of each second: the id decides
    past.live(50, second=1.5)
    first = browse.list_runs(past.db, LOCAL, Query(limit=3))
    past.run(60, second=60)
    second = browse.list_runs(past.db, LOCAL, Query(limit=3, cursor=first.next_cursor))
    third = browse.list_runs(past.db, LOCAL, Query(limit=3, cursor=second.next_cursor))
    found = [row["id"] for page in (first, second, third) for row in page.rows]
    assert found == [7, 6, 5, 4, 50, 3, 2, 1]
    assert third.next_cursor is None


def test_times_are_aware_and_in_utc(past: Past) -> None:
    past.run(1, second=0, ended=2)
    past.live(2, second=5)
    live, finished = browse.list_runs(past.db, LOCAL, Query()).rows
    assert finished["started_at"] == START
    assert finished["completed_at"] == START + timedelta(seconds=2)
    assert live["started_at"] == START + timedelta(seconds=5)
    assert live["completed_at"] is None
    assert {finished["started_at"].tzinfo, live["started_at"].tzinfo} == {UTC}


def test_a_live_run_says_how_long_it_has_been_running(past: Past) -> None:
    now = datetime.now(UTC)
    past.live(1, second=(now - START).total_seconds() - 100)
    (row,) = browse.list_runs(past.db, LOCAL, Query()).rows
    assert 99 < row["execution_time"] < 160
    assert ids(past, min_duration="1m") == [1]
    assert ids(past, min_duration=1000) == []


def test_each_filter_narrows_the_list(past: Past) -> None:
    past.run(1, second=1, status="failed", error="Traceback …\nValueError: Bad 100% of it")
    past.run(2, second=2, task_type="sync", queue="q2", server_id="b", tenant_id="acme")
    past.run(3, second=3, status="timeout", origin="scheduled", execution_time=30.0, schedule_id=8)
    past.run(4, second=4, task_id=77, batch_id=5)
    past.live(5, second=5, task_type="sync")
    assert ids(past, status="failed") == [1]
    assert ids(past, status="failed,timeout") == [3, 1]
    assert ids(past, status="running") == [5]
    assert ids(past, status="running,failed") == [5, 1]
    assert ids(past, status="completed,failed") == [4, 2, 1]
    assert ids(past, task_type="sync") == [5, 2]
    assert ids(past, queue="q2") == ids(past, server_id="b") == ids(past, tenant_id="acme") == [2]
    assert ids(past, origin="scheduled") == [3]
    assert ids(past, min_duration="20s", status="timeout,completed") == [3]
    assert ids(past, schedule_id=8) == [3]
    assert ids(past, batch_id=5) == [4]
    assert ids(past, task="default/77") == [4]
    third = START + timedelta(seconds=3)
    assert ids(past, since=third) == [5, 4, 3]
    assert ids(past, to=third.isoformat()) == [2, 1]
    assert ids(past, q="bad 100%") == [1]
    assert ids(past, q="bad 100%", status="timeout") == []
    assert ids(past, q="bad", since=third) == []
    assert ids(past, since=START + timedelta(seconds=1), q="bad") == [1]


def test_a_task_is_found_in_its_own_table_only(past: Past) -> None:
    past.queue("other", "other_tasks")
    past.run(1, task_id=7)
    past.run(2, task_id=7, task_table="other_tasks", queue="other")
    live = past.live(3, second=2, table="other_tasks", queue="other")
    assert ids(past, task="other/7") == [2]
    assert ids(past, task=f"other/{live}") == [3]
    with pytest.raises(QueueUnknown):
        ids(past, task="othr/7")
    with pytest.raises(QueryInvalid):
        ids(past, task="seven")


def test_a_search_looks_at_so_many_runs_a_page_and_misses_none(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1, 7):
        past.run(n, second=n, status="failed", error="boom" if n in (1, 6) else "bang")
    monkeypatch.setattr(search, "DENSE_PART", 2)
    monkeypatch.setattr(search, "SECONDS", 0.0)
    page = browse.list_runs(past.db, LOCAL, Query({"q": "boom"}, count=True))
    assert [row["id"] for row in page.rows] == [6]
    assert page.searched_to == micros(START + timedelta(seconds=5))
    assert (page.total, page.total_is_capped) == (1, True)
    assert walk(past, q="boom") == [6, 1]
    assert walk(past, q="boom", sort="started_at") == [1, 6]
    since = START + timedelta(seconds=2)
    assert walk(past, q="boom", since=since) == [6]


def test_lists_bring_no_payload_unless_asked(past: Past) -> None:
    past.run(1, output='"done"')
    past.live(2, second=1, task_params='{"to": "x"}')
    for row in browse.list_runs(past.db, LOCAL, Query()).rows:
        assert not {"payload", "output", "error"} & row.keys()
    asked = browse.list_runs(past.db, LOCAL, Query(large=("payload", "output"))).rows
    assert asked[1]["payload"] == '{"n": 1}'
    assert asked[1]["output"] == '"done"'


def test_the_total_counts_live_and_finished_runs(past: Past) -> None:
    for n in range(1, 4):
        past.run(n, status="failed" if n == 1 else "completed")
    past.live(9)
    page = browse.list_runs(past.db, LOCAL, Query(limit=1, count=True))
    assert (page.total, page.total_is_capped) == (4, False)
    page = browse.list_runs(past.db, LOCAL, Query({"status": "failed,running"}, count=True))
    assert page.total == 2


def test_an_edited_row_is_a_live_run_until_its_owner_is_cleared(past: Past) -> None:
    past.live(1, status=4)  # cancelled by SQL; its handler has not stopped yet
    past.task(status=1)  # a stranger's UPDATE, which nobody runs
    assert ids(past) == [1]


def test_a_dropped_task_table_does_not_break_the_list(past: Past) -> None:
    past.queue("gone", "gone_tasks")
    past.run(1)
    past.live(2, second=1)
    past.db.run(lambda tx: tx.execute("DROP TABLE gone_tasks"))
    assert ids(past) == [2, 1]
    assert browse.show_run(past.db, LOCAL, 2)["status"] == "running"


def test_a_finished_run_is_shown_in_full(past: Past) -> None:
    past.run(1, second=1, output='{"ok": true}', memory_usage=4096, cpu_time=0.25)
    run = browse.show_run(past.db, LOCAL, 1)
    assert run["payload"] == '{"n": 1}'
    assert run["output"] == '{"ok": true}'
    assert (run["memory_usage"], run["cpu_time"], run["wait_time"]) == (4096, 0.25, 0.5)
    assert run["started_at"] == START + timedelta(seconds=1)
    assert run["progress"] is None


def test_a_live_run_is_shown_with_its_payload_and_progress(past: Past) -> None:
    past.queue("other", "other_tasks")
    task = past.live(7, second=3, table="other_tasks", task_params='{"to": "x"}', retry_count=2)
    row = {"task_table": "other_tasks", "task_id": task, "run_id": 7, "done": 3.0, "total": 10.0}
    past.insert("ty_progress", {**row, "note": "half", "updated_at": past.moment(START)})
    run = browse.show_run(past.db, LOCAL, 7)
    assert (run["status"], run["task_id"], run["task_table"]) == ("running", task, "other_tasks")
    assert (run["payload"], run["attempt"]) == ('{"to": "x"}', 3)
    assert run["claimed_at"] == micros(START + timedelta(seconds=3))
    progress = {"done": 3.0, "total": 10.0, "note": "half", "updated_at": START}
    assert run["progress"] == progress


def test_the_progress_of_an_earlier_run_is_not_shown(past: Past) -> None:
    task = past.live(7)
    row = {"task_table": "default_tasks", "task_id": task, "run_id": 6, "done": 3.0}
    past.insert("ty_progress", {**row, "updated_at": past.moment(START)})
    assert browse.show_run(past.db, LOCAL, 7)["progress"] is None


def test_an_unknown_run_is_an_error(past: Past) -> None:
    with pytest.raises(RunUnknown):
        browse.show_run(past.db, LOCAL, 404)


def test_logs_come_in_chunks_behind_the_last_one_seen(past: Past) -> None:
    past.log(1, "a\n", "b\n", "c\n")
    past.log(2, "other\n")
    assert logs.read(past.db, 1) == [(0, "a\n"), (1, "b\n"), (2, "c\n")]
    assert logs.read(past.db, 1, after=0, limit=1) == [(1, "b\n")]
    assert logs.read(past.db, 1, after=2) == logs.read(past.db, 404) == []


def test_task_types_are_those_of_finished_and_of_live_runs(past: Past) -> None:
    assert browse.task_types(past.db, LOCAL) == []
    for n, name in enumerate(["mail", "mail", "Mail", "sync", "äöü"]):
        past.run(n, task_type=name)
    past.live(50, task_type="new")
    past.task(task_type="pending only")
    assert browse.task_types(past.db, LOCAL) == ["Mail", "mail", "new", "sync", "äöü"]
