"""Explaining: each thing that can keep a Task from running is named, on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conformance.past import Past
from taskyard import servers
from taskyard.access.caller import LOCAL, Caller
from taskyard.access.permissions import ROLES, Role
from taskyard.core.errors import TaskUnknown
from taskyard.tasks.enqueue import TaskRef
from taskyard.tasks.explain import Reason, explain

RETRY = {"kind": "fixed"}


@pytest.fixture
def past(lane: str) -> Iterator[Past]:
    past = Past(lane)
    yield past
    past.db.close()


def server(past: Past, name: str = "a", *types: str) -> None:
    """A live server that runs these types."""
    servers.register(past.db, f"session-{name}", name, lease=60, runners=1)
    specs = [{"name": task_type, "retry": RETRY} for task_type in types or ("mail",)]
    servers.publish(past.db, f"session-{name}", specs, [])


def change(past: Past, sql: str, table: str = "queue_configs") -> None:
    past.db.run(lambda tx: tx.execute(f"UPDATE {table} SET {sql}"))


def reasons(past: Past, task: int) -> list[Reason]:
    return explain(past.db, LOCAL, TaskRef("default", "default_tasks", task))


def held(past: Past, task: int) -> dict[str, str]:
    """What keeps the task, by check."""
    return {reason.check: reason.text for reason in reasons(past, task) if reason.holds}


def test_a_task_that_is_about_to_run_is_held_by_nothing(past: Past) -> None:
    server(past)
    found = reasons(past, past.task())
    assert [reason.check for reason in found] == [
        "due",
        "queue",
        "server",
        "handler",
        "worker",
        "line",
    ]
    assert not any(reason.holds for reason in found)


def test_a_task_that_does_not_wait_has_one_answer(past: Past) -> None:
    answers: list[tuple[dict[str, Any], bool, str]] = [
        ({"status": 1, "owner": "s", "server_id": "a"}, False, "It is running on a."),
        ({"status": 2}, False, "It is completed."),
        ({"status": 4}, False, "It is cancelled."),
        ({"status": 4, "owner": "s", "server_id": "a"}, True, "being stopped on a."),
        ({"status": 0, "owner": "s", "server_id": "a"}, True, "being stopped on a."),
        ({"status": 1}, True, "Its status was set to 1 by SQL; nobody runs it."),
    ]
    for columns, holds, text in answers:
        (reason,) = reasons(past, past.task(**columns))
        assert (reason.check, reason.holds) == ("state", holds)
        assert text in reason.text


def test_a_task_of_the_future_says_when_it_is_due(past: Past) -> None:
    server(past)
    task = past.task()
    later = past.db.dialect.after("7000")
    change(past, f"schedule_time = {later}, retry_count = 2", "default_tasks")
    found = held(past, task)
    assert list(found) == ["due"]
    assert found["due"].startswith("It is due in 1h5")
    assert "for retry 2" in found["due"]


def test_a_queue_that_is_paused_missing_or_quarantined_is_named(past: Past) -> None:
    server(past)
    task = past.task()
    change(past, "status = 0")
    assert held(past, task) == {"queue": "Queue default is paused."}
    change(past, "status = 1, max_workers = -1")
    assert held(past, task)["queue"].startswith("Queue default is quarantined: TY311")
    past.db.run(lambda tx: tx.execute("DELETE FROM queue_configs"))
    assert held(past, task) == {"queue": "No queue has the table default_tasks."}


def test_servers_that_are_not_there_are_missed(past: Past) -> None:
    task = past.task()
    assert held(past, task) == {"server": "No server is alive."}
    server(past, "a")
    change(past, "server_id = 'b'")
    assert held(past, task) == {"server": "Its queue is pinned to b, not alive."}
    server(past, "b")
    assert held(past, task) == {}
    servers.drain(past.db, LOCAL, "b")
    assert list(held(past, task)) == ["server"]


def test_an_unknown_handler_is_told_with_the_nearest_name(past: Past) -> None:
    server(past, "a", "mail.send")
    found = held(past, past.task(task_type="mail.sned", hold=1))
    assert found["handler"] == ('No handler "mail.sned" is registered. Did you mean "mail.send"?')


def test_workers_that_are_all_busy_are_counted(past: Past) -> None:
    server(past)
    server(past, "b", "other")
    change(past, "max_workers = 1")
    past.live(1)
    task = past.task()
    assert held(past, task) == {"worker": "All workers are busy: 1 of 1 on a."}
    server(past, "c")
    assert held(past, task) == {}


def test_the_holder_of_an_exclusive_key_is_named(past: Past) -> None:
    server(past)
    holder = past.live(1, excl_key="k")
    assert held(past, past.task(excl_key="k")) == {
        "key": f'Task default/{holder} runs with its key "k".'
    }
    assert held(past, past.task(excl_key="j")) == {}


def test_a_holder_of_another_tenant_is_not_named(past: Past) -> None:
    server(past)
    past.live(1, excl_key="k", tenant_id="beta")
    ref = TaskRef("default", "default_tasks", past.task(excl_key="k", tenant_id="acme"))
    viewer = Caller("v", Role.VIEWER.value, ROLES[Role.VIEWER], frozenset({"acme"}))
    (found,) = [reason for reason in explain(past.db, viewer, ref) if reason.holds]
    assert found.text == 'Another task runs with its key "k".'
    past.live(2, excl_key="j", tenant_id="acme", owner="t")
    ref = TaskRef("default", "default_tasks", past.task(excl_key="j", tenant_id="acme"))
    (found,) = [reason for reason in explain(past.db, viewer, ref) if reason.holds]
    assert found.text.startswith("Task default/")


def disabled_queue(past: Past) -> int:
    change(past, "status = 0")
    return past.task(task_type="unknown")


def absent_server(past: Past) -> int:
    change(past, "server_id = 'gone'")
    return past.task(task_type="unknown")


def tomorrow(past: Past) -> int:
    task = past.task()
    change(past, f"schedule_time = {past.db.dialect.after('86400')}", "default_tasks")
    change(past, "status = 0")
    return task


def unknown_handler(past: Past) -> int:
    change(past, "max_workers = 0")
    return past.task(task_type="unknown")


def held_key(past: Past) -> int:
    change(past, "max_workers = 5, rate_limit = 0.001")
    past.live(1, excl_key="k")
    return past.task(excl_key="k")


@pytest.mark.parametrize(
    ("situation", "check", "code"),
    [
        (disabled_queue, "queue", "TY301"),
        (absent_server, "server", "TY302"),
        (tomorrow, "due", "TY304"),
        (unknown_handler, "handler", "TY201"),
        (held_key, "key", "TY305"),
    ],
)
def test_the_first_reason_that_holds_a_task_is_marked_and_has_a_remedy(
    past: Past, situation: Callable[[Past], int], check: str, code: str
) -> None:
    server(past)
    found = reasons(past, situation(past))
    (first,) = [reason for reason in found if reason.first]
    assert (first.check, first.code, first.holds) == (check, code, True)
    assert first == next(reason for reason in found if reason.holds)
    for reason in found:
        assert not reason.holds or (reason.code and reason.text and reason.fix)


def test_a_rate_that_is_reached_says_when_the_next_may_start(past: Past) -> None:
    server(past)
    change(past, "rate_limit = 0.5")
    task = past.task()
    assert held(past, task) == {}
    now = past.db.dialect.epoch(past.db.dialect.utc_now)
    past.db.run(
        lambda tx: tx.execute(
            f"INSERT INTO ty_rates (queue_name, next_free) SELECT 'default', {now} + 1.9"
        )
    )
    assert held(past, task)["rate"].startswith("The rate of 0.5 a second is reached; the next")


def test_the_line_counts_what_goes_first(past: Past) -> None:
    server(past)
    past.task(priority=5)
    past.task()
    task = past.task()
    past.task(priority=-1)
    past.task(priority=9, hold=1)
    line = {reason.check: reason.text for reason in reasons(past, task)}["line"]
    assert line == "2 tasks are before it."


def test_a_task_that_is_not_there_is_an_error(past: Past) -> None:
    with pytest.raises(TaskUnknown):
        reasons(past, 404)
