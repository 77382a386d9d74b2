"""Lists of Tasks: of one queue or of all, with their times in UTC, on every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from conformance.past import START, Past
from taskyard.access.caller import LOCAL
from taskyard.core.errors import QueryInvalid, QueueUnknown, TaskUnknown
from taskyard.db import search
from taskyard.db.listing import Query
from taskyard.tasks import browse, listed
from taskyard.tasks.browse import Backlog
from taskyard.tasks.enqueue import TaskRef


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    past.queue("mail", "mail_tasks")
    yield past
    past.db.close()


def refs(past: Past, limit: int = 50, sort: str = "", **filters: Any) -> list[str]:
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = browse.list_tasks(past.db, LOCAL, Query(filters, sort, limit, cursor))
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
    words = [row["status"] for row in browse.list_tasks(past.db, LOCAL, Query()).rows]
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


def test_what_waits_is_scheduled_queued_or_blocked(past: Past) -> None:
    later = past.db.dialect.after("3600")
    queued = [past.task(), past.task(excl_key="k")]
    scheduled = [past.task(), past.task(excl_key="l")]
    blocked = past.task(hold=1)
    past.task(status=2)
    ids = ", ".join(map(str, scheduled))
    past.db.run(
        lambda tx: tx.execute(
            f"UPDATE default_tasks SET schedule_time = {later} WHERE id IN ({ids})"
        )
    )

    def found(status: str) -> list[int]:
        return [int(ref.removeprefix("default/")) for ref in refs(past, status=status)][::-1]

    assert found("queued") == queued
    assert found("scheduled") == scheduled
    assert found("blocked") == [blocked]
    assert found("blocked,queued") == [*queued, blocked]
    assert found("pending") == found("pending,queued") == [*queued, *scheduled, blocked]


def test_tasks_are_found_by_when_they_are_due(past: Past) -> None:
    now = datetime.now(UTC)
    tasks = [past.task() for _ in range(3)]
    for hours, task in enumerate(tasks):
        when = past.db.dialect.after(str(hours * 3600))
        past.db.run(
            lambda tx, task=task, when=when: tx.execute(  # type: ignore[misc]
                f"UPDATE default_tasks SET schedule_time = {when} WHERE id = :id", id=task
            )
        )
    between = refs(past, due_after=now + timedelta(minutes=30), due_before="2999-01-01T00:00:00Z")
    assert between == [f"default/{task}" for task in reversed(tasks[1:])]
    before = (now + timedelta(minutes=90)).isoformat()
    assert refs(past, due_before=before, sort="schedule_time") == [
        f"default/{task}" for task in tasks[:2]
    ]


def test_several_queues_and_values_in_the_parameters_narrow_the_list(past: Past) -> None:
    past.queue("third", "third_tasks")
    past.task("third_tasks", task_params='{"user": {"id": 42}}')
    past.task("mail_tasks", task_params='{"user": {"id": 42}}')
    past.task("mail_tasks", task_params="no json 42")
    past.task(task_params='{"user": {"id": 42}}')
    assert refs(past, queue="mail,third") == ["mail/2", "third/1", "mail/1"]
    by_value: dict[str, Any] = {"params.user.id": "42"}
    found = refs(past, queue="mail,third", **by_value)
    assert found == ["third/1", "mail/1"]
    with pytest.raises(QueueUnknown):
        refs(past, queue="mail,thrid")


FILTERS: list[dict[str, Any]] = [
    {},
    {"status": "failed"},
    {"status": "pending,failed"},
    {"task_type": "rare"},
    {"status": "pending", "task_type": "rare"},
    {"server_id": "none"},
    {"params.n": "3"},
]


@pytest.mark.parametrize("few", [0, 2_000])
@pytest.mark.parametrize("depth", [4, 50_000])
def test_pages_are_whole_however_far_each_of_them_looks(
    past: Past, monkeypatch: pytest.MonkeyPatch, few: int, depth: int
) -> None:
    monkeypatch.setattr(search, "DENSE_PART", depth)
    monkeypatch.setattr(search, "SECONDS", 0.0)
    monkeypatch.setattr(listed, "_FEW", few)
    rows: list[dict[str, Any]] = []
    for n in range(40):
        table = "mail_tasks" if n % 7 == 0 else "default_tasks"
        row = {
            "status": (0, 2, 3)[n % 3],
            "task_type": "rare" if n % 9 == 0 else "mail",
            "task_params": f'{{"n": {n % 5}}}',
        }
        task = past.task(table, **row)
        rows.append({**row, "id": task, "ref": f"{table.removesuffix('_tasks')}/{task}"})
    rows.sort(key=lambda row: (row["id"], row["ref"].startswith("mail")), reverse=True)
    words = {"pending": 0, "failed": 3}
    for filters in FILTERS:
        states = [words[word] for word in filters.get("status", "").split(",") if word]
        expected = [
            row["ref"]
            for row in rows
            if (not states or row["status"] in states)
            and filters.get("task_type", row["task_type"]) == row["task_type"]
            and "server_id" not in filters
            and f'"n": {filters.get("params.n", "")}' in row["task_params"]
        ]
        assert refs(past, limit=3, **filters) == expected
        assert refs(past, limit=3, sort="id", **filters) == expected[::-1]


def test_times_are_aware_and_in_utc(past: Past) -> None:
    past.task()
    (row,) = browse.list_tasks(past.db, LOCAL, Query()).rows
    assert abs(row["schedule_time"] - datetime.now(UTC)) < timedelta(minutes=2)
    assert row["start_time"] is None


def test_a_task_is_shown_in_full(past: Past) -> None:
    past.task("mail_tasks", task_params='{"to": 1}', error_msg="boom", context='{"trace": "t"}')
    row = {"task_table": "mail_tasks", "task_id": 1, "run_id": 9, "done": 2.0, "total": 4.0}
    past.insert("ty_progress", {**row, "updated_at": past.moment(START)})
    task = browse.show_task(past.db, LOCAL, TaskRef("mail", "mail_tasks", 1))
    assert (task["ref"], task["status"]) == ("mail/1", "pending")
    assert (task["task_params"], task["error_msg"]) == ('{"to": 1}', "boom")
    assert task["context"] == '{"trace": "t"}'
    assert (task["progress"]["done"], task["progress"]["total"]) == (2.0, 4.0)


def test_what_is_not_there_is_an_error(past: Past) -> None:
    with pytest.raises(QueueUnknown):
        refs(past, queue="mial")
    with pytest.raises(TaskUnknown):
        browse.show_task(past.db, LOCAL, TaskRef("mail", "mail_tasks", 404))


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
