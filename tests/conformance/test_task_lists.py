"""Lists of Tasks: of one queue or of all, with their times in UTC, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.past import START, Past
from taskyard.core.errors import QueryInvalid, QueueUnknown, TaskUnknown
from taskyard.db.listing import Query
from taskyard.tasks import browse
from taskyard.tasks.browse import Backlog
from taskyard.tasks.enqueue import TaskRef


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    past.queue("mail", "mail_tasks")
    yield past
    past.db.close()


def refs(past: Past, limit: int = 50, **filters: Any) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = browse.list_tasks(past.db, Query(filters, limit=limit, cursor=cursor))
        found += [row["ref"] for row in page.rows]
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_a_queue_lists_its_tables_tasks_newest_first(past: Past) -> None:
    first, second = past.task("mail_tasks"), past.task("mail_tasks")
    past.task("default_tasks")
    assert refs(past, queue="mail") == [f"mail/{second}", f"mail/{first}"]


def test_without_a_queue_all_tables_are_listed_and_pages_lose_nothing(past: Past) -> None:
    for _ in range(3):
        past.task("mail_tasks")
        past.task("default_tasks")
    expected = ["mail/3", "default/3", "mail/2", "default/2", "mail/1", "default/1"]
    assert refs(past) == refs(past, limit=1) == refs(past, limit=4) == expected


def test_states_are_words_and_may_be_asked_for_as_words_or_numbers(past: Past) -> None:
    states = {past.task(status=n): n for n in (0, 1, 2, 3, 4)}
    words = [row["status"] for row in browse.list_tasks(past.db, Query()).rows]
    assert words == ["cancelled", "failed", "completed", "running", "pending"]
    failed = [f"default/{task}" for task, n in states.items() if n == 3]
    assert refs(past, status="failed") == refs(past, status=3) == refs(past, status="3") == failed
    assert len(refs(past, status="failed,2")) == 2
    with pytest.raises(QueryInvalid):
        refs(past, status="done")


def test_pending_tasks_are_all_found_whatever_they_wait_for(past: Past) -> None:
    tasks = [
        past.task(),
        past.task(excl_key="k"),
        past.task(hold=1),
        past.task(hold=1, excl_key="k"),
        past.task(priority=5),
    ]
    past.task(status=2)
    running = past.live(1)
    expected = [f"default/{task}" for task in reversed(tasks)]
    assert refs(past, status="pending") == refs(past, status="pending", limit=2) == expected
    assert refs(past, status="running") == [f"default/{running}"]


def test_each_filter_narrows_the_list(past: Past) -> None:
    past.task()
    past.task("mail_tasks", task_type="sync", tenant_id="acme", unique_key="u", priority=9)
    assert refs(past, task_type="sync") == refs(past, tenant_id="acme") == ["mail/1"]
    assert refs(past, unique_key="u") == refs(past, priority="9") == ["mail/1"]


def test_times_are_aware_and_in_utc(past: Past) -> None:
    past.task()
    (row,) = browse.list_tasks(past.db, Query()).rows
    assert abs(row["schedule_time"] - datetime.now(UTC)) < timedelta(minutes=2)
    assert row["start_time"] is None


def test_a_task_is_shown_in_full(past: Past) -> None:
    past.task("mail_tasks", task_params='{"to": 1}', error_msg="boom", context='{"trace": "t"}')
    row = {"task_table": "mail_tasks", "task_id": 1, "run_id": 9, "done": 2.0, "total": 4.0}
    past.insert("ty_progress", {**row, "updated_at": past.moment(START)})
    task = browse.show_task(past.db, TaskRef("mail", "mail_tasks", 1))
    assert (task["ref"], task["status"]) == ("mail/1", "pending")
    assert (task["task_params"], task["error_msg"]) == ('{"to": 1}', "boom")
    assert task["context"] == '{"trace": "t"}'
    assert (task["progress"]["done"], task["progress"]["total"]) == (2.0, 4.0)


def test_what_is_not_there_is_an_error(past: Past) -> None:
    with pytest.raises(QueueUnknown):
        refs(past, queue="mial")
    with pytest.raises(TaskUnknown):
        browse.show_task(past.db, TaskRef("mail", "mail_tasks", 404))


def test_a_queue_of_two_that_share_a_table_shows_the_tables_tasks(past: Past) -> None:
    past.insert("queue_configs", {"queue_name": "urgent", "table_name": "mail_tasks"})
    past.live(1, table="mail_tasks", queue="urgent")
    past.task("mail_tasks")
    assert refs(past, queue="urgent") == ["urgent/2", "urgent/1"]
    assert refs(past) == ["mail/2", "urgent/1"]


def test_a_backlog_counts_what_waits_and_what_runs_up_to_the_cap(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.task()
    past.task(excl_key="k")
    past.task(hold=1)
    past.task(status=2)
    past.live(1)
    assert browse.backlog(past.db, "default_tasks") == Backlog(waiting=3, running=1)
    assert browse.backlog(past.db, "mail_tasks") == Backlog(waiting=0, running=0)
    monkeypatch.setattr(browse, "COUNT_CAP", 1)
    assert browse.backlog(past.db, "default_tasks").waiting == 2
